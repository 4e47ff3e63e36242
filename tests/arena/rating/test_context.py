"""Covariates: effects and strengths against a general optimiser, and what has no finite answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from arena.rating import FitError, OptionError, RatingOptions, RatingResult, VoteTable, rate, rate_counts
from arena.rating.arrays import FloatArray
from arena.rating.counts import count_pairs
from tests.arena.rating.oracles import POINTS, weights_of
from tests.arena.rating.strategies import vote_tables


def with_noise(votes: VoteTable, seed: int) -> VoteTable:
    """Return the votes twice, once with exchanged verdicts, and random covariates, so that all is finite."""
    random = np.random.default_rng(seed)
    both = votes.select(np.ones(votes.n_votes, dtype=bool))
    n = 2 * votes.n_votes
    return VoteTable(
        votes.contestants,
        np.tile(both.side_a, 2),
        np.tile(both.side_b, 2),
        np.concatenate([both.verdict, np.array([1, 0, 2, 3])[both.verdict]]),
        None if votes.p_pair is None else np.tile(votes.p_pair, 2),
        None if votes.voter is None else np.tile(votes.voter, 2),
        {"length": random.normal(0, 300, n), "bold": random.integers(-3, 4, n).astype(np.float64)},
    )


def design(votes: VoteTable) -> FloatArray:
    """Return one row a vote: +1 for side a, −1 for side b, then covariates and position."""
    one_hot = np.eye(len(votes.contestants))
    columns = [votes.covariates["length"], votes.covariates["bold"], np.ones(votes.n_votes)]
    return np.hstack([one_hot[votes.side_a] - one_hot[votes.side_b], np.stack(columns, axis=1)])


def slow_fit(votes: VoteTable) -> tuple[FloatArray, FloatArray]:
    """Return parameters by a general optimiser and their sandwich covariance vote by vote."""
    x = design(votes)
    sizes = np.sqrt((x**2).mean(axis=0))
    weights = np.array(weights_of(votes))
    weights /= weights.sum()
    points = np.array([POINTS[int(code)] for code in votes.verdict])

    def loss(b: FloatArray) -> tuple[float, FloatArray]:
        d = x / sizes @ b
        p = expit(d)
        return float(weights @ (np.logaddexp(0, d) - points * d)), (x / sizes).T @ (weights * (p - points))

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    parameters = found.x / sizes
    k = len(votes.contestants)
    parameters[:k] -= parameters[:k].mean()
    p = expit(x @ parameters)
    bread = np.linalg.pinv((x.T * (weights * p * (1 - p))) @ x, rcond=1e-12)
    who = np.arange(len(p)) if votes.voter is None else votes.voter
    scores = [(x[who == one].T @ (weights * (points - p))[who == one]) for one in np.unique(who)]
    middle = sum((np.outer(s, s) for s in scores), np.zeros((x.shape[1], x.shape[1])))
    if votes.voter is not None:
        middle = middle * len(scores) / (len(scores) - 1)
    return parameters, bread @ middle @ bread


FLAT = 1e-5  # of a curvature of 1/4 that undecided votes give


def loss_and_curvature(votes: VoteTable, parameters: FloatArray) -> tuple[float, float]:
    """Return the mean loss, and its smallest curvature in any direction that the votes can tell at all."""
    x = design(votes)
    sizes = np.sqrt((x**2).mean(axis=0))
    weights = np.array(weights_of(votes))
    weights /= weights.sum()
    points = np.array([POINTS[int(code)] for code in votes.verdict])
    d = x @ parameters
    p = expit(d)
    information = ((x / sizes).T * (weights * p * (1 - p))) @ (x / sizes)
    smallest = np.linalg.eigvalsh(information)[1]  # the first is nought: strengths are known up to a constant
    return float(weights @ (np.logaddexp(0, d) - points * d)), float(smallest)


@settings(max_examples=40)
@given(votes=vote_tables().filter(lambda v: v.n_voters is None or v.n_voters > 1), seed=st.integers(0, 10**6))
def test_effects_and_strengths_equal_those_of_a_general_optimiser(votes: VoteTable, seed: int) -> None:
    votes = with_noise(votes, seed)
    options = RatingOptions(covariates=("length", "bold"), position=True)
    try:
        result = rate(votes, options)
    except FitError:
        x = design(votes)
        # refused only when one column follows from the others, or when the loss is flat about its minimum
        is_dependent = np.linalg.matrix_rank(x) < len(votes.contestants) + 2
        assert is_dependent or loss_and_curvature(votes, slow_fit(votes)[0])[1] < FLAT
        return
    slow, covariance = slow_fit(votes)
    k = len(votes.contestants)
    fast = np.array([*(result.strengths[name] for name in votes.contestants), *(e.effect for e in result.covariates)])
    (slow_loss, curvature), (fast_loss, _) = (loss_and_curvature(votes, found) for found in (slow, fast))
    assert fast_loss <= slow_loss + 1e-6
    if curvature < FLAT:  # a few votes decide each other: the maximum is at infinity, and so flat that none is found
        return
    assert [result.strengths[name] for name in votes.contestants] == pytest.approx(slow[:k], abs=2e-3)
    size = np.array([300.0, 3.0, 1.0])
    assert np.array([e.effect for e in result.covariates]) * size == pytest.approx(slow[k:] * size, abs=2e-3)
    reach = np.array([(e.upper - e.lower) / 2 for e in result.covariates]) * size
    errors = 1.959964 * np.sqrt(np.diag(covariance)[k:]) * size
    assert reach == pytest.approx(errors, rel=0.02, abs=2e-3)


def planted(n: int, *, seed: int = 5) -> VoteTable:
    """Return votes of three contestants of whom c writes longest; length itself is worth 0.8 a unit."""
    random = np.random.default_rng(seed)
    strength, mean_length = np.array([0.6, 0.0, -0.6]), np.array([0.0, 0.0, 1.5])
    a = random.integers(0, 3, n)
    b = (a + random.integers(1, 3, n)) % 3
    length = random.normal(mean_length[a] - mean_length[b], 1.0)
    chance = 1 / (1 + np.exp(-(strength[a] - strength[b] + 0.8 * length + 0.2)))
    verdict = np.where(random.random(n) < chance, 0, 1).astype(np.int8)
    return VoteTable(("a", "b", "c"), a, b, verdict, None, random.integers(0, n // 10, n), {"length": length})


def test_recovers_planted_effects_and_the_order_that_length_hid() -> None:
    votes = planted(20_000)
    assert [row.contestant for row in rate(votes).ratings] == ["c", "a", "b"]
    controlled = rate(votes, RatingOptions(covariates=("length",), position=True))
    assert [row.contestant for row in controlled.ratings] == ["a", "b", "c"]
    effects = {effect.name: effect for effect in controlled.covariates}
    # not shrunk: the planted value lies inside a narrow interval
    for name, value in (("length", 0.8), ("position", 0.2)):
        assert effects[name].lower < value < effects[name].upper
        assert effects[name].upper - effects[name].lower < 0.1
    assert list(controlled.strengths.values()) == pytest.approx([0.6, 0.0, -0.6], abs=0.08)


def test_effect_scales_with_the_unit_and_ratings_do_not() -> None:
    votes = planted(2000)
    options = RatingOptions(covariates=("length",))
    scaled = replace(votes, covariates={"length": 1000 * votes.covariates["length"]})
    one, two = rate(votes, options), rate(scaled, options)
    assert one.ratings == two.ratings
    assert one.covariates[0].effect == pytest.approx(1000 * two.covariates[0].effect)


def refused(votes: VoteTable, options: RatingOptions) -> RatingResult:
    """Return what should not come back."""
    return rate(votes, options)


def test_names_a_covariate_that_cannot_be_told_apart() -> None:
    votes = planted(300)
    doubled = replace(votes, covariates={**votes.covariates, "twice": 2 * votes.covariates["length"]})
    with pytest.raises(FitError, match="covariate twice is constant, or follows from"):
        refused(doubled, RatingOptions(covariates=("length", "twice")))
    zero = replace(votes, covariates={"zero": np.zeros(votes.n_votes)})
    with pytest.raises(FitError, match="covariate zero is constant"):
        refused(zero, RatingOptions(covariates=("zero",)))
    who = replace(votes, covariates={"is_c": (votes.side_a == 2) * 1.0 - (votes.side_b == 2) * 1.0})
    with pytest.raises(FitError, match="covariate is_c is constant, or follows from the contestants"):
        refused(who, RatingOptions(covariates=("is_c",)))


def test_says_that_an_effect_is_not_finite_when_it_decides_every_vote() -> None:
    votes = planted(300)
    decides = replace(votes, covariates={"oracle": np.where(votes.verdict == 0, 1.0, -1.0)})
    with pytest.raises(FitError, match="oracle"):
        refused(decides, RatingOptions(covariates=("oracle",)))


def test_refuses_covariates_that_the_votes_do_not_carry() -> None:
    votes = planted(100)
    with pytest.raises(OptionError, match="the votes carry no 'tokens'; they carry: length"):
        refused(votes, RatingOptions(covariates=("tokens",)))
    with pytest.raises(OptionError, match="need single votes"):
        rate_counts(votes.contestants, count_pairs(votes), RatingOptions(covariates=("length",)))
