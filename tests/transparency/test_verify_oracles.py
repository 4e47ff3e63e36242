"""The verifier's own sampling, rating and tree give what the arena's give, on any input."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.rating import RatingOptions, VoteTable, rate
from arena.sampling import PairTally, draw_pair, pair_weights
from tests.arena.rating.strategies import vote_tables
from webapp.transparency import merkle, verify

VERDICTS = ("a", "b", "tie", "both_bad")
SEEDS = st.binary(min_size=32, max_size=32)


def _plain_votes(table: VoteTable, features: list[dict[str, Any]] | None = None) -> list[verify.Vote]:
    words = table.verdict.tolist()
    names = table.contestants
    rows = zip(table.side_a.tolist(), table.side_b.tolist(), words, strict=True)
    chances = [1.0] * len(words) if table.p_pair is None else table.p_pair.tolist()
    voters = ["same"] * len(words) if table.voter is None else table.voter.tolist()  # one voter makes no clusters
    return [
        verify.Vote(k, k, str(k), names[a], names[b], VERDICTS[word], str(Fraction(p)), str(v), {}, f)
        for k, ((a, b, word), p, v, f) in enumerate(
            zip(rows, chances, voters, features or [{}] * len(words), strict=True)
        )
    ]


@settings(max_examples=60)
@given(vote_tables(connected=False) | vote_tables(), st.integers(1, 8), st.sampled_from([0.5, 0.9, 0.95]))
def test_ratings_equal_the_arenas(table: VoteTable, min_votes: int, level: float) -> None:
    expected = rate(table, RatingOptions(min_votes=min_votes, level=level))
    fitted = verify.rate(_plain_votes(table), table.contestants, level, min_votes, [])
    _compare(expected, fitted)


def _compare(expected: Any, fitted: verify.Fitted) -> None:
    assert sorted(fitted.ratings) == sorted(r.contestant for r in expected.ratings)
    for row in expected.ratings:
        rating, lower, upper, *whole = fitted.ratings[row.contestant]
        assert (rating, lower, upper) == pytest.approx((row.rating, row.lower, row.upper), abs=0.0051)
        assert whole == [row.n_votes, row.rank_low, row.rank_high]
    assert sorted(fitted.unrankable) == sorted(u.contestant for u in expected.unrankable)
    for lost in expected.unrankable:
        reason = fitted.unrankable[lost.contestant]
        assert (reason == "no-votes") == lost.reason.startswith("no votes")
        assert (reason == "not-connected") == lost.reason.startswith("not connected")
        assert (reason == "few-votes") == lost.reason.endswith("are needed")


@settings(max_examples=25)
@given(vote_tables(max_votes=60), st.integers(0, 2**32))
def test_ratings_equal_the_arenas_when_style_is_controlled(table: VoteTable, seed: int) -> None:
    chance = np.random.default_rng(seed)
    sizes = chance.integers(1, 500, size=(len(table.verdict), 2)).tolist()
    features = [{"a": {"characters": a}, "b": {"characters": b}} for a, b in sizes]
    column = np.array([(a - b) / (a + b) for a, b in sizes])
    table = replace(table, covariates={"characters": column})
    votes = _plain_votes(table, features)
    try:
        expected = rate(table, RatingOptions(covariates=("characters",)))
    except ValueError:  # style is constant or explains every vote: no finite estimate, and no board
        return
    if _largest_odds(expected, votes, {"characters": column}) > 8:  # few votes that decide each other: the same
        return
    _compare(expected, verify.rate(votes, table.contestants, 0.95, 1, ["characters"]))


def test_neither_fits_a_style_that_explains_every_vote() -> None:
    features = [{"a": {"characters": 300}, "b": {"characters": 100}} for _ in range(30)]
    side_a = np.arange(30) % 2
    table = VoteTable(
        ("c0", "c1"), side_a, 1 - side_a, np.zeros(30, dtype=int), covariates={"characters": np.full(30, 0.5)}
    )
    with pytest.raises(ValueError):
        rate(table, RatingOptions(covariates=("characters",)))
    with pytest.raises(ValueError, match="strengths"):
        verify.rate(_plain_votes(table, features), table.contestants, 0.95, 1, ["characters"])


@settings(max_examples=25)
@given(vote_tables(max_votes=60), st.integers(0, 2**32), st.booleans())
def test_ratings_equal_the_arenas_when_overlap_is_controlled(table: VoteTable, seed: int, with_style: bool) -> None:
    chance = np.random.default_rng(seed)
    n = len(table.verdict)
    sizes = chance.integers(0, 50, size=(n, 2))
    covered = (sizes * chance.random((n, 2))).astype(int)
    pairs = zip(covered.tolist(), sizes.tolist(), strict=True)
    shares = [
        tuple(verify.share({"covered": c, "characters": s}) for c, s in zip(*pair, strict=True)) for pair in pairs
    ]
    features = [{"a": {"bold": a}, "b": {"bold": b}} for a, b in chance.integers(0, 4, size=(n, 2)).tolist()]
    columns = {"overlap": np.array([a - b for a, b in shares])}
    if with_style:
        columns["bold"] = np.array([verify._difference(v, "bold", {}) for v in _plain_votes(table, features)])
    table = replace(table, covariates=columns)
    votes = _plain_votes(table, features)
    own = {vote.battle: pair for vote, pair in zip(votes, shares, strict=True)}
    try:
        expected = rate(table, RatingOptions(covariates=tuple(columns)))
    except ValueError:  # a covariate is constant or explains every vote: no finite estimate, and no board
        return
    if _largest_odds(expected, votes, columns) > 8:  # few votes that decide each other: no finite estimate either
        return
    _compare(expected, verify.rate(votes, table.contestants, 0.95, 1, list(columns), own))


def _largest_odds(fitted: Any, votes: list[verify.Vote], columns: dict[str, Any]) -> float:
    """Return the largest log-odds that a fit gives to any vote among the ranked."""
    theta, effects = fitted.strengths, {effect.name: effect.effect for effect in fitted.covariates}
    odds = [
        theta[v.side_a] - theta[v.side_b] + sum(effects.get(name, 0.0) * columns[name][k] for name in columns)
        for k, v in enumerate(votes)
        if v.side_a in theta and v.side_b in theta
    ]
    return max(map(abs, odds), default=0.0)


@settings(max_examples=60)
@given(st.data())
def test_weights_and_draws_equal_the_arenas(data: st.DataObject) -> None:
    roster = [f"c{k}" for k in range(data.draw(st.integers(2, 6)))]
    counts = st.tuples(*[st.integers(0, 500)] * 3)
    tallies = data.draw(st.dictionaries(st.sampled_from(list(combinations(roster, 2))), counts))
    epsilon = Fraction(data.draw(st.integers(1, 50)), 50)
    prior = data.draw(st.integers(1, 4))
    table = pair_weights(roster, {p: PairTally(*t) for p, t in tallies.items()}, epsilon=epsilon, prior=prior)
    weights = verify.weight_table(roster, {p: list(t) for p, t in tallies.items()}, epsilon, prior)
    assert weights == list(table.weights)
    assert verify.weights_digest(roster, weights) == table.digest()
    seed, nonce = data.draw(SEEDS), data.draw(st.binary(min_size=16, max_size=64))
    index = data.draw(st.integers(0, 2**63))
    number, swap = verify.draw_number(seed, index, nonce, sum(weights))
    draw = draw_pair(table, seed=seed, draw_index=index, nonce=nonce)
    assert (table.pair_at(number), swap) == (draw.pair, draw.swap)


@given(st.lists(st.binary(max_size=3), max_size=40))
def test_growing_tree_equals_the_logs(leaves: list[bytes]) -> None:
    tree, frontier = verify.GrowingTree(), merkle.Frontier()
    for leaf in leaves:
        tree.add(verify.leaf_hash(leaf))
        list(frontier.append(merkle.leaf_hash(leaf)))
        assert tree.root() == frontier.root()
    assert tree.root() == frontier.root()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


@given(PLAIN)
def test_canonical_json_equals_that_of_rfc8785(value: Any) -> None:
    assert verify.canonical(value) == rfc8785.dumps(value)
    assert verify.parse(verify.canonical(value)) == value
