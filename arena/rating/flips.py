"""How many further votes would reverse two neighbours of the table."""

from __future__ import annotations

import numpy as np

from arena.rating.arrays import FloatArray
from arena.rating.counts import PairCounts
from arena.rating.errors import FitError
from arena.rating.newton import TOLERANCE, fit_strengths, hessian, invert_centred, pair_differences
from arena.rating.numerics import expit

MAX_CHORD_STEPS = 30


class FlipCounter:
    """Counts votes to flip for any two contestants of one fit; the second derivative is inverted once."""

    def __init__(self, counts: PairCounts, theta: FloatArray) -> None:
        """counts: among the K fitted contestants. theta: (K,) their fitted strengths."""
        self._counts = counts
        self._theta = theta
        self._inverse = invert_centred(hessian(counts, theta))

    def votes_to_flip(self, upper: int, lower: int, unit: float = 1.0) -> int:
        """Return the fewest further direct votes for `lower` against `upper` that put `lower` ahead.

        All other votes stay. unit: weight of one such vote. Where both are equally strong, x more
        votes of weight u push by x·u/2, which must balance the push of the votes at hand when the
        two are forced to be equal. So one fit under that constraint gives the exact number.
        """
        push = self._push(self._equal_strengths(upper, lower))[upper]
        return max(int(np.floor(2 * push / unit + 1e-9)) + 1, 1)

    def _push(self, theta: FloatArray) -> FloatArray:
        """Return the gradient of the log-likelihood, (K,)."""
        counts = self._counts
        p = expit(theta[counts.first] - theta[counts.second])
        return pair_differences(counts, counts.score - counts.total * p)

    def _equal_strengths(self, upper: int, lower: int) -> FloatArray:
        """Return the best strengths with the two equal: steps with the fixed inverse, else a fit of its own."""
        column = self._inverse[upper] - self._inverse[lower]
        length = column[upper] - column[lower]
        theta = self._theta - column * (self._theta[upper] - self._theta[lower]) / length
        size = np.inf
        for _ in range(MAX_CHORD_STEPS):
            step = self._inverse @ self._push(theta)
            step -= column * (step[upper] - step[lower]) / length
            before, size = size, float(np.abs(step).max())
            if size > before / 2:
                break
            theta = theta + step
            if size <= TOLERANCE:
                return np.asarray(theta)
        return self._fit_merged(upper, lower)

    def _fit_merged(self, upper: int, lower: int) -> FloatArray:
        start = np.delete(self._theta, lower)
        merged = fit_strengths(_merge(self._counts, upper, lower), start)
        theta = np.insert(merged, lower, 0.0)
        theta[lower] = theta[upper]
        return theta


def _merge(counts: PairCounts, upper: int, lower: int) -> PairCounts:
    """Return the counts with `lower` renamed to `upper`; their direct votes, which say nothing then, left out."""
    place = np.arange(counts.n_contestants)
    place[lower] = place[upper]
    place = np.where(place > lower, place - 1, place)
    first, second = place[counts.first], place[counts.second]
    rows = first != second
    if not rows.any():
        raise FitError("two contestants alone have no strengths when forced to be equal")
    return PairCounts(
        counts.n_contestants - 1, first[rows], second[rows], counts.n[rows], counts.weight[rows], counts.square[rows]
    )
