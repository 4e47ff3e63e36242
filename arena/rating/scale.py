"""From strengths to ratings and intervals to ranks."""

from __future__ import annotations

import math

import numpy as np

from arena.rating.arrays import FloatArray, IntArray
from arena.rating.numerics import ndtri

SCALE = 400 / math.log(10)  # ratings per unit of strength: 400 points are odds of 10 to 1
CENTRE = 1000.0
DECIMALS = 2
NOISE = 1e-9  # strengths that differ by less are equal: rounding must not decide a rank


def normal_quantile(level: float) -> float:
    """Return z such that a standard normal lies within ±z with probability `level`; 1.959964 for 0.95."""
    return float(ndtri(0.5 + level / 2))


def rank_intervals(theta: FloatArray, covariance: FloatArray, level: float) -> tuple[IntArray, IntArray]:
    """Return the best and the worst rank of each contestant, (K,) each, 1 being the top.

    A contestant stands below those that are better than it beyond chance, and above those that are
    worse beyond chance. For each contestant its K − 1 comparisons hold together with probability
    `level` (Bonferroni). Differences below `NOISE` are none.
    """
    k = len(theta)
    variance = np.diag(covariance)
    spread = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * covariance, 0))
    reach = normal_quantile(1 - (1 - level) / max(k - 1, 1)) * spread
    difference = theta[:, None] - theta[None, :]
    n_better = (difference + reach < -NOISE).sum(axis=1)
    n_worse = (difference - reach > NOISE).sum(axis=1)
    return np.asarray(1 + n_better), np.asarray(k - n_worse)
