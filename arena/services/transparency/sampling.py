"""Sampling as it was planned against sampling as it came out, and whose models the votes are about.

For each draw the log holds, with its epoch, the exact probability that a contestant was in the pair:
the weights of its pairs over the weights of all. Planned is the sum of these probabilities over all
closed draws of the period, realised the number of those draws that took the contestant. Given the
tables, draws are independent, so the realised number is Poisson-binomial: its variance is the sum of
p (1 − p), and the interval is planned ± z times its root, cut off at 0 and at the number of draws.
That normal approximation is rough below about ten expected draws. A provider or licence group is in a
pair when at least one of its contestants is.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import NormalDist

from django.core.cache import cache

from arena.models import Epoch
from arena.sampling import WeightTable
from arena.sampling.shares import contestant_weights, group_weights
from arena.services.transparency.battles import DrawTally, kept_s
from arena.services.transparency.scope import Scope

LEVEL = 0.95
KEPT_S = 7 * 24 * 3600
GROUPINGS = ("contestant", "provider", "licence_group")
Groups = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class SampledRow:
    """One contestant, provider or licence group. Rates are shares of all draws of the period.

    n_draws: draws of epochs on whose roster it stood. lower, upper: between which the realised number
    lies with probability `LEVEL` when draws follow the tables.
    """

    name: str
    n_draws: int
    planned: float
    lower: float
    upper: float
    realised: int
    planned_rate: float
    realised_rate: float

    @property
    def is_within(self) -> bool:
        """Tell whether the realised number lies in the interval."""
        return self.lower <= self.realised <= self.upper


@dataclass(frozen=True)
class DataShare:
    """How much of the voted battles is about a provider's or licence group's contestants.

    n_sides: answers of its contestants in battles that ended with a vote; each battle has two.
    """

    name: str
    n_votes: int
    n_sides: int
    share: float


def sampled_rows(
    scope: Scope, draws: DrawTally, groups: Groups, *, level: float = LEVEL
) -> dict[str, list[SampledRow]]:
    """Return planned and realised sampling by grouping (`GROUPINGS`), in the order of names.

    groups: by grouping, the group of each contestant.
    """
    realised: dict[str, Counter[str]] = defaultdict(Counter)
    for pair, n_draws in draws.pairs.items():
        for grouping in GROUPINGS:
            for name in {groups[grouping][side] for side in pair}:
                realised[grouping][name] += n_draws
    moments = _moments(scope, draws.epochs, groups)
    n = draws.n_draws
    return {
        grouping: [
            _row(name, found, realised[grouping][name], n, level) for name, found in sorted(moments[grouping].items())
        ]
        for grouping in GROUPINGS
    }


@dataclass
class _Moments:
    """Sums of p and of p (1 − p), exact: numerators by the total weight of the tables that they are over."""

    n_draws: int = 0
    first: Counter[int] = field(default_factory=Counter)
    second: Counter[int] = field(default_factory=Counter)

    def add(self, n: int, weight: int, total: int) -> None:
        """Add `n` draws from a table."""
        self.n_draws += n
        self.first[total] += n * weight
        self.second[total] += n * weight * (total - weight)

    @property
    def mean(self) -> Fraction:
        return sum((Fraction(value, total) for total, value in self.first.items()), Fraction(0))

    @property
    def variance(self) -> Fraction:
        return sum((Fraction(value, total * total) for total, value in self.second.items()), Fraction(0))


Moments = dict[str, dict[str, _Moments]]


def _moments(scope: Scope, epochs: Counter[int], groups: Groups) -> Moments:
    """Return the sums over all draws, by grouping and name.

    They are linear in the number of draws of each epoch, so those that are kept are brought to these numbers by
    the epochs in which they differ.
    """
    key = f"arena:draw-moments:{scope.season.pk}:{scope.first}:{scope.last}"
    kept: tuple[Counter[int], Moments] | None = cache.get(key)
    known, sums = kept or (Counter[int](), {grouping: {} for grouping in GROUPINGS})
    change = {number: epochs[number] - known[number] for number in epochs.keys() | known.keys()}
    change = {number: n for number, n in change.items() if n}
    for number, (total, weights) in _weights(scope, change, groups).items():
        for grouping in GROUPINGS:
            for name, weight in weights[grouping].items():
                sums[grouping].setdefault(name, _Moments()).add(change[number], weight, total)
    sums = {grouping: {name: m for name, m in found.items() if m.n_draws} for grouping, found in sums.items()}
    if epochs.total() > known.total():
        cache.set(key, (epochs, sums), kept_s(scope))
    return sums


Weights = tuple[int, dict[str, dict[str, int]]]


def _weights(scope: Scope, numbers: Iterable[int], groups: Groups) -> dict[int, Weights]:
    """Return total and weights by grouping and name of each epoch. A table never changes, nor do the groups."""
    epochs = scope.season.epochs.filter(number__in=list(numbers))
    keys = {f"arena:shares:{scope.season.pk}:{pk}": number for pk, number in epochs.values_list("pk", "number")}
    kept: dict[str, Weights] = cache.get_many(list(keys))
    missing = [key for key in keys if key not in kept]
    by_number = {number: key for key, number in keys.items()}
    for epoch in Epoch.objects.filter(season=scope.season, number__in=[keys[k] for k in missing]).iterator(50):
        kept[by_number[epoch.number]] = _weights_of(WeightTable.from_json(epoch.table), groups)
    cache.set_many({key: kept[key] for key in missing}, KEPT_S)
    return {number: kept[key] for key, number in keys.items()}


def _weights_of(table: WeightTable, groups: Groups) -> Weights:
    named = {grouping: group_weights(table, groups[grouping]) for grouping in GROUPINGS[1:]}
    return table.total, {"contestant": contestant_weights(table), **named}


def _row(name: str, found: _Moments, realised: int, n: int, level: float) -> SampledRow:
    planned = float(found.mean)
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(found.variance)
    return SampledRow(
        name,
        found.n_draws,
        planned,
        max(0.0, planned - half),
        min(float(found.n_draws), planned + half),
        realised,
        planned / n,
        realised / n,
    )


def data_shares(draws: DrawTally, group_of: Mapping[str, str]) -> list[DataShare]:
    """Return each group's share of the answers in voted battles, largest first."""
    votes: Counter[str] = Counter()
    sides: Counter[str] = Counter()
    for pair, n_votes in draws.votes.items():
        names = [group_of[side] for side in pair]
        for name in names:
            sides[name] += n_votes
        for name in set(names):
            votes[name] += n_votes
    n = sum(sides.values())
    rows = [DataShare(name, votes[name], n_sides, n_sides / n) for name, n_sides in sides.items() if n_sides]
    return sorted(rows, key=lambda row: (-row.n_sides, row.name))
