"""Probabilities of contestants and groups are sums over pairs, however they are summed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arena.sampling import WeightTable
from arena.sampling.shares import contestant_weights, group_weights


@st.composite
def tables(draw: st.DrawFn) -> tuple[WeightTable, dict[str, str]]:
    n = draw(st.integers(2, 9))
    names = tuple(f"c{i}" for i in range(n))
    weights = draw(st.lists(st.integers(1, 2**40), min_size=n * (n - 1) // 2, max_size=n * (n - 1) // 2))
    groups = draw(st.lists(st.sampled_from("xyz"), min_size=n, max_size=n))
    return WeightTable(names, tuple(weights)), dict(zip(names, groups, strict=True))


@given(tables())
def test_weights_are_those_of_all_pairs_that_hold_the_name(given: tuple[WeightTable, dict[str, str]]) -> None:
    table, groups = given
    pairs = list(zip(table.pairs, table.weights, strict=True))
    for name, weight in contestant_weights(table).items():
        assert weight == sum(w for pair, w in pairs if name in pair)
    found = group_weights(table, groups)
    assert found.keys() == set(groups.values())
    for group, weight in found.items():
        assert weight == sum(w for pair, w in pairs if group in {groups[name] for name in pair})
