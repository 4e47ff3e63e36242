"""Coefficients against their definitions written out, and published examples."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.quality import cohen_kappa, krippendorff_alpha

VERDICTS = st.sampled_from(["a", "b", "tie", "both_bad"])


def slow_kappa(pairs: list[tuple[str, str]]) -> float | None:
    names = {v for pair in pairs for v in pair}
    seen = sum(x == y for x, y in pairs) / len(pairs)
    chance = sum(
        sum(x == name for x, _ in pairs) / len(pairs) * sum(y == name for _, y in pairs) / len(pairs) for name in names
    )
    return None if chance == 1 else (seen - chance) / (1 - chance)


def slow_alpha(items: list[list[str]]) -> float | None:
    """1 − D_o/D_e with disagreements counted pair by pair (Krippendorff 2011)."""
    items = [verdicts for verdicts in items if len(verdicts) > 1]
    everything = [v for verdicts in items for v in verdicts]
    n = len(everything)
    observed = (
        sum(sum(x != y for x, y in permutations(verdicts, 2)) / (len(verdicts) - 1) for verdicts in items) / n
        if n
        else 0
    )
    expected = sum(x != y for x, y in permutations(everything, 2)) / (n * (n - 1)) if n else 0
    return 1 - observed / expected if expected else None


@given(st.lists(st.tuples(VERDICTS, VERDICTS), min_size=1, max_size=20))
def test_kappa_equals_its_definition(pairs: list[tuple[str, str]]) -> None:
    found = cohen_kappa({n: [pair] for n, pair in enumerate(pairs)})
    expected = slow_kappa(pairs)
    assert found.value == (None if expected is None else pytest.approx(expected))
    assert (found.n_items, found.n_verdicts) == (len(pairs), 2 * len(pairs))


@given(st.lists(st.lists(VERDICTS, max_size=5), max_size=8))
def test_alpha_equals_its_definition(items: list[list[str]]) -> None:
    found = krippendorff_alpha(dict(enumerate(items)))
    expected = slow_alpha(items)
    assert found.value == (None if expected is None else pytest.approx(expected))


def test_alpha_of_krippendorffs_own_example() -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), section C: nominal data, 0.743."""
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert krippendorff_alpha({n: list(unit) for n, unit in enumerate(units)}).value == pytest.approx(0.743, abs=0.001)


def test_interval_holds_the_value_and_narrows_with_items() -> None:
    few = krippendorff_alpha({n: ["a", "a", "b"] if n % 3 else ["b", "b"] for n in range(12)})
    many = krippendorff_alpha({n: ["a", "a", "b"] if n % 3 else ["b", "b"] for n in range(300)})
    for found in (few, many):
        assert found.value is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= found.value <= found.upper
    assert many.upper - many.lower < few.upper - few.lower  # type: ignore[operator]


def test_one_item_has_a_value_but_no_interval() -> None:
    found = cohen_kappa({"voter": [("a", "b"), ("b", "b"), ("a", "a")]})
    assert found.value is not None
    assert found.lower is None
