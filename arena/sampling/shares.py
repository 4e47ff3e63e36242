"""How likely a draw is to take a contestant, or anybody of a group: exact sums of a weight table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import add

from arena.sampling.weights import WeightTable


def contestant_weights(table: WeightTable) -> dict[str, int]:
    """Return for each contestant the weight of all its pairs; divided by `table.total` it is a probability."""
    sums = [0] * len(table.contestants)
    for i, row in enumerate(_rows(table)):
        sums[i] += sum(row)
        sums[i + 1 :] = map(add, sums[i + 1 :], row)
    return dict(zip(table.contestants, sums, strict=True))


def group_weights(table: WeightTable, groups: Mapping[str, str]) -> dict[str, int]:
    """Return for each group the weight of the pairs in which at least one of its contestants is.

    groups: the group of each contestant of the table. A pair within a group counts once.
    """
    alone = contestant_weights(table)
    sums: dict[str, int] = defaultdict(int)
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(table.contestants):
        sums[groups[name]] += alone[name]
        places[groups[name]].append(place)
    rows = _rows(table)
    for group, inside in places.items():
        for number, i in enumerate(inside):
            row = rows[i]
            sums[group] -= sum(row[j - i - 1] for j in inside[number + 1 :])
    return dict(sums)


def _rows(table: WeightTable) -> list[Sequence[int]]:
    """Return the upper triangle of the pair matrix: row i holds the pairs (i, i+1), (i, i+2), …"""
    n, start = len(table.contestants), 0
    rows: list[Sequence[int]] = []
    for i in range(n):
        rows.append(table.weights[start : start + n - 1 - i])
        start += n - 1 - i
    return rows
