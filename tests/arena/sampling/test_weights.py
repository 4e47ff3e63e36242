"""Weight tables against eq. 9 in high precision, and against recorded vectors."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.sampling import TOTAL, PairTally, WeightError, WeightTable, pair_weights, uniform_weights

NAMES = ("apple", "birch", "cedar", "dahlia")
TALLIES = {
    ("apple", "birch"): PairTally(7, 2, 1),
    ("birch", "cedar"): PairTally(0, 40, 3),
    ("apple", "dahlia"): PairTally(100, 100, 50),
}
COUNT = st.integers(0, 10**6)
ROSTERS = st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=7, unique=True)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[str], dict[tuple[str, str], PairTally]]:
    """Return a roster in any order and tallies of some of its pairs."""
    names = draw(ROSTERS)
    pairs = draw(st.lists(st.sampled_from(list(combinations(sorted(names), 2))), unique=True))
    return names, {pair: PairTally(draw(COUNT), draw(COUNT), draw(COUNT)) for pair in pairs}


def eq9(tally: PairTally, prior: int) -> Decimal:
    """Return eq. 9 as it is printed, in 80 digits."""
    n = Decimal(tally.n_votes + 2 * prior)
    p = (tally.n_first + prior + Decimal(tally.n_ties) / 2) / n
    variance = p * (1 - p)
    return (variance / n).sqrt() - (variance / (n + 1)).sqrt()


def test_table_equals_the_recorded_vector() -> None:
    table = pair_weights(NAMES, TALLIES)
    assert table.weights == (170963352, 1324143453, 72785742, 78787843, 1324143453, 1324143453)
    assert table.total == TOTAL
    assert table.digest() == "2ae582fe2a5344aa288dda0dc37a462283daf077fe73f25f82ff8cc1da6c8017"


@given(situation=situations(), epsilon=st.fractions(Fraction(1, 1000), 1), prior=st.integers(1, 50))
def test_probability_follows_eq9_with_floor(
    situation: tuple[list[str], dict[tuple[str, str], PairTally]], epsilon: Fraction, prior: int
) -> None:
    names, tallies = situation
    table = pair_weights(names, tallies, epsilon=epsilon, prior=prior)
    n_pairs = len(table.pairs)
    with localcontext() as context:
        context.prec = 80
        gains = [eq9(tallies.get(pair, PairTally()), prior) for pair in table.pairs]
        for pair, gain in zip(table.pairs, gains, strict=True):
            share = Decimal(epsilon.numerator) / epsilon.denominator
            expected = (1 - share) * gain / sum(gains) + share / n_pairs
            probability = table.probability(pair)
            found = Decimal(probability.numerator) / probability.denominator
            assert abs(found - expected) < Decimal(n_pairs + 2) / TOTAL
            assert probability >= min(epsilon / n_pairs, Fraction(TOTAL // n_pairs, TOTAL))
    assert sum(map(table.probability, table.pairs)) == 1
    assert all(Fraction(float(table.probability(pair))) == table.probability(pair) for pair in table.pairs)


@given(situation=situations())
def test_table_does_not_depend_on_the_order_of_the_roster(
    situation: tuple[list[str], dict[tuple[str, str], PairTally]],
) -> None:
    names, tallies = situation
    table = pair_weights(names, tallies)
    assert pair_weights(names[::-1], dict(reversed(tallies.items()))) == table
    assert WeightTable.from_json(table.to_json()) == table


def test_pair_without_votes_is_likelier_than_any_other() -> None:
    table = pair_weights(NAMES, TALLIES)
    assert table.probability(("apple", "cedar")) == max(map(table.probability, table.pairs))


def test_votes_on_contestants_outside_the_roster_do_not_matter() -> None:
    tallies = {**TALLIES, ("apple", "elm"): PairTally(5, 5, 5)}
    assert pair_weights(NAMES, tallies) == pair_weights(NAMES, TALLIES)


def test_uniform_table_gives_all_pairs_the_same_within_one_unit() -> None:
    weights = uniform_weights(NAMES).weights
    assert max(weights) - min(weights) <= 1


def test_digest_is_of_canonical_json() -> None:
    text = pair_weights(["é", "b"], {}).to_json()
    assert text == '{"contestants":["b","é"],"format":"fairground-weights-1","weights":[4294967296]}'
    assert json.loads(text)["contestants"] == ["b", "é"]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a"], {}, "at least two"),
        (["a", "a"], {}, "each named once"),
        (["a", "b"], {"epsilon": Fraction(0)}, "above 0"),
        (["a", "b"], {"epsilon": Fraction(3, 2)}, "not above 1"),
        (["a", "b"], {"prior": 0}, "whole number from 1"),
    ],
)
def test_refuses_what_gives_no_table(names: list[str], options: dict[str, object], message: str) -> None:
    with pytest.raises(WeightError, match=message):
        pair_weights(names, {}, **options)  # type: ignore[arg-type]


def test_refuses_a_tally_in_the_wrong_order() -> None:
    with pytest.raises(WeightError, match="smaller id"):
        pair_weights(["a", "b"], {("b", "a"): PairTally()})


def test_refuses_a_negative_tally() -> None:
    with pytest.raises(WeightError, match="n_second"):
        PairTally(1, -1)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format":"other"}', '{"format":"fairground-weights-1","contestants":3,"weights":[]}']
)
def test_refuses_text_that_is_no_table(text: str) -> None:
    with pytest.raises(WeightError):
        WeightTable.from_json(text)


@pytest.mark.parametrize("pair", [("apple", "apple"), ("apple", "elm"), ("Apple", "birch"), ("zebra", "zinc")])
def test_has_no_probability_for_a_pair_outside(pair: tuple[str, str]) -> None:
    with pytest.raises(WeightError, match="not in the table"):
        uniform_weights(NAMES).probability(pair)


def test_probability_does_not_depend_on_the_order_within_the_pair() -> None:
    table = pair_weights(NAMES, TALLIES)
    assert table.probability(("cedar", "birch")) == table.probability(("birch", "cedar"))
