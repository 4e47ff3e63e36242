"""What the published rules have set aside, rule by rule."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from arena.models import Exclusion, Vote
from arena.services.transparency.battles import in_period
from arena.services.transparency.scope import Scope


@dataclass(frozen=True)
class RuleExclusions:
    """One rule. n_entered, n_ended: exclusions that began and that ended within the period.

    n_voters, n_battles: subjects of those in force at the tree size; n_votes: voted battles of the
    period that they set aside. A battle may be set aside by more than one rule.
    """

    rule: str
    n_entered: int
    n_ended: int
    n_voters: int
    n_battles: int
    n_votes: int


@dataclass(frozen=True)
class Exclusions:
    """All rules that ever set something aside, and the votes of the period: all, and those set aside at the end."""

    rules: list[RuleExclusions]
    n_votes: int
    n_set_aside: int

    @property
    def share(self) -> float:
        """Return which part of the period's votes is set aside."""
        return self.n_set_aside / self.n_votes if self.n_votes else 0.0


def exclusions_of(scope: Scope, *, n_votes: int) -> Exclusions:
    """Return the counts of every rule that was used below the tree size. n_votes: all votes of the period."""
    known = Exclusion.objects.filter(season=scope.season, entry__index__lt=scope.tree_size).select_related(
        "entry", "ends"
    )
    entered: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    in_force: dict[Any, Exclusion] = {}
    rules: set[str] = set()
    for row in known.order_by("entry__index"):
        if row.ends is None:
            in_force[row.pk] = row
            rules.add(row.rule)
            entered[row.rule] += scope.holds(row.entry.at)
        else:
            in_force.pop(row.ends_id, None)
            ended[row.ends.rule] += scope.holds(row.entry.at)
    votes = in_period(Vote.objects.closed(), scope, "battle__")
    voters: dict[str, set[uuid.UUID]] = defaultdict(set)
    battles: dict[str, set[uuid.UUID]] = defaultdict(set)
    for row in in_force.values():
        (voters if row.voter_id else battles)[row.rule].add(row.voter_id or row.battle_id)  # type: ignore[arg-type]
    counts = _Counts(votes, set().union(*voters.values()), set().union(*battles.values()))
    rows = [
        RuleExclusions(
            rule, entered[rule], ended[rule], len(voters[rule]), len(battles[rule]),
            counts.set_aside(voters[rule], battles[rule]),
        )
        for rule in sorted(rules)
    ]  # fmt: skip
    return Exclusions(rows, n_votes, counts.set_aside(counts.voters, counts.battles))


class _Counts:
    """Counts the votes of voters and battles that are set aside, each battle once."""

    def __init__(self, votes: Any, voters: set[uuid.UUID], battles: set[uuid.UUID]) -> None:
        self.voters, self.battles = voters, battles
        grouped = votes.filter(voter_id__in=voters).order_by().values_list("voter_id")
        self._by_voter: dict[uuid.UUID, int] = dict(grouped.annotate(n=Count("pk")))
        self._voter_of = dict(votes.filter(battle_id__in=battles).values_list("battle_id", "voter_id"))

    def set_aside(self, voters: set[uuid.UUID], battles: set[uuid.UUID]) -> int:
        """Return how many votes are by one of the voters or on one of the battles."""
        alone = sum(b in self._voter_of and self._voter_of[b] not in voters for b in battles)
        return sum(self._by_voter.get(voter, 0) for voter in voters) + alone
