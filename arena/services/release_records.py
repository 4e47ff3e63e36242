"""Reads the records of a release from the database, a batch at a time, in the order of their close entries.

Everything is taken from rows whose log entry lies below a tree size, which never change: the same
release can be read again at any time, and differs only by texts that were erased meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import F, Prefetch, Q

from arena.models import BattleTurn, Contestant, Exclusion, Overlap, RosterChange, Season, TurnText, Visibility, Vote
from arena.models.roster import PUBLISHES
from arena.releases.records import Description, OverlapNumbers, Record, Turn, hashed, status_of
from arena.services.overlaps import settings_digest, settings_of
from arena.services.seasons import current_policy
from webapp.playground.models import Generation

BATCH = 500
NO_DESCRIPTION = Description()


@dataclass(frozen=True)
class Extent:
    """What a release covers. votes_size: verdicts of closes below it are told. as_of: when it was begun."""

    season: Season
    tree_size: int
    votes_size: int
    as_of: datetime

    def told(self) -> Iterator[list[Record]]:
        """Yield the votes whose verdicts are told."""
        return self._records(0, self.votes_size)

    def withheld(self) -> Iterator[list[Record]]:
        """Yield the votes whose verdicts are withheld, as far as a judge can read them."""
        for batch in self._records(self.votes_size, self.tree_size):
            yield [r for r in batch if r.status == "counted" and r.shows_answers and r.answers("a") and r.answers("b")]

    def _records(self, start: int, end: int) -> Iterator[list[Record]]:
        closed = Vote.objects.closed().filter(battle__season=self.season, battle__close__entry__index__lt=end)
        while votes := list(
            _with_all(closed.filter(battle__close__entry__index__gte=start)).order_by("battle__close__entry__index")[
                :BATCH
            ]
        ):
            yield [self._record(vote) for vote in votes]
            start = index_of(votes[-1]) + 1

    @cached_property
    def names(self) -> dict[str, str]:
        """Return slugs by id; a private variant under test at the tree size has its id alone."""
        rows = Contestant.objects.filter(season=self.season, entry__index__lt=self.tree_size)
        published = set(
            RosterChange.objects.filter(
                contestant__season=self.season, kind__in=PUBLISHES, entry__index__lt=self.tree_size
            ).values_list("contestant_id", flat=True)
        )
        return {
            str(pk): slug if visibility == Visibility.PUBLIC or pk in published else f"private:{pk}"
            for pk, slug, visibility in rows.values_list("pk", "slug", "visibility")
        }

    @cached_property
    def _rules(self) -> tuple[dict[Any, set[str]], dict[Any, set[str]]]:
        """Return the rules that set voters, and battles, aside at `votes_size`."""
        voters: dict[Any, set[str]] = defaultdict(set)
        battles: dict[Any, set[str]] = defaultdict(set)
        rows = Exclusion.objects.filter(season=self.season, kind="exclude", entry__index__lt=self.votes_size).exclude(
            ended_by__entry__index__lt=self.votes_size
        )
        for voter, battle, rule in rows.values_list("voter_id", "battle_id", "rule"):
            (voters if voter else battles)[voter or battle].add(rule)
        return voters, battles

    @cached_property
    def _policy_hashes(self) -> dict[int, str]:
        return {p.pk: hashlib.sha256(p.document.encode()).hexdigest() for p in self.season.policies.all()}

    @cached_property
    def _overlap_settings(self) -> str:
        """Return the digest of the settings in force at `votes_size`: boards count what was measured with these."""
        then = self.season.policies.filter(entry__index__lt=self.votes_size).order_by("-version").first()
        return settings_digest(settings_of(then or current_policy(self.season)))

    def _measured(self, vote: Any) -> OverlapNumbers | None:
        """Return what was measured of a battle's answers below `votes_size`."""
        found: Overlap | None = getattr(vote.battle, "overlap", None)
        index: int | None = vote.overlap_index
        if found is None or index is None or index >= self.votes_size or found.settings != self._overlap_settings:
            return None
        numbers = (found.covered_a, found.characters_a, found.covered_b, found.characters_b)
        return None if None in numbers else OverlapNumbers(*numbers, index)  # type: ignore[arg-type]

    @cached_property
    def _voters(self) -> dict[Any, str]:
        return {}

    def _record(self, vote: Vote) -> Record:
        battle = vote.battle
        epoch, names = battle.epoch, self.names
        ids = {"a": str(battle.contestant_a_id), "b": str(battle.contestant_b_id)}
        secret = any(names[side].startswith("private:") for side in ids.values())
        by_voter, by_battle = self._rules
        rules = by_voter.get(vote.voter_id, set()) | by_battle.get(battle.pk, set())
        turns = list(battle.turns.all())
        is_erased = any(not hasattr(turn, "text") for turn in turns)
        leaf = json.loads(battle.close.entry.leaf)["body"]
        digest = self._voters.setdefault(vote.voter_id, battle.voter.digest(self.season))
        shows = not secret and not is_erased
        answers = {side: leaf.get(f"answer_{side}") for side in ids}
        return Record(
            id=str(battle.pk),
            season=self.season.slug,
            is_simulated=self.season.is_simulated,
            epoch=epoch.number,
            draw_index=battle.draw_index,
            p_pair=f"{battle.p_numerator}/{battle.p_denominator}",
            side_swap=battle.is_swapped,
            roster_hash=epoch.roster_hash,
            policy_hash=self._policy_hashes[epoch.policy_id],
            status=status_of(is_pre_release=battle.is_pre_release, rules=rules),
            leaf_index=index_of(vote),
            contestant_a=ids["a"],
            contestant_b=ids["b"],
            model_a=names[ids["a"]],
            model_b=names[ids["b"]],
            verdict=vote.verdict,
            voter=digest,
            voted_at=vote.created_at,
            seconds=vote.latency_ms / 1000,
            category=battle.category,
            discipline=battle.discipline,
            language=battle.language,
            community=leaf.get("slices", {}).get("community", ""),
            prompt_key=battle.pool_prompt.key if battle.pool_prompt else "",
            system_prompt_a=None if secret else battle.contestant_a.system_prompt,
            system_prompt_b=None if secret else battle.contestant_b.system_prompt,
            turns=tuple(_turn(turn, answers, shows=shows) for turn in turns),
            shows_answers=shows,
            answer_sha256_a=answers["a"],
            answer_sha256_b=answers["b"],
            answer_salt=(battle.close.salt or None) if shows else None,
            description=self._description(vote),
            measured=self._measured(vote),
        )

    def _description(self, vote: Vote) -> Description:
        said = getattr(vote, "detail", None)
        if said is None or said.created_at > self.as_of:
            return NO_DESCRIPTION
        return Description(said.strength, said.confidence, dict(said.aspects), tuple(said.tags))


def _with_all(votes: Any) -> Any:
    read = ("text", "token_ids")
    turns = (
        BattleTurn.objects.select_related("text")
        .order_by("number")
        .prefetch_related(*(Prefetch(f"generation_{side}", Generation.objects.only(*read)) for side in ("a", "b")))
    )
    return (
        votes.annotate(overlap_index=F("battle__overlap__entry__index"))
        .select_related(
            "battle__close__entry",
            "battle__overlap",
            "battle__epoch",
            "battle__voter",
            "battle__pool_prompt",
            "battle__contestant_a",
            "battle__contestant_b",
            "detail",
        )
        .prefetch_related(Prefetch("battle__turns", turns))
    )


def _turn(turn: BattleTurn, answers: dict[str, str | None], *, shows: bool) -> Turn:
    text: TurnText | None = getattr(turn, "text", None)
    sides: dict[str, Any] = {}
    for side in ("a", "b"):
        generation = getattr(turn, f"generation_{side}")
        made = generation is not None
        shown = generation.text if made and shows else hashed(answers[side])
        sides[f"answer_{side}"] = shown if made else None
        sides[f"n_tokens_{side}"] = len(generation.token_ids) if made and shows else None
    return Turn(
        prompt=text.prompt if text else hashed(turn.prompt_hash),
        prompt_sha256=turn.prompt_hash,
        prompt_salt=text.salt if text else None,
        **sides,
    )


def contestant_rows(extent: Extent) -> list[dict[str, Any]]:
    """Return everybody who was entered below the tree size; of a variant under test what the log tells, no more."""
    entered = Contestant.objects.filter(season=extent.season, entry__index__lt=extent.tree_size)
    rows = []
    for contestant in entered.select_related("provider", "entry").order_by("entry__index"):
        name = extent.names[str(contestant.pk)]
        shown = not name.startswith("private:")
        decoding = contestant.decoding if shown else {}
        rows.append(
            {
                "contestant": str(contestant.pk),
                "model": name,
                "title": contestant.title if shown else None,
                "provider": contestant.provider.slug,
                "licence_group": contestant.licence_group,
                "licence": contestant.licence if shown else None,
                "visibility": contestant.visibility,
                "state": _state(contestant, extent.tree_size),
                "digest": contestant.digest,
                "checkpoint_digest": contestant.checkpoint_digest if shown else None,
                "experts": contestant.experts if shown else None,
                "max_tokens": decoding.get("max_tokens"),
                **{key: str(decoding[key]) if key in decoding else None for key in ("temperature", "top_p")},
                "system_prompt": contestant.system_prompt if shown else None,
            }
        )
    return rows


def _state(contestant: Contestant, size: int) -> str:
    """Return the last change below a tree size, or `active`."""
    last = contestant.changes.filter(entry__index__lt=size).order_by("entry__index").last()
    return "active" if last is None or last.kind in ("resumed", "launched") else str(last.kind)


def index_of(vote: Vote) -> int:
    """Return the leaf index of the close entry of a vote that is in the log."""
    index = vote.battle.close.entry.index
    if index is None:
        raise ValueError(f"battle {vote.battle_id} has no place in the log yet")
    return index


def season_changed_since(season: Season, size: int) -> bool:
    """Tell whether anything that a release holds entered the log at or after a tree size."""
    from arena.models import BattleClose

    return (
        BattleClose.objects.filter(battle__season=season, kind="vote", entry__index__gte=size).exists()
        or Exclusion.objects.filter(season=season, entry__index__gte=size).exists()
        or RosterChange.objects.filter(contestant__season=season, entry__index__gte=size).exists()
        or Contestant.objects.filter(season=season, entry__index__gte=size).exists()
    )


def close_index_at(season: Season, place: int, size: int) -> int | None:
    """Return the leaf index of the close of the vote at a place (from 0) among those closed below a tree size."""
    closed = Q(battle__season=season, battle__close__entry__index__lt=size)
    rows = Vote.objects.closed().filter(closed).order_by("battle__close__entry__index")
    return rows.values_list("battle__close__entry__index", flat=True)[place : place + 1].first()
