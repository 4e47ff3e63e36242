"""Effects of factors against a general optimiser, and what votes cannot tell."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from arena.rating import SCALE, FitError, VoteTable
from arena.rating.factorial import rate_factors

MASKS = {
    "all": ("p", "q", "r"),
    "pq": ("p", "q"),
    "pr": ("p", "r"),
    "p": ("p",),
}
PLANTED = {"q": 0.7, "r": -0.3}


def make_votes(n: int, seed: int = 0, *, voters: int = 30) -> VoteTable:
    source = np.random.default_rng(seed)
    pairs = list(combinations(MASKS, 2))
    drawn = [pairs[k] for k in source.integers(0, len(pairs), n)]
    strength = {name: sum(PLANTED.get(f, 0) for f in on) for name, on in MASKS.items()}
    verdicts = ["a" if source.random() < expit(strength[a] - strength[b]) else "b" for a, b in drawn]
    chances = [0.1 + 0.05 * (pairs.index(pair) % 3) for pair in drawn]
    return VoteTable.from_columns(
        [a for a, _ in drawn],
        [b for _, b in drawn],
        verdicts,
        p_pair=chances,
        voter=[f"v{k}" for k in source.integers(0, voters, n)],
    )


def test_effects_equal_a_general_optimiser() -> None:
    votes = make_votes(400)
    result = rate_factors(votes, MASKS)
    weights = 1 / votes.p_pair  # type: ignore[operator]
    design = np.array([[f in MASKS[c] for f in ("q", "r")] for c in votes.contestants], dtype=float)
    points = (votes.verdict == 0).astype(float)

    def loss(beta: np.ndarray) -> float:
        d = (design[votes.side_a] - design[votes.side_b]) @ beta
        return float(np.sum(weights * (np.logaddexp(0, d) - points * d)))

    best = minimize(loss, np.zeros(2), tol=1e-12).x
    assert [e.factor for e in result.effects] == ["q", "r"]
    assert [e.effect / SCALE for e in result.effects] == pytest.approx(list(best), abs=1e-5)
    assert result.untold == (("p", "is the same on both sides of every vote"),)


def test_interval_equals_the_clustered_sandwich_written_out() -> None:
    votes = make_votes(300, 1)
    result = rate_factors(votes, MASKS)
    beta = np.array([e.effect / SCALE for e in result.effects])
    weights = 1 / votes.p_pair  # type: ignore[operator]
    rows = np.array([[f in MASKS[c] for f in ("q", "r")] for c in votes.contestants], dtype=float)
    x = rows[votes.side_a] - rows[votes.side_b]
    p = expit(x @ beta)
    h = (x * (weights * p * (1 - p))[:, None]).T @ x
    scores = x * (weights * ((votes.verdict == 0) - p))[:, None]
    assert votes.voter is not None
    voters = np.unique(votes.voter)
    sums = np.array([scores[votes.voter == v].sum(axis=0) for v in voters])
    middle = sums.T @ sums * len(voters) / (len(voters) - 1)
    covariance = np.linalg.inv(h) @ middle @ np.linalg.inv(h)
    reach = 1.959964 * np.sqrt(np.diag(covariance)) * SCALE
    assert [(e.upper - e.lower) / 2 for e in result.effects] == pytest.approx(list(reach), rel=1e-5)


def test_planted_effects_lie_within_intervals_mostly() -> None:
    held = []
    for seed in range(60):
        for effect in rate_factors(make_votes(600, seed), MASKS).effects:
            held.append(effect.lower <= PLANTED[effect.factor] * SCALE <= effect.upper)
    assert 0.88 <= sum(held) / len(held) <= 1


def test_factors_that_only_go_together_are_named() -> None:
    masks = {"one": ("p",), "two": ("p", "q", "r")}
    votes = VoteTable.from_columns(["one", "two", "one"], ["two", "one", "two"], ["a", "a", "b"])
    result = rate_factors(votes, masks)
    assert [e.factor for e in result.effects] == ["q"]
    assert dict(result.untold)["r"] == "is only ever switched together with others"


def test_one_sided_votes_have_no_finite_effect() -> None:
    votes = VoteTable.from_columns(["one"] * 5, ["two"] * 5, ["a"] * 5)
    with pytest.raises(FitError, match="not finite"):
        rate_factors(votes, {"one": ("p",), "two": ("p", "q")})
