"""What is shown of a closed battle, and of nothing else: names, shares, how others voted, matches."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db import transaction

from arena.answers import ARENA, SIDES, generations_of, turns_of
from arena.models import Battle, BattleClose, Contestant, Overlap, TurnText, Verdict, Vote
from arena.services.battles import is_closed
from arena.services.boards import latest_ratings
from webapp.errors import ConflictError
from webapp.jobs import JobStatus
from webapp.playground.availability import withdrawn_slugs
from webapp.playground.services import trace_generation


def trace_answers(battle: Battle) -> None:
    """Queue the traces of all answers of a closed battle; those that are there already stay."""
    if not is_closed(battle):
        raise ConflictError("Matches are shown after the vote: they could tell who answered.", code="open")
    for generation in generations_of(turns_of(battle)):
        if generation.status == JobStatus.DONE and generation.text.strip():
            trace_generation(generation.pk, author=ARENA)


def side_facts(battle: Battle) -> list[dict[str, Any]]:
    """Return for each side its contestant, rating, experts with routing shares, length, and verbatim overlap.

    Routing shares are None where no tokens are known: answers that were erased, or never generated.
    overlap: the share of the answer that stands word for word in the corpora, 0 to 1; None where it was not, or not
    yet, measured, and in a simulated season, whose numbers are made up.
    """
    ratings = latest_ratings(battle.season)
    measured = None if battle.season.is_simulated else Overlap.objects.filter(battle=battle).first()
    turns = turns_of(battle)
    facts = []
    for side in SIDES:
        contestant: Contestant = getattr(battle, f"contestant_{side}")
        generations = [g for g in (getattr(turn, f"generation_{side}") for turn in turns) if g is not None]
        facts.append(
            {
                "side": side,
                "contestant": contestant,
                "rating": ratings.get(str(contestant.pk)),
                "experts": _shares(contestant, generations),
                "traces": [g.trace for g in generations if g.trace_id],
                "generations": generations,
                "n_characters": sum(len(g.text) for g in generations),
                "overlap": measured.share(side) if measured else None,
            }
        )
    return facts


def _shares(contestant: Contestant, generations: list[Any]) -> list[dict[str, Any]]:
    n_tokens = sum(len(g.token_ids) for g in generations)
    rows = []
    withdrawn = withdrawn_slugs(contestant.checkpoint)
    for expert in contestant.checkpoint.experts.all():
        if expert.slug in withdrawn and expert.slug not in contestant.experts:
            continue
        weighted = sum(g.routing_shares.get(expert.slug, 0.0) * len(g.token_ids) for g in generations)
        percent = round(100 * weighted / n_tokens) if n_tokens else None
        rows.append(
            {
                "expert": expert,
                "is_on": expert.slug in contestant.experts,
                "is_withdrawn": expert.slug in withdrawn,
                "percent": percent,
            }
        )
    return rows


def how_others_voted(battle: Battle) -> dict[str, int]:
    """Return counts of verdicts on this pair in the season, told from this battle's sides; the own vote is left out."""
    counts: Counter[str] = Counter()
    pairs = (
        (battle.contestant_a_id, battle.contestant_b_id, False),
        (battle.contestant_b_id, battle.contestant_a_id, True),
    )
    for a, b, is_turned in pairs:
        found = (
            Vote.objects.closed()
            .filter(battle__season=battle.season, battle__contestant_a=a, battle__contestant_b=b)
            .exclude(battle=battle)
            .values_list("verdict", flat=True)
        )
        turned = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}
        counts.update(str(turned.get(Verdict(v), v) if is_turned else v) for v in found)
    return {verdict: counts[verdict] for verdict in Verdict.values}


def verdicts_of(battles: Iterable[Battle]) -> dict[uuid.UUID, str]:
    """Return the standing verdict of each battle that has one."""
    rows = Vote.objects.current().filter(battle__in=[b.pk for b in battles])
    return {vote.battle_id: vote.get_verdict_display() for vote in rows}


def first_prompts(battles: Iterable[Battle]) -> dict[uuid.UUID, str]:
    """Return the first prompt of each battle, as far as it was not erased."""
    rows = TurnText.objects.filter(turn__battle__in=[b.pk for b in battles], turn__number=1).select_related("turn")
    return {row.turn.battle_id: row.prompt for row in rows}


def erase_texts(battle: Battle) -> int:
    """Erase a closed battle's prompts and answers with their salts; hashes stay in the log, which still verifies.

    Releases that hold them are closed at once and made again without them.
    """
    from arena.services.releases import take_out_texts

    if not is_closed(battle):
        raise ConflictError("The battle is open. Close it first.")
    with transaction.atomic():
        take_out_texts(battle)
        turns = turns_of(battle)
        BattleClose.objects.filter(battle=battle).exclude(salt="").update(salt="")
        n_erased, _ = TurnText.objects.filter(turn__battle=battle).delete()
        for generation in generations_of(turns):
            trace = generation.trace
            generation.prompt = generation.model_prompt = generation.text = ""
            generation.messages, generation.pieces, generation.token_ids = [], [], []
            generation.logprobs, generation.token_routing, generation.trace = [], b"", None
            generation.save()
            if trace is not None:
                trace.delete()
    return n_erased
