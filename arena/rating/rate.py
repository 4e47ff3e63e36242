"""From votes to ratings: count, gate, fit, intervals, ranks. The method is told in docs/arena-rating.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arena.rating.arrays import BoolArray, FloatArray, IntArray
from arena.rating.bootstrap import bootstrap_strengths, outcome_column
from arena.rating.context import ContextVotes, fit_context
from arena.rating.counts import PairCounts, count_pairs, vote_weights
from arena.rating.covariance import cluster_sums, renumber, vote_covariance
from arena.rating.errors import OptionError
from arena.rating.graph import largest_component
from arena.rating.newton import fit_strengths, hessian, invert_centred
from arena.rating.numerics import expit
from arena.rating.options import BothBad, IntervalMethod, RatingOptions, Weighting
from arena.rating.report import Fit, report
from arena.rating.results import CovariateEffect, RatingResult
from arena.rating.scale import normal_quantile
from arena.rating.verdicts import Verdict, points_of, verdict_code
from arena.rating.votes import VoteTable


def rate(votes: VoteTable, options: RatingOptions | None = None) -> RatingResult:
    """Return the ratings of a table of votes.

    Contestants that cannot be ranked are listed with the reason; with no votes that is everybody.
    Raise `OptionError` when an option does not fit the votes, `FitError` when covariates leave no
    finite estimate.
    """
    options = options or RatingOptions()
    if options.both_bad is BothBad.LEAVE_OUT:
        votes = votes.select(votes.verdict != verdict_code(Verdict.BOTH_BAD))
    weights = _weights(votes, options.weighting)
    counts = count_pairs(votes, weights)
    member = largest_component(counts)
    estimator = "unweighted" if weights is None else "inverse-propensity"
    if not member.any():
        return report(votes.contestants, counts, member, None, options, estimator)
    inside = _Inside.of(votes, weights, counts, member, options.clusters)
    theta = fit_strengths(inside.counts)
    if options.covariates or options.position:
        fit = _fit_covariates(inside, theta, options)
    elif options.interval is IntervalMethod.BOOTSTRAP:
        fit = _fit_bootstrap(inside, theta, options)
    else:
        fit = Fit(theta, inside.covariance(theta))
    fit = dataclasses.replace(fit, n_voters=inside.n_voters)
    return report(votes.contestants, counts, member, fit, options, estimator)


def rate_counts(contestants: Sequence[str], counts: PairCounts, options: RatingOptions | None = None) -> RatingResult:
    """Return ratings from stored counts of K contestants; intervals take each vote on its own.

    Counts hold no voters, covariates or verdicts without winner apart: raise `OptionError` for
    options that need them.
    """
    options = options or RatingOptions()
    if options.covariates or options.position or options.interval is IntervalMethod.BOOTSTRAP:
        raise OptionError("options", "covariates, position and the bootstrap need single votes, not counts")
    if options.both_bad is BothBad.LEAVE_OUT:
        raise OptionError("both_bad", "counts hold ties and both-bad together; leave both-bad out before counting")
    member = largest_component(counts)
    estimator = "unweighted" if np.array_equal(counts.weight, counts.n) else "inverse-propensity"
    if not member.any():
        return report(tuple(contestants), counts, member, None, options, estimator)
    inside = counts.restrict(member)
    theta = fit_strengths(inside)
    return report(tuple(contestants), counts, member, Fit(theta, vote_covariance(inside, theta)), options, estimator)


@dataclass(frozen=True, eq=False)
class _Inside:
    """The votes among the contestants of the ranked component, renumbered. N votes."""

    counts: PairCounts
    a: IntArray
    b: IntArray
    points: FloatArray
    weights: FloatArray | None
    cluster: IntArray | None
    votes: VoteTable

    @classmethod
    def of(
        cls, votes: VoteTable, weights: FloatArray | None, counts: PairCounts, member: BoolArray, clusters: bool
    ) -> _Inside:
        """Keep the votes between members; one voter alone makes no clusters."""
        if not member.all():
            rows = member[votes.side_a] & member[votes.side_b]
            votes = votes.select(rows)
            weights = None if weights is None else weights[rows]
            counts = counts.restrict(member)
        place = np.cumsum(member) - 1
        cluster = votes.voter if clusters else None
        if cluster is not None and (cluster == cluster[0]).all():
            cluster = None
        a, b = place[votes.side_a], place[votes.side_b]
        return cls(counts, a, b, points_of(votes.verdict), weights, cluster, votes)

    @property
    def n_voters(self) -> int | None:
        """Number of clusters, None when each vote stands alone."""
        return None if self.cluster is None else renumber(self.cluster)[1]

    def covariance(self, theta: FloatArray) -> FloatArray:
        """Return the sandwich covariance of θ, (K, K)."""
        if self.cluster is None:
            return vote_covariance(self.counts, theta)
        k = len(theta)
        expected = expit(theta[:, None] - theta[None, :]).ravel()  # K² values are fewer than votes
        residual = self.points - expected[self.a * k + self.b]
        if self.weights is not None:
            residual = residual * self.weights
        middle = cluster_sums(
            np.concatenate([self.cluster, self.cluster]),
            np.concatenate([self.a, self.b]),
            np.concatenate([residual, -residual]),
            k,
        )
        inverse = invert_centred(hessian(self.counts, theta))
        return np.asarray(inverse @ middle @ inverse)


def _weights(votes: VoteTable, weighting: Weighting) -> FloatArray | None:
    if weighting is Weighting.EQUAL or (weighting is Weighting.AUTO and votes.p_pair is None):
        return None
    if votes.p_pair is None:
        raise OptionError("weighting", "inverse propensity needs the votes' p_pair")
    return vote_weights(votes)


def _fit_covariates(inside: _Inside, theta: FloatArray, options: RatingOptions) -> Fit:
    """Fit with standardised covariates, and give effects per unit back."""
    n = len(inside.a)
    columns = []
    for name in options.covariates:
        if name not in inside.votes.covariates:
            known = ", ".join(inside.votes.covariates) or "none"
            raise OptionError("covariates", f"the votes carry no {name!r}; they carry: {known}")
        columns.append(inside.votes.covariates[name])
    if options.position:
        columns.append(np.ones(n))
    names = (*options.covariates, *(("position",) if options.position else ()))
    matrix = np.stack(columns, axis=1)
    sizes = np.sqrt((matrix**2).mean(axis=0))
    sizes[sizes == 0] = 1.0
    weights = np.ones(n) if inside.weights is None else inside.weights
    k = len(theta)
    votes = ContextVotes(k, inside.a, inside.b, inside.points, weights, matrix / sizes, names, inside.cluster)
    parameters, covariance = fit_context(votes, theta)
    effects = parameters[k:] / sizes
    reach = normal_quantile(options.level) * np.sqrt(np.maximum(np.diag(covariance)[k:], 0)) / sizes
    rows = zip(names, effects.tolist(), (effects - reach).tolist(), (effects + reach).tolist(), strict=True)
    return Fit(parameters[:k], covariance[:k, :k], covariates=tuple(CovariateEffect(*row) for row in rows))


def _fit_bootstrap(inside: _Inside, theta: FloatArray, options: RatingOptions) -> Fit:
    swapped = inside.a > inside.b
    k = len(theta)
    key = np.where(swapped, inside.b, inside.a) * k + np.where(swapped, inside.a, inside.b)
    n = len(key)
    rounds = bootstrap_strengths(
        inside.counts,
        np.searchsorted(inside.counts.first * k + inside.counts.second, key),
        outcome_column(np.where(swapped, 1 - inside.points, inside.points)),
        np.ones(n) if inside.weights is None else inside.weights,
        np.arange(n) if inside.cluster is None else inside.cluster,
        theta=theta,
        n_rounds=options.n_rounds,
        seed=options.seed,
    )
    return Fit(theta, np.cov(rounds, rowvar=False), rounds=rounds)
