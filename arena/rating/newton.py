"""Bradley–Terry strengths by Newton's method on pair counts.

P(first beats second) = σ(θ_first − θ_second); a vote without a winner is half a point for each.
Strengths are natural logarithms here and add up to 0; `arena.rating.scale` turns them into ratings.
"""

from __future__ import annotations

import numpy as np
from numpy.linalg import LinAlgError

from arena.rating.arrays import FloatArray, IntArray, sum_by
from arena.rating.counts import PairCounts
from arena.rating.errors import FitError
from arena.rating.numerics import cho_factor, cho_solve, expit

TOLERANCE = 1e-8  # largest Newton step at which the next one ends the iteration; it converges quadratically
MAX_ITERATIONS = 200


def laplacian(n: int, first: IntArray, second: IntArray, values: FloatArray) -> FloatArray:
    """Return Σ_c values_c (e_first − e_second)(e_first − e_second)ᵀ, (n, n); pairs may repeat."""
    off = sum_by(first * n + second, values, n * n).reshape(n, n)
    off = off + off.T
    return np.asarray(np.diag(off.sum(axis=1)) - off)


def pair_differences(counts: PairCounts, per_pair: FloatArray) -> FloatArray:
    """Return Σ_c per_pair_c (e_first − e_second), (K,)."""
    k = counts.n_contestants
    return sum_by(counts.first, per_pair, k) - sum_by(counts.second, per_pair, k)


def hessian(counts: PairCounts, theta: FloatArray) -> FloatArray:
    """Return the second derivative of the negative log-likelihood, (K, K); its null space is the constants."""
    p = expit(theta[counts.first] - theta[counts.second])
    return laplacian(counts.n_contestants, counts.first, counts.second, counts.total * p * (1 - p))


def negative_log_likelihood(counts: PairCounts, theta: FloatArray) -> float:
    """Return Σ_c total_c log(1 + e^d_c) − score_c d_c with d the difference of strengths."""
    d = theta[counts.first] - theta[counts.second]
    return float(np.sum(counts.total * np.logaddexp(0.0, d) - counts.score * d))


def fit_strengths(counts: PairCounts, start: FloatArray | None = None) -> FloatArray:
    """Return the strengths θ, (K,), that add up to 0.

    The contestants must be one strongly connected component (`arena.rating.graph`). Raise
    `FitError` when the iteration does not converge.
    """
    k = counts.n_contestants
    theta = np.zeros(k) if start is None else start - start.mean()
    score, total = counts.score, counts.total
    value = negative_log_likelihood(counts, theta)
    for _ in range(MAX_ITERATIONS):
        p = expit(theta[counts.first] - theta[counts.second])
        gradient = pair_differences(counts, score - total * p)
        step = solve_centred(hessian(counts, theta), gradient)
        theta, value = _descend(counts, theta, value, step, float(gradient @ step))
        if np.abs(step).max() <= TOLERANCE:
            return np.asarray(theta - theta.mean())
    raise FitError(f"strengths did not converge in {MAX_ITERATIONS} steps; look for pairs with extreme weights")


def solve_centred(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Solve matrix x = right for the x that adds up to 0, the matrix's null space being the constants."""
    k = len(matrix)
    try:
        return np.asarray(cho_solve(cho_factor(matrix + np.trace(matrix) / k**2), right))
    except LinAlgError:
        raise FitError("the comparisons are too lopsided to tell strengths apart; more votes are needed") from None


def invert_centred(matrix: FloatArray) -> FloatArray:
    """Return the pseudo-inverse of a symmetric matrix whose null space is the constants."""
    k = len(matrix)
    scale = np.trace(matrix) / k
    return np.asarray(solve_centred(matrix, np.eye(k)) - 1 / (k * scale))


def _descend(
    counts: PairCounts, theta: FloatArray, value: float, step: FloatArray, decrease: float
) -> tuple[FloatArray, float]:
    """Go along `step`, halved until the value falls enough; near the optimum rounding hides the fall."""
    slack = 1e-13 * (1 + abs(value))
    length = 1.0
    while True:
        trial = theta + length * step
        reached = negative_log_likelihood(counts, trial)
        if reached <= value - 1e-4 * length * decrease + slack or length < 1e-9:
            return trial, reached
        length /= 2
