"""What each factor of a contestant adds: Bradley–Terry whose strengths are sums of effects.

θ = X β, where X tells which factors (experts of a mixture) a contestant has switched on. Fitted by
Newton without any penalty on pair counts; intervals are the sandwich of `arena.rating.covariance`,
clustered by voter where voters are known, carried over by X.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.linalg import LinAlgError

from arena.rating.arrays import FloatArray
from arena.rating.counts import OUTCOME_POINTS, PairCounts, count_pairs, vote_weights
from arena.rating.covariance import cluster_sums
from arena.rating.errors import FitError
from arena.rating.newton import hessian, laplacian, negative_log_likelihood, pair_differences
from arena.rating.numerics import cho_factor, cho_solve, expit
from arena.rating.scale import SCALE, normal_quantile
from arena.rating.verdicts import points_of
from arena.rating.votes import VoteTable

MAX_ITERATIONS = 100
TOLERANCE = 1e-9
MAX_EFFECT = 20.0  # log-odds; beyond, the likelihood has no maximum


@dataclass(frozen=True)
class FactorEffect:
    """Rating points that a factor adds when it is switched on, with its interval; n_votes: in which it differed."""

    factor: str
    effect: float
    lower: float
    upper: float
    n_votes: int


@dataclass(frozen=True)
class FactorialResult:
    """Effects by factor, and the factors whose effect these votes cannot tell, with the reason."""

    effects: tuple[FactorEffect, ...]
    untold: tuple[tuple[str, str], ...]
    n_votes: int


def rate_factors(votes: VoteTable, factors: Mapping[str, Collection[str]], *, level: float = 0.95) -> FactorialResult:
    """Return the effect of each factor from votes between contestants that differ in nothing else.

    factors: the switched-on ones by contestant; every contestant of the votes is named. Raise
    `FitError` when no finite estimate exists.
    """
    names = sorted({factor for on in factors.values() for factor in on})
    design = np.array([[name in factors[c] for name in names] for c in votes.contestants], dtype=np.float64)
    weights = vote_weights(votes) if votes.p_pair is not None else None
    counts = count_pairs(votes, weights)
    told, untold = _told_apart(counts, design, names)
    if not told:
        return FactorialResult((), tuple(untold), votes.n_votes)
    x = design[:, told]
    beta = _fit(counts, x)
    covariance = _covariance(votes, counts, weights, x, beta)
    reach = normal_quantile(level) * np.sqrt(np.diag(covariance))
    n = counts.n.sum(axis=1)
    differ = n @ (x[counts.first] != x[counts.second])
    return FactorialResult(
        tuple(
            FactorEffect(names[f], float(b * SCALE), float((b - r) * SCALE), float((b + r) * SCALE), int(m))
            for f, b, r, m in zip(told, beta, reach, differ, strict=True)
        ),
        tuple(untold),
        votes.n_votes,
    )


def _told_apart(counts: PairCounts, design: FloatArray, names: list[str]) -> tuple[list[int], list[tuple[str, str]]]:
    """Sweep factor by factor; what those before it explain wholly has no effect of its own."""
    left = design.T @ laplacian(counts.n_contestants, counts.first, counts.second, counts.total) @ design
    whole = counts.total @ (design[counts.first] != design[counts.second])
    told, untold = [], []
    for f, name in enumerate(names):
        if whole[f] <= 0:
            untold.append((name, "is the same on both sides of every vote"))
        elif left[f, f] <= 1e-9 * whole[f]:
            untold.append((name, "is only ever switched together with others"))
        else:
            told.append(f)
            left = left - np.outer(left[:, f], left[f]) / left[f, f]
    return told, untold


def _fit(counts: PairCounts, x: FloatArray) -> FloatArray:
    beta = np.zeros(x.shape[1])
    value = negative_log_likelihood(counts, x @ beta)
    for _ in range(MAX_ITERATIONS):
        theta = x @ beta
        p = expit(theta[counts.first] - theta[counts.second])
        gradient = x.T @ pair_differences(counts, counts.score - counts.total * p)
        step = _solve(x.T @ hessian(counts, theta) @ x, gradient)
        length = 1.0
        while (reached := negative_log_likelihood(counts, x @ (beta + length * step))) > value + 1e-12 * abs(value):
            length /= 2
            if length < 1e-9:
                break
        beta, value = beta + length * step, reached
        if np.abs(beta).max() > MAX_EFFECT:
            break
        if np.abs(step).max() <= TOLERANCE:
            return np.asarray(beta)
    raise FitError("effects are not finite: one factor decides every vote; gather more votes")


def _covariance(
    votes: VoteTable, counts: PairCounts, weights: FloatArray | None, x: FloatArray, beta: FloatArray
) -> FloatArray:
    theta = x @ beta
    voter = votes.voter
    if voter is None or (voter == voter[0]).all():
        p = expit(theta[counts.first] - theta[counts.second])
        spread = (counts.square * (OUTCOME_POINTS - p[:, None]) ** 2).sum(axis=1)
        middle = laplacian(counts.n_contestants, counts.first, counts.second, spread)
    else:
        residual = points_of(votes.verdict) - expit(theta[votes.side_a] - theta[votes.side_b])
        residual = residual if weights is None else residual * weights
        middle = cluster_sums(
            np.concatenate([voter, voter]),
            np.concatenate([votes.side_a, votes.side_b]),
            np.concatenate([residual, -residual]),
            counts.n_contestants,
        )
    inverse = _solve(x.T @ hessian(counts, theta) @ x, np.eye(x.shape[1]))
    return np.asarray(inverse @ (x.T @ middle @ x) @ inverse)


def _solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    try:
        return np.asarray(cho_solve(cho_factor(matrix), right))
    except LinAlgError:
        raise FitError("effects are not finite: one factor decides every vote; gather more votes") from None
