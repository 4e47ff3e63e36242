"""Numbers for the arena's charts, which templates draw as SVG beside a table with the same values.

Knows nothing of requests or of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, LABEL_WIDTH, ROW_HEIGHT, TOP = 720.0, 220.0, 24.0, 28.0
CELL = 34.0
MAX_HEAT_CONTESTANTS = 24


@dataclass(frozen=True)
class IntervalRow:
    """One contestant of an interval plot, in pixels."""

    title: str
    y: float
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class IntervalPlot:
    """Ratings with intervals, best on top, on one scale."""

    width: float
    height: float
    rows: tuple[IntervalRow, ...]
    ticks: tuple[tuple[float, int], ...]


def interval_plot(ratings: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> IntervalPlot | None:
    """Return the plot of a board's ratings; None without any."""
    if not ratings:
        return None
    low = min(float(min(row["lower"], row["rating"])) for row in ratings)
    high = max(float(max(row["upper"], row["rating"])) for row in ratings)
    span = max(high - low, 1.0)
    low, high = low - 0.05 * span, high + 0.05 * span

    def x(value: float) -> float:
        return round(LABEL_WIDTH + (WIDTH - LABEL_WIDTH - 12) * (value - low) / (high - low), 1)

    rows = tuple(
        IntervalRow(
            titles.get(row["contestant"], row["contestant"]),
            TOP + ROW_HEIGHT * (number + 0.5),
            x(row["lower"]),
            x(row["rating"]),
            x(row["upper"]),
        )
        for number, row in enumerate(ratings)
    )
    step = _step((high - low) / 8)
    first = int(-(-low // step) * step)
    ticks = tuple((x(value), value) for value in range(first, int(high) + 1, step))
    return IntervalPlot(WIDTH, TOP + ROW_HEIGHT * len(rows) + 8, rows, ticks)


def _step(rough: float) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, …"""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= rough:
                return factor * power
        power *= 10


@dataclass(frozen=True)
class HeatCell:
    """One ordered pair; `value` is None without votes."""

    x: float
    y: float
    value: float | None
    text: str
    opacity: float
    title: str


@dataclass(frozen=True)
class HeatMap:
    """A square map, and its rows for the table twin."""

    size: float
    labels: tuple[tuple[float, str, str], ...]
    cells: tuple[HeatCell, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def heat_maps(
    order: Sequence[str], pairs: Sequence[Sequence[Any]], titles: Mapping[str, str]
) -> tuple[HeatMap, HeatMap]:
    """Return the maps of win rates (ties half) and of battle counts, for the first contestants in `order`."""
    names = list(order[:MAX_HEAT_CONTESTANTS])
    counts: dict[tuple[str, str], tuple[float, int]] = {}
    for first, second, won, lost, tied, bad in pairs:
        n = won + lost + tied + bad
        points = won + (tied + bad) / 2
        counts[first, second] = (points / n, n)
        counts[second, first] = (1 - points / n, n)
    most = max((n for _, n in counts.values()), default=1)
    rates = {
        pair: (rate, f"{100 * rate:.0f}", rate, f"{100 * rate:.0f} % of {n}") for pair, (rate, n) in counts.items()
    }
    battles = {pair: (float(n), str(n), n / most, f"{n} battles") for pair, (_, n) in counts.items()}
    return _heat_map(names, rates, titles), _heat_map(names, battles, titles)


def _heat_map(
    names: Sequence[str], values: Mapping[tuple[str, str], tuple[float, str, float, str]], titles: Mapping[str, str]
) -> HeatMap:
    cells = []
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            value, text, share, title = values.get((row, column), (None, "", 0.0, "no battle"))
            if row == column:
                continue
            label = f"{titles.get(row, row)} against {titles.get(column, column)}: {title}"
            cells.append(HeatCell(30 + CELL * j, 30 + CELL * i, value, text, round(0.06 + 0.44 * share, 3), label))
    labels = tuple((30 + CELL * (i + 0.5), str(i + 1), titles.get(name, name)) for i, name in enumerate(names))
    rows = tuple(
        (
            titles.get(row, row),
            tuple("–" if row == c else values.get((row, c), (0, "", 0, ""))[1] or "·" for c in names),
        )
        for row in names
    )
    return HeatMap(34 + CELL * len(names), labels, tuple(cells), rows)


def history_points(values: Sequence[tuple[str, float, float, float]]) -> dict[str, Any] | None:
    """Return a line of ratings over snapshots with its band: (when, rating, lower, upper), oldest first."""
    if len(values) < 2:
        return None
    low, high = min(v[2] for v in values), max(v[3] for v in values)
    span = max(high - low, 1.0)

    def point(number: int, value: float) -> str:
        return f"{40 + 640 * number / (len(values) - 1):.1f},{10 + 180 * (high - value) / span:.1f}"

    band = [point(i, v[3]) for i, v in enumerate(values)] + [
        point(i, v[2]) for i, v in reversed(list(enumerate(values)))
    ]
    line = " ".join(point(i, v[1]) for i, v in enumerate(values))
    return {"line": line, "band": " ".join(band), "low": round(low), "high": round(high)}
