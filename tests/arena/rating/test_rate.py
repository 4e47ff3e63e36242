"""Ratings, intervals, gates and ranks against slow oracles and against what is known by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arena.rating import (
    SCALE,
    BothBad,
    IntervalMethod,
    OptionError,
    RatingOptions,
    RatingResult,
    VoteError,
    VoteTable,
    Weighting,
    count_pairs,
    covariance,
    rate,
    rate_counts,
)
from arena.rating.arrays import FloatArray
from arena.rating.scale import rank_intervals
from tests.arena.rating.oracles import components, slow_covariance, slow_strengths
from tests.arena.rating.strategies import vote_tables


def table(*rows: str, p_pair: list[float] | None = None, voters: str | None = None) -> VoteTable:
    """Return votes written as "a>b", "a=b" (tie) or "a!b" (both bad)."""
    split = [(row[0], row[2], {">": "a", "=": "tie", "!": "both_bad"}[row[1]]) for row in rows]
    a, b, verdicts = zip(*split, strict=True) if split else ((), (), ())
    return VoteTable.from_columns(a, b, verdicts, p_pair=p_pair, voter=voters)


def strengths(result: RatingResult, votes: VoteTable) -> FloatArray:
    """Return strengths in the order of the contestants."""
    return np.array([result.strengths[name] for name in votes.contestants])


@settings(max_examples=80)
@given(votes=vote_tables())
def test_strengths_equal_those_of_a_general_optimiser_on_raw_votes(votes: VoteTable) -> None:
    assert strengths(rate(votes), votes) == pytest.approx(slow_strengths(votes), abs=1e-5)


@settings(max_examples=80)
@given(votes=vote_tables())
def test_standard_errors_equal_the_sandwich_computed_vote_by_vote(votes: VoteTable) -> None:
    assume(votes.n_voters is None or votes.n_voters > 1)
    result = rate(votes)
    slow = SCALE * np.sqrt(np.maximum(np.diag(slow_covariance(votes, strengths(result, votes))), 0))
    found = [result.standard_errors[name] for name in votes.contestants]
    assert found == pytest.approx(slow, abs=1e-5)
    for row in result.ratings:
        error = result.standard_errors[row.contestant]
        assert row.upper - row.rating == pytest.approx(1.959963984540054 * error, abs=0.011)
        assert row.rating - row.lower == pytest.approx(1.959963984540054 * error, abs=0.011)


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.floats(-1, 1)), min_size=2, max_size=40),
    dense=st.sampled_from([0, covariance.DENSE, 10**9]),
)
def test_sums_of_clusters_are_those_of_outer_products_however_full_the_table_is(
    rows: list[tuple[int, int, float]], dense: int
) -> None:
    clusters, places, values = (np.array(column) for column in zip(*rows, strict=True))
    assume(len(set(clusters.tolist())) > 1)
    own = {cluster: np.zeros(5) for cluster in clusters.tolist()}
    for cluster, place, value in rows:
        own[cluster][place] += value
    slow = sum(np.outer(vector, vector) for vector in own.values()) * len(own) / (len(own) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covariance, "DENSE", dense)
        assert covariance.cluster_sums(clusters, places, values, 5) == pytest.approx(slow, abs=1e-12)


@settings(max_examples=80)
@given(votes=vote_tables(connected=False))
def test_ranks_exactly_a_largest_component_in_which_all_reach_all(votes: VoteTable) -> None:
    groups = components(votes)
    largest = max(map(len, groups))
    ranked = {row.contestant for row in rate(votes).ratings}
    if largest == 1:
        assert ranked == set()
    else:
        assert ranked in [{votes.contestants[k] for k in group} for group in groups if len(group) == largest]
    assert ranked | {row.contestant for row in rate(votes).unrankable} == set(votes.contestants)


@settings(max_examples=40)
@given(votes=vote_tables(), random=st.randoms(use_true_random=False))
def test_result_is_the_same_when_votes_come_in_another_order_or_side(votes: VoteTable, random: object) -> None:
    order = np.array(random.sample(range(votes.n_votes), votes.n_votes), dtype=np.int64)  # type: ignore[attr-defined]
    swap = np.array([random.random() < 0.5 for _ in order])  # type: ignore[attr-defined]
    mirrored = np.array([1, 0, 2, 3])[votes.verdict]
    other = VoteTable(
        votes.contestants,
        np.where(swap, votes.side_b, votes.side_a)[order],
        np.where(swap, votes.side_a, votes.side_b)[order],
        np.where(swap, mirrored, votes.verdict)[order],
        None if votes.p_pair is None else votes.p_pair[order],
        None if votes.voter is None else votes.voter[order],
    )
    one, two = rate(votes), rate(other)
    assert strengths(one, votes) == pytest.approx(strengths(two, votes), abs=1e-8)
    assert {r.contestant: r.n_votes for r in one.ratings} == {r.contestant: r.n_votes for r in two.ratings}


def test_ratings_of_two_contestants_are_those_of_the_formula() -> None:
    result = rate(table(*["a>b"] * 30, *["b>a"] * 10))
    points = 400 * math.log10(3)
    assert [(row.contestant, row.rating) for row in result.ratings] == [
        ("a", round(1000 + points / 2, 2)),
        ("b", round(1000 - points / 2, 2)),
    ]
    assert result.win_probability("a", "b") == pytest.approx(0.75)
    # variance of the log-odds is 1/(n p q), half of the difference falls on either
    assert result.standard_errors["a"] == pytest.approx(SCALE / 2 / math.sqrt(40 * 0.75 * 0.25))


def test_both_bad_counts_half_for_each_or_is_left_out() -> None:
    votes = table(*["a>b"] * 3, "b>a", *["a!b"] * 4)
    assert rate(votes).win_probability("a", "b") == pytest.approx(5 / 8)
    without = rate(votes, RatingOptions(both_bad=BothBad.LEAVE_OUT))
    assert without.win_probability("a", "b") == pytest.approx(3 / 4)
    assert [row.n_votes for row in without.ratings] == [4, 4]


def test_inverse_propensity_undoes_the_sampling_of_pairs_when_the_model_does_not_hold() -> None:
    rows = ["a>b"] * 90 + ["b>a"] * 10 + ["b>c"] * 60 + ["c>b"] * 40 + ["c>a"] * 7 + ["a>c"] * 3
    even = ["a>b"] * 90 + ["b>a"] * 10 + ["b>c"] * 60 + ["c>b"] * 40 + ["c>a"] * 70 + ["a>c"] * 30
    p_pair = [10 / 21] * 100 + [10 / 21] * 100 + [1 / 21] * 10
    fair, raw = rate(table(*even)), rate(table(*rows))
    weighted = rate(table(*rows, p_pair=p_pair))
    assert list(weighted.strengths.values()) == pytest.approx(list(fair.strengths.values()), abs=1e-9)
    assert list(raw.strengths.values()) != pytest.approx(list(fair.strengths.values()), abs=0.1)
    assert weighted.method["estimator"] == "inverse-propensity"
    equal = rate(table(*rows, p_pair=p_pair), RatingOptions(weighting=Weighting.EQUAL))
    assert list(equal.strengths.values()) == pytest.approx(list(raw.strengths.values()))


def test_intervals_widen_when_one_voter_cast_many_votes_alike() -> None:
    rows = ["a>b"] * 60 + ["b>a"] * 40
    alone = rate(table(*rows))
    clustered = rate(table(*rows, voters="".join(["x"] * 50 + [chr(200 + i) for i in range(50)])))
    assert clustered.standard_errors["a"] > 1.5 * alone.standard_errors["a"]
    assert clustered.method["clusters"] == "voter"
    assert clustered.method["n_voters"] == 51


def test_takes_each_vote_alone_and_says_so_when_there_is_one_voter() -> None:
    rows = ["a>b"] * 6 + ["b>a"] * 4
    result = rate(table(*rows, voters="x" * 10))
    assert result.standard_errors == rate(table(*rows)).standard_errors
    assert result.method["clusters"] == "vote"


def test_contestant_below_the_minimum_is_not_ranked_but_its_votes_count() -> None:
    votes = table(*["a>b"] * 5, *["b>a"] * 5, "a>c", "c>a", "a>c")
    result = rate(votes, RatingOptions(min_votes=5))
    assert [row.contestant for row in result.ratings] == ["a", "b"]
    assert [(row.contestant, row.reason) for row in result.unrankable] == [("c", "3 votes; at least 5 are needed")]
    assert {row.contestant: row.n_votes for row in result.ratings} == {"a": 13, "b": 10}
    assert sum(row.rating for row in result.ratings) == pytest.approx(2000, abs=0.02)


def test_tells_why_a_contestant_cannot_be_ranked() -> None:
    votes = VoteTable.from_columns(
        ["a", "b", "c", "d", "e", "f"],
        ["b", "a", "a", "e", "d", "a"],
        ["a", "a", "a", "tie", "tie", "b"],
        contestants=["g"],
    )
    result = rate(votes)
    reasons = {row.contestant: row.reason for row in result.unrankable}
    assert [row.contestant for row in result.ratings] == ["a", "b"]
    assert reasons["g"] == "no votes"
    assert all(reasons[name].startswith("not connected") for name in "cdef")


def test_ranks_nobody_when_there_are_no_contestants() -> None:
    result = rate(VoteTable.from_columns([], [], []))
    assert (result.ratings, result.unrankable) == ((), ())


def test_ranks_nobody_when_there_are_no_votes() -> None:
    result = rate(VoteTable.from_columns([], [], [], contestants=["a", "b"]))
    assert result.ratings == ()
    assert [row.reason for row in result.unrankable] == ["no votes", "no votes"]


def test_anchor_gets_the_centre_and_no_interval() -> None:
    result = rate(table(*["a>b"] * 3, "b>a", "b>c", "c>b"), RatingOptions(anchor="b"))
    [anchor] = [row for row in result.ratings if row.contestant == "b"]
    assert (anchor.rating, anchor.lower, anchor.upper) == (1000, 1000, 1000)
    with pytest.raises(OptionError, match="anchor"):
        rate(table("a>b", "b>a"), RatingOptions(anchor="z"))


def test_rank_is_not_decided_by_rounding_when_strengths_are_equal() -> None:
    best, worst = rank_intervals(np.array([1e-16, 0.0, -1.0]), np.zeros((3, 3)), 0.95)
    assert (best.tolist(), worst.tolist()) == ([1, 1, 3], [2, 2, 3])


def test_rank_intervals_are_those_of_pairwise_differences() -> None:
    votes = table(*["a>b"] * 90, *["b>a"] * 10, *["b>c"] * 52, *["c>b"] * 48)
    ranks = {row.contestant: (row.rank_low, row.rank_high) for row in rate(votes).ratings}
    assert ranks == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}


@settings(max_examples=40)
@given(votes=vote_tables())
def test_rank_interval_holds_the_rank_in_the_table(votes: VoteTable) -> None:
    rows = rate(votes).ratings
    for place, row in enumerate(rows, start=1):
        higher = sum(other.rating > row.rating for other in rows)
        equal = sum(other.rating == row.rating for other in rows)
        assert row.rank_low <= place + equal
        assert row.rank_high >= 1 + higher
        assert 1 <= row.rank_low <= row.rank_high <= len(rows)


@settings(max_examples=40)
@given(votes=vote_tables())
def test_stored_counts_give_the_same_ratings_as_the_votes(votes: VoteTable) -> None:
    alone = replace(votes, voter=None, p_pair=None)
    assert rate_counts(alone.contestants, count_pairs(alone)).to_dict() == rate(alone).to_dict()


@settings(max_examples=40)
@given(votes=vote_tables())
def test_so_many_further_votes_flip_neighbours_and_one_fewer_do_not(votes: VoteTable) -> None:
    votes = replace(votes, p_pair=None)
    result = rate(votes, RatingOptions(flips=True))
    assert len(result.neighbours) == len(result.ratings) - 1
    for pair in result.neighbours:
        after = [_with_votes(votes, pair.lower, pair.upper, pair.votes_to_flip - less) for less in (0, 1)]
        flipped, kept = (r.strengths[pair.lower] - r.strengths[pair.upper] for r in after)
        assert flipped > -1e-7
        assert kept <= 1e-7


def _with_votes(votes: VoteTable, winner: str, loser: str, n: int) -> RatingResult:
    place = votes.contestants.index
    return rate(
        VoteTable(
            votes.contestants,
            np.append(votes.side_a, np.full(n, place(winner), dtype=np.int32)),
            np.append(votes.side_b, np.full(n, place(loser), dtype=np.int32)),
            np.append(votes.verdict, np.zeros(n, dtype=np.int8)),
        )
    )


def test_bootstrap_agrees_with_the_sandwich_when_votes_are_many() -> None:
    rows = ["a>b"] * 300 + ["b>a"] * 200 + ["b>c"] * 250 + ["c>b"] * 250 + ["a>c"] * 320 + ["c>a"] * 180
    voters = "".join(chr(300 + i % 150) for i in range(len(rows)))
    votes = table(*rows, voters=voters)
    boot = rate(votes, RatingOptions(interval=IntervalMethod.BOOTSTRAP, n_rounds=2000, seed=3))
    for one, two in zip(rate(votes).ratings, boot.ratings, strict=True):
        assert one.rating == two.rating
        assert two.upper - two.lower == pytest.approx(one.upper - one.lower, rel=0.08)
    assert boot.method["seed"] == 3
    assert boot == rate(votes, RatingOptions(interval=IntervalMethod.BOOTSTRAP, n_rounds=2000, seed=3))


def test_fits_a_long_chain_of_lopsided_pairs() -> None:
    names = [f"c{i:02}" for i in range(60)]
    rows = [(one, two, n) for one, two in pairwise(names) for n in range(1001)]
    votes = VoteTable.from_columns(
        [one for one, _, _ in rows], [two for _, two, _ in rows], ["a" if n else "b" for _, _, n in rows]
    )
    result = rate(votes)
    gaps = [result.strengths[one] - result.strengths[two] for one, two in pairwise(names)]
    assert gaps == pytest.approx([math.log(1000)] * 59)


def test_exact_fractions_are_taken_as_probabilities() -> None:
    p = [Fraction(1, 3), Fraction(2, 3)]
    votes = VoteTable.from_columns(["a", "b"], ["b", "a"], ["a", "a"], p_pair=p)
    assert rate(votes).win_probability("a", "b") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"verdict": ["a", "draw"]}, "row 1: unknown verdict 'draw'"),
        ({"side_b": ["b", "a"]}, "row 1: a contestant battles itself"),
        ({"p_pair": [0.5, 0.0]}, "row 1: p_pair"),
        ({"p_pair": [float("nan"), 0.5]}, "row 0: p_pair"),
        ({"p_pair": [0.5, 1.5]}, "row 1: p_pair"),
        ({"covariates": {"length": [0.0, float("inf")]}}, "row 1: covariate length"),
        ({"voter": ["x"]}, "column voter has shape"),
    ],
)
def test_refuses_votes_that_cannot_be_rated(columns: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"side_a": ["a", "a"], "side_b": ["b", "b"], "verdict": ["a", "b"]}
    with pytest.raises(VoteError, match=message):
        VoteTable.from_columns(**(good | columns))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{"level": 1.0}, {"min_votes": 0}, {"n_rounds": 1}, {"covariates": ("x", "x")}, {"covariates": ("position",)}],
)
def test_refuses_options_out_of_bounds(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        RatingOptions(**options)  # type: ignore[arg-type]


def test_refuses_inverse_propensity_without_probabilities() -> None:
    with pytest.raises(OptionError, match="p_pair"):
        rate(table("a>b", "b>a"), RatingOptions(weighting=Weighting.INVERSE_PROPENSITY))
