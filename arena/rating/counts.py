"""Votes summed by pair: all that a Bradley–Terry fit needs, in a size that does not grow with votes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from arena.rating.arrays import BoolArray, FloatArray, IntArray, sum_by
from arena.rating.verdicts import points_of
from arena.rating.votes import VoteTable

OUTCOME_POINTS: FloatArray = np.array([1.0, 0.5, 0.0])  # of the first of a pair, in the order of the columns


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Sums over the votes of C pairs among K contestants.

    first, second: (C,) places of the contestants, first < second. The columns of the (C, 3) arrays
    are: first won, neither, second won. n: votes. weight, square: sums of the votes' weights and
    of their squares (both equal n without weights).
    """

    n_contestants: int
    first: IntArray
    second: IntArray
    n: FloatArray
    weight: FloatArray
    square: FloatArray

    @cached_property
    def score(self) -> FloatArray:
        """Weighted points of the first of each pair, (C,)."""
        return np.asarray(self.weight @ OUTCOME_POINTS)

    @cached_property
    def total(self) -> FloatArray:
        """Weight of all votes of each pair, (C,)."""
        return np.asarray(self.weight.sum(axis=1))

    @property
    def n_by_contestant(self) -> IntArray:
        """Votes that each contestant took part in, (K,)."""
        n = self.n.sum(axis=1)
        both = sum_by(self.first, n, self.n_contestants) + sum_by(self.second, n, self.n_contestants)
        return both.astype(np.int64)

    def restrict(self, keep: BoolArray) -> PairCounts:
        """Return the counts among the contestants where `keep` (K,) is true, renumbered in order."""
        if keep.all():
            return self
        place = np.cumsum(keep) - 1
        rows = keep[self.first] & keep[self.second]
        return PairCounts(
            int(keep.sum()),
            place[self.first[rows]],
            place[self.second[rows]],
            self.n[rows],
            self.weight[rows],
            self.square[rows],
        )


def vote_weights(votes: VoteTable) -> FloatArray:
    """Return 1/p_pair of each vote, scaled to mean 1; all 1 when p_pair is unknown. Shape (N,)."""
    if votes.p_pair is None or not votes.n_votes:
        return np.ones(votes.n_votes)
    weights = 1.0 / votes.p_pair
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def count_pairs(votes: VoteTable, weights: FloatArray | None = None) -> PairCounts:
    """Return the sums of a table of votes; `weights` (N,) are all 1 when None."""
    k = len(votes.contestants)
    swapped = votes.side_a > votes.side_b
    first = np.where(swapped, votes.side_b, votes.side_a).astype(np.int64)
    second = np.where(swapped, votes.side_a, votes.side_b)
    points = points_of(votes.verdict)
    outcome = (2 - 2 * np.where(swapped, 1 - points, points)).astype(np.int64)
    key = (first * k + second) * 3 + outcome
    size = 3 * k * k
    n = np.bincount(key, minlength=size).reshape(-1, 3)
    used = np.flatnonzero(n.any(axis=1))
    n_used = n[used].astype(np.float64)
    if weights is None:
        weight = square = n_used
    else:
        weight = sum_by(key, weights, size).reshape(-1, 3)[used]
        square = sum_by(key, weights * weights, size).reshape(-1, 3)[used]
    return PairCounts(k, used // k, used % k, n_used, weight, square)
