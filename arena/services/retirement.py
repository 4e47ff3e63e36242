"""The removal rule: a pure function of a leaderboard and published parameters, and the one job that applies it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from arena.models import Contestant, LicenceGroup, RetirementRun, RosterKind, Season
from arena.policy import Rules
from arena.services.boards import publish_leaderboard
from arena.services.roster import change_roster
from arena.services.seasons import current_policy, rules_of


@dataclass(frozen=True)
class Standing:
    """What the rule knows of a contestant."""

    contestant: str
    group: str
    rating: float
    lower: float
    upper: float
    n_votes: int


@dataclass(frozen=True)
class GroupOutcome:
    """What the rule says about one licence group. `threshold` is None when nobody can be judged."""

    group: str
    n_judged: int
    threshold: float | None
    retired: tuple[str, ...]


def decide(standings: Iterable[Standing], rules: Rules) -> list[GroupOutcome]:
    """Apply the rule within each licence group.

    Judged are contestants with enough votes and a converged interval. Those whose whole interval
    lies below the group's nearest-rank percentile retire, so that chance alone removes nobody; a group
    never loses its best.
    """
    groups: dict[str, list[Standing]] = defaultdict(list)
    for standing in standings:
        converged = standing.upper - standing.lower <= rules.retire_max_width
        if standing.n_votes >= rules.retire_min_votes and converged:
            groups[standing.group].append(standing)
    outcomes = []
    for group in LicenceGroup.values:
        judged = sorted(groups[group], key=lambda s: (s.rating, s.contestant))
        if len(judged) < 2 or not rules.retire_percentile:
            outcomes.append(GroupOutcome(group, len(judged), None, ()))
            continue
        place = max(1, math.ceil(len(judged) * rules.retire_percentile / 100))
        threshold = judged[place - 1].rating
        gone = tuple(s.contestant for s in judged[:-1] if s.upper < threshold)
        outcomes.append(GroupOutcome(group, len(judged), threshold, gone))
    return outcomes


def apply_removal_rule(season: Season) -> RetirementRun:
    """Run the rule on the newest leaderboard; the run and every retirement are written down."""
    policy = current_policy(season)
    rules = rules_of(policy)
    board = publish_leaderboard(season)
    active = {str(c.pk): c for c in Contestant.objects.active().filter(season=season)}
    standings = [
        Standing(
            row["contestant"],
            active[row["contestant"]].licence_group,
            row["rating"],
            row["lower"],
            row["upper"],
            row["n_votes"],
        )
        for row in board.result["ratings"]
        if row["contestant"] in active
    ]
    outcomes = decide(standings, rules)
    by_id = {s.contestant: s for s in standings}
    with transaction.atomic():
        run = RetirementRun.objects.create(policy=policy, leaderboard=board, outcome=[_shown(o) for o in outcomes])
        for outcome in outcomes:
            for name in outcome.retired:
                change_roster(
                    contestant=active[name],
                    kind=RosterKind.RETIRED,
                    rule="retire-lowest",
                    numbers=_numbers(by_id[name], outcome, rules, str(board.pk)),
                    retirement_run=run,
                )
    return run


def _shown(outcome: GroupOutcome) -> dict[str, Any]:
    return {
        "group": outcome.group,
        "n_judged": outcome.n_judged,
        "threshold": outcome.threshold,
        "retired": list(outcome.retired),
    }


def _numbers(standing: Standing, outcome: GroupOutcome, rules: Rules, board: str) -> dict[str, Any]:
    return {
        "board_id": board,
        "licence_group": outcome.group,
        "n_judged": outcome.n_judged,
        "percentile": rules.retire_percentile,
        "threshold": f"{outcome.threshold:.2f}",
        "rating": f"{standing.rating:.2f}",
        "upper": f"{standing.upper:.2f}",
        "n_votes": standing.n_votes,
    }
