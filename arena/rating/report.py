"""Puts fitted strengths into a `RatingResult`: gates, scale, rounding, ranks, reasons, method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from arena.rating.arrays import BoolArray, FloatArray, IntArray
from arena.rating.counts import PairCounts
from arena.rating.errors import OptionError
from arena.rating.flips import FlipCounter
from arena.rating.options import RatingOptions
from arena.rating.results import CovariateEffect, Neighbours, Rating, RatingResult, Unrankable
from arena.rating.scale import CENTRE, DECIMALS, SCALE, normal_quantile, rank_intervals


@dataclass(frozen=True, eq=False)
class Fit:
    """Strengths (M,) of the M contestants of the ranked component and their covariance (M, M).

    rounds: (R, M) strengths of a bootstrap. n_voters: number of clusters, None when votes stand alone.
    """

    theta: FloatArray
    covariance: FloatArray
    rounds: FloatArray | None = None
    covariates: tuple[CovariateEffect, ...] = ()
    n_voters: int | None = None


def report(
    contestants: Sequence[str],
    counts: PairCounts,
    member: BoolArray,
    fit: Fit | None,
    options: RatingOptions,
    estimator: str,
) -> RatingResult:
    """Return the result for K contestants, of which `member` (K,) were fitted, in their order."""
    n_votes = counts.n_by_contestant
    method = describe_method(options, estimator, int(counts.n.sum()), fit)
    listed = np.asarray(member & (n_votes >= options.min_votes))
    unrankable = tuple(
        Unrankable(name, _reason(int(n), bool(inside), bool(member.any()), options.min_votes))
        for name, n, inside, shown in zip(contestants, n_votes, member, listed, strict=True)
        if not shown
    )
    names = [name for name, shown in zip(contestants, listed, strict=True) if shown]
    if options.anchor is not None and options.anchor not in names:
        raise OptionError("anchor", f"{options.anchor!r} is not among the ranked contestants")
    if fit is None or not names:
        return RatingResult((), unrankable, method)
    shown = listed[member]
    rows, errors = _rows(names, n_votes[listed], shown, fit, options)
    order = sorted(range(len(rows)), key=lambda k: (-rows[k].rating, rows[k].contestant))
    neighbours: tuple[Neighbours, ...] = ()
    if options.flips and not fit.covariates:
        places = np.flatnonzero(shown)[order].tolist()
        neighbours = _neighbours(counts.restrict(member), fit.theta, places, [names[k] for k in order])
    return RatingResult(
        tuple(rows[k] for k in order),
        unrankable,
        method,
        fit.covariates,
        neighbours,
        dict(zip(names, fit.theta[shown].tolist(), strict=True)),
        dict(zip(names, errors.tolist(), strict=True)),
    )


def _rows(
    names: list[str], n_votes: IntArray, shown: BoolArray, fit: Fit, options: RatingOptions
) -> tuple[list[Rating], FloatArray]:
    """Return the rows of the listed L contestants in their order, and standard errors in points, (L,)."""
    origin = np.where(shown, 1 / len(names), 0.0)
    if options.anchor is not None:
        origin = np.zeros(len(shown))
        origin[np.flatnonzero(shown)[names.index(options.anchor)]] = 1.0
    shift = np.eye(len(shown))[shown] - origin
    theta, covariance = shift @ fit.theta, shift @ fit.covariance @ shift.T
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    if fit.rounds is None:
        reach = normal_quantile(options.level) * error
        lower, upper = theta - reach, theta + reach
    else:
        tail = (1 - options.level) / 2
        lower, upper = np.quantile(fit.rounds @ shift.T, [tail, 1 - tail], axis=0)
    best, worst = rank_intervals(theta, covariance, options.level)
    rows = [
        Rating(
            contestant=name,
            rating=_points(theta[k]),
            lower=_points(lower[k]),
            upper=_points(upper[k]),
            n_votes=int(n),
            rank_low=int(best[k]),
            rank_high=int(worst[k]),
        )
        for k, (name, n) in enumerate(zip(names, n_votes, strict=True))
    ]
    return rows, SCALE * error


def _points(strength: float) -> float:
    """Return a rating as it is published."""
    return round(CENTRE + SCALE * float(strength), DECIMALS)


def describe_method(options: RatingOptions, estimator: str, n_votes: int, fit: Fit | None) -> dict[str, Any]:
    """Return how the ratings were computed, as plain values; pages and the method page show it."""
    clustered = fit is not None and fit.n_voters is not None
    method: dict[str, Any] = {
        "model": "bradley-terry",
        "estimator": estimator,
        "both_bad": options.both_bad.value,
        "interval": options.interval.value,
        "level": options.level,
        "clusters": "voter" if clustered else "vote",
        "rank_interval": "pairwise differences, Bonferroni within a contestant",
        "scale": "400 points are odds of 10 to 1",
        "centre": {"rating": CENTRE, "contestant": options.anchor or "mean of the ranked"},
        "decimals": DECIMALS,
        "min_votes": options.min_votes,
        "covariates": [*options.covariates, *(["position"] if options.position else [])],
        "n_votes": n_votes,
        "n_voters": None if fit is None else fit.n_voters,
    }
    if fit is not None and fit.rounds is not None:
        method |= {"n_rounds": options.n_rounds, "seed": options.seed}
    return method


def _reason(n_votes: int, inside: bool, anybody: bool, min_votes: int) -> str:
    if not n_votes:
        return "no votes"
    if inside:
        return f"{n_votes} votes; at least {min_votes} are needed"
    if not anybody:
        return "not connected: no two contestants scored against each other, directly or through others"
    return "not connected: has not both scored and lost points, directly or through others, against the ranked"


def _neighbours(counts: PairCounts, theta: FloatArray, places: list[int], names: list[str]) -> tuple[Neighbours, ...]:
    units = counts.total / counts.n.sum(axis=1)
    unit = dict(zip(zip(counts.first.tolist(), counts.second.tolist(), strict=True), units.tolist(), strict=True))
    mean = float(counts.total.sum() / counts.n.sum())
    counter = FlipCounter(counts, theta)
    return tuple(
        Neighbours(
            names[k],
            names[k + 1],
            counter.votes_to_flip(one, two, unit.get((min(one, two), max(one, two)), mean)),
        )
        for k, (one, two) in enumerate(pairwise(places))
    )
