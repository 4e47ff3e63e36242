"""Voters judged by the published patterns, answers that say who wrote them, and the public report on both.

What a rule sets aside is entered in the log with its numbers; nothing is deleted, and later votes
may bring a voter's votes back.
"""

from __future__ import annotations

import math
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Max

from arena.answers import SIDES, side_text, turns_of
from arena.models import Battle, Contestant, Exclusion, Leaderboard, Season, Verdict, Vote, Voter
from arena.quality import (
    Agreement,
    Ballot,
    Crowd,
    Evidence,
    Gate,
    Outcome,
    Pattern,
    cohen_kappa,
    gate_above,
    judge_voter,
    krippendorff_alpha,
)
from arena.rating import CENTRE, SCALE
from arena.services.boards import latest_leaderboard
from arena.services.epochs import tree_size
from arena.services.exclusions import exclude_battle, exclude_voter, include_again
from arena.services.seasons import current_policy, rules_of
from arena.services.standing import standing_report

LEAK = "identity-leak"
MIN_JUDGED = 20  # with so many votes a voter who follows a pattern would have been found
MIN_NAME = 5  # letters; shorter names are words of the language too
MAX_OVERLAP = 200_000
KEPT_S = 24 * 3600


def judge_season(season: Season) -> int:
    """Judge whoever voted since the last time, and the answers they judged; return how many exclusions changed."""
    board = latest_leaderboard(season)
    if board is None:
        return 0
    key, size = f"arena:judged:{season.pk}", tree_size()
    since = int(cache.get(key) or 0)
    changed = _judge_voters(season, board, since, size) + _judge_answers(season, since, size)
    cache.set(key, size, KEPT_S)
    return changed


def crowd_of(board: Leaderboard) -> Crowd:
    """Return what all voters together say, from a published leaderboard."""
    n = sum(sum(row[2:]) for row in board.pairs)
    neutral = sum(row[4] + row[5] for row in board.pairs) / n if n else 0.0
    ratings = board.result["ratings"]
    return Crowd({row["contestant"]: (row["rating"] - CENTRE) / SCALE for row in ratings}, neutral)


def ballots_of(season: Season, voter: Voter, size: int) -> list[Ballot]:
    """Return a voter's closed votes below a tree size, in the order of their close entries."""
    rows = (
        Vote.objects.closed()
        .filter(battle__season=season, voter=voter, battle__close__entry__index__lt=size)
        .order_by("battle__close__entry__index")
    )
    outcomes = {Verdict.A: 0, Verdict.TIE: 1, Verdict.BOTH_BAD: 1, Verdict.B: 2}
    columns = rows.values_list("battle__contestant_a_id", "battle__contestant_b_id", "verdict")
    return [Ballot(str(a), str(b), outcomes[Verdict(verdict)]) for a, b, verdict in columns]


def _judge_voters(season: Season, board: Leaderboard, since: int, size: int) -> int:
    crowd = crowd_of(board)
    alarm = rules_of(current_policy(season)).quality_alarm
    newest = (
        Vote.objects.closed()
        .filter(battle__season=season, battle__close__entry__index__gte=since, battle__close__entry__index__lt=size)
        .order_by()
        .values("voter")
        .annotate(newest=Max("battle__close__entry__index"))
    )
    voters = Voter.objects.in_bulk([row["voter"] for row in newest])
    return sum(_judge(season, voters[row["voter"]], row["newest"], crowd, board, alarm, size) for row in newest)


def _judge(season: Season, voter: Voter, newest: int, crowd: Crowd, board: Leaderboard, alarm: int, size: int) -> int:
    """Bring a voter's exclusions to what the evidence says. Without a newer vote nothing is said twice."""
    in_force = list(
        Exclusion.objects.in_force()
        .filter(season=season, voter=voter, rule__in=list(Pattern))
        .select_related("entry", "season")
    )
    if any(e.entry.index is None or e.entry.index > newest for e in in_force):
        return 0
    evidence = {e.pattern.value: e for e in judge_voter(ballots_of(season, voter, size), crowd)}
    n_changed = 0
    for exclusion in in_force:
        found = evidence[exclusion.rule]
        if not found.exceeds(alarm):
            include_again(exclusion=exclusion, numbers=_numbers(found, board))
            n_changed += 1
    strongest = max(evidence.values(), key=lambda e: e.log_odds)
    if strongest.exceeds(alarm) and not any(evidence[e.rule].exceeds(alarm) for e in in_force):
        exclude_voter(season=season, voter=voter, rule=strongest.pattern.value, numbers=_numbers(strongest, board))
        n_changed += 1
    return n_changed


def _numbers(evidence: Evidence, board: Leaderboard) -> dict[str, Any]:
    """Return what an entry says: all that is needed to compute the evidence again from the log."""
    numbers: dict[str, Any] = {
        "log10_odds": f"{evidence.log_odds / math.log(10):.2f}",
        "n_votes": evidence.n_votes,
        "board_id": str(board.pk),
    }
    return {**numbers, "contestant": evidence.contestant} if evidence.contestant else numbers


def _judge_answers(season: Season, since: int, size: int) -> int:
    """Set battles aside in which an answer names its own contestant, checkpoint or provider."""
    battles = Battle.objects.filter(
        season=season, close__kind="vote", close__entry__index__gte=since, close__entry__index__lt=size
    ).exclude(exclusions__rule=LEAK)
    n_found = 0
    for battle in battles.select_related(
        "season", "contestant_a__provider", "contestant_b__provider", "contestant_a__checkpoint",
        "contestant_b__checkpoint",
    ).iterator(chunk_size=200):  # fmt: skip
        turns = turns_of(battle)
        sides = [s for s in SIDES if names_itself(side_text(turns, s), getattr(battle, f"contestant_{s}"))]
        if sides:
            exclude_battle(battle=battle, rule=LEAK, numbers={"sides": sides})
            n_found += 1
    return n_found


def names_itself(answer: str, contestant: Contestant) -> bool:
    """Tell whether an answer names who wrote it. Only answers are looked at: a prompt may name whom it likes."""
    names = (contestant.title, contestant.provider.name, contestant.checkpoint.slug)
    words = [re.escape(name.strip()) for name in names if len(name.strip()) >= MIN_NAME]
    return bool(words) and re.search(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", answer, re.IGNORECASE) is not None


@dataclass(frozen=True)
class RuleCount:
    """What one rule has set aside in a season: now, and ever."""

    rule: str
    n_voters: int
    n_battles: int
    n_votes: int
    n_ever: int


@dataclass(frozen=True)
class QualityReport:
    """The public report: counts, agreement and gates. No voter can be told from it."""

    tree_size: int
    n_votes: int
    voters: dict[str, int]
    exclusions: tuple[RuleCount, ...]
    overlap: Agreement
    consistency: Agreement
    gates: tuple[Gate, ...]


def quality_report(season: Season, *, renew: bool = False) -> QualityReport:
    """Return the report of a season's newest state; a large season's stands until the rank worker renews it."""
    size = tree_size()
    return standing_report(
        f"arena:quality:{season.pk}",
        size,
        lambda: _report(season, size),
        n_votes=lambda report: report.n_votes,
        kept_s=KEPT_S,
        renew=renew,
    )


def _report(season: Season, size: int) -> QualityReport:
    votes = Vote.objects.closed().filter(battle__season=season)
    by_voter = dict(votes.order_by().values_list("voter").annotate(n=Count("pk")))
    failed = {e.voter_id for e in Exclusion.objects.in_force().filter(season=season, voter__isnull=False)}
    passed = {voter for voter, n in by_voter.items() if n >= MIN_JUDGED and voter not in failed}
    overlap, consistency = _agreement(votes)
    bound = float(rules_of(current_policy(season)).quality_min_agreement)
    return QualityReport(
        tree_size=size,
        n_votes=sum(by_voter.values()),
        voters={
            Outcome.PASS.value: len(passed),
            Outcome.FAIL.value: len(failed),
            Outcome.UNDECIDED.value: len(set(by_voter) - passed - failed),
        },
        exclusions=tuple(_rule_counts(season, by_voter)),
        overlap=overlap,
        consistency=consistency,
        gates=tuple(_gates(season, overlap, consistency, bound)),
    )


def _rule_counts(season: Season, by_voter: dict[uuid.UUID, int]) -> Iterator[RuleCount]:
    ever = dict(
        Exclusion.objects.filter(season=season, kind="exclude").order_by().values_list("rule").annotate(Count("pk"))
    )
    now: dict[str, list[Exclusion]] = defaultdict(list)
    for exclusion in Exclusion.objects.in_force().filter(season=season):
        now[exclusion.rule].append(exclusion)
    for rule in sorted(ever):
        voters = {e.voter_id for e in now[rule] if e.voter_id}
        n_battles = sum(e.battle_id is not None for e in now[rule])
        yield RuleCount(rule, len(voters), n_battles, sum(by_voter.get(v, 0) for v in voters) + n_battles, ever[rule])


def _agreement(votes: Any) -> tuple[Agreement, Agreement]:
    """Return α of different voters on one prompt and pair, and κ of the same voter's verdicts on both occasions.

    One prompt and pair are drawn again by chance alone: the sampling rule is not bent for it.
    """
    items: dict[tuple[Any, ...], dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    rows = votes.filter(battle__pool_prompt__isnull=False).order_by("-battle__created_at")
    columns = ("battle__pool_prompt_id", "battle__contestant_a_id", "battle__contestant_b_id", "verdict", "voter_id")
    for prompt, a, b, verdict, voter in reversed(list(rows.values_list(*columns)[:MAX_OVERLAP])):
        turned = {Verdict.A: Verdict.B, Verdict.B: Verdict.A} if a > b else {}
        items[prompt, min(a, b), max(a, b)][voter].append(str(turned.get(Verdict(verdict), verdict)))
    pairs: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for by_voter in items.values():
        for voter, verdicts in by_voter.items():
            pairs[voter] += list(zip(verdicts[::2], verdicts[1::2], strict=False))
    overlap = krippendorff_alpha({item: [v[0] for v in by_voter.values()] for item, by_voter in items.items()})
    return overlap, cohen_kappa({voter: found for voter, found in pairs.items() if found})


def _gates(season: Season, overlap: Agreement, consistency: Agreement, bound: float) -> Iterator[Gate]:
    yield gate_above(
        "agreement",
        what="Krippendorff's α of different voters on the same prompt and pair",
        bound=bound,
        lower=overlap.lower,
        upper=overlap.upper,
        n=overlap.n_items,
        unit="overlapping battles",
    )
    yield gate_above(
        "self-consistency",
        what="Cohen's κ of voters who met a prompt and pair again",
        bound=bound,
        lower=consistency.lower,
        upper=consistency.upper,
        n=consistency.n_items,
        unit="repeated battles",
    )
    board = latest_leaderboard(season)
    listed = [] if board is None else [*board.result["ratings"], *board.result["unrankable"]]
    if board is None or not board.n_votes:
        yield Gate("connection", Outcome.UNDECIDED, "There is no leaderboard with votes yet.")
        return
    apart = [r for r in board.result["unrankable"] if r["reason"].startswith("not connected")]
    outcome = Outcome.FAIL if apart else Outcome.PASS
    yield Gate(
        "connection", outcome, f"{len(listed) - len(apart)} of {len(listed)} contestants are connected by votes."
    )
