"""Bradley–Terry with covariates of single votes: style, position, latency, verbatim overlap.

P(a beats b) = σ(θ_a − θ_b + xᵀβ), fitted by Newton without any penalty, so that effects are not
shrunk. Ratings then compare contestants whose answers are alike in the covariates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.linalg import LinAlgError

from arena.rating.arrays import FloatArray, IntArray, sum_by
from arena.rating.covariance import cluster_sums
from arena.rating.errors import FitError
from arena.rating.newton import MAX_ITERATIONS, TOLERANCE, laplacian
from arena.rating.numerics import cho_factor, cho_solve, expit


@dataclass(frozen=True, eq=False)
class ContextVotes:
    """N votes with F covariates among K contestants, all of one component.

    a, b: (N,) contestants of the sides. points: (N,) of side a. weights: (N,). covariates: (N, F).
    cluster: (N,) numbers of the voters, or None when votes stand alone.
    """

    n_contestants: int
    a: IntArray
    b: IntArray
    points: FloatArray
    weights: FloatArray
    covariates: FloatArray
    names: tuple[str, ...]
    cluster: IntArray | None

    def differences(self, per_vote: FloatArray) -> FloatArray:
        """Return Σ per_vote (e_a − e_b, x), (K + F,)."""
        k = self.n_contestants
        sides = sum_by(self.a, per_vote, k) - sum_by(self.b, per_vote, k)
        return np.concatenate([sides, self.covariates.T @ per_vote])

    def squares(self, per_vote: FloatArray) -> FloatArray:
        """Return Σ per_vote (e_a − e_b, x)(e_a − e_b, x)ᵀ, (K + F, K + F)."""
        k = self.n_contestants
        scaled = per_vote[:, None] * self.covariates
        corner = np.stack([sum_by(self.a, c, k) - sum_by(self.b, c, k) for c in scaled.T], axis=1)
        return np.block([[laplacian(k, self.a, self.b, per_vote), corner], [corner.T, self.covariates.T @ scaled]])

    def linear(self, parameters: FloatArray) -> FloatArray:
        """Return θ_a − θ_b + xᵀβ of each vote, (N,)."""
        theta, beta = parameters[: self.n_contestants], parameters[self.n_contestants :]
        return np.asarray(theta[self.a] - theta[self.b] + self.covariates @ beta)


def fit_context(votes: ContextVotes, start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return parameters (K + F,), strengths first and adding up to 0, and their covariance.

    start: (K,) strengths to begin with. Covariates should be of similar size (standardised).
    Raise `FitError` naming a covariate that cannot be told apart from the contestants or from
    those named before it, and when no finite estimate exists.
    """
    k = votes.n_contestants
    _check_told_apart(votes)
    parameters = np.concatenate([start, np.zeros(len(votes.names))])
    value = _loss(votes, parameters)
    for _ in range(MAX_ITERATIONS):
        p = expit(votes.linear(parameters))
        gradient = votes.differences(votes.weights * (votes.points - p))
        step = _solve(votes.squares(votes.weights * p * (1 - p)), gradient, k)
        length = 1.0
        while (reached := _loss(votes, parameters + length * step)) > value + 1e-13 * (1 + abs(value)):
            length /= 2
            if length < 1e-9:
                break
        parameters, value = parameters + length * step, reached
        if np.abs(step).max() <= TOLERANCE:
            parameters[:k] -= parameters[:k].mean()
            return parameters, _covariance(votes, parameters)
    raise FitError(f"effects of {', '.join(votes.names)} are not finite: one of them decides every vote; leave it out")


def _loss(votes: ContextVotes, parameters: FloatArray) -> float:
    d = votes.linear(parameters)
    return float(np.sum(votes.weights * (np.logaddexp(0.0, d) - votes.points * d)))


def _covariance(votes: ContextVotes, parameters: FloatArray) -> FloatArray:
    k, n = votes.n_contestants, len(parameters)
    p = expit(votes.linear(parameters))
    residual = votes.weights * (votes.points - p)
    if votes.cluster is None:
        middle = votes.squares(residual**2)
    else:
        entries = [(votes.a, residual), (votes.b, -residual)]
        entries += [(np.full(len(residual), k + f), residual * x) for f, x in enumerate(votes.covariates.T)]
        rows = np.concatenate([row for row, _ in entries])
        values = np.concatenate([value for _, value in entries])
        middle = cluster_sums(np.tile(votes.cluster, len(entries)), rows, values, n)
    inverse = _solve(votes.squares(votes.weights * p * (1 - p)), np.eye(n), k)
    inverse[:k] -= inverse[:k].mean(axis=0)
    inverse[:, :k] -= inverse[:, :k].mean(axis=1, keepdims=True)
    return np.asarray(inverse @ middle @ inverse)


def _solve(matrix: FloatArray, right: FloatArray, k: int) -> FloatArray:
    filled = matrix.copy()
    filled[:k, :k] += np.trace(matrix[:k, :k]) / k**2
    try:
        return np.asarray(cho_solve(cho_factor(filled), right))
    except LinAlgError:
        raise FitError("strengths and covariates cannot be told apart by these votes; leave covariates out") from None


def _check_told_apart(votes: ContextVotes) -> None:
    """Sweep out contestants, then covariate by covariate; what is left must not vanish."""
    k = votes.n_contestants
    matrix = votes.squares(votes.weights)
    sides = matrix[:k, :k] + np.trace(matrix[:k, :k]) / k**2
    left = matrix[k:, k:] - matrix[k:, :k] @ cho_solve(cho_factor(sides), matrix[:k, k:])
    whole = np.diag(matrix[k:, k:])
    for f, name in enumerate(votes.names):
        if left[f, f] <= 1e-9 * whole[f]:
            raise FitError(f"covariate {name} is constant, or follows from the contestants and the other covariates")
        left = left - np.outer(left[:, f], left[f]) / left[f, f]
