"""Numbers for the plot of an expert's days, which a template draws as SVG beside a table with the same values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from webapp.playground.expert_days import DayFigures

WIDTH, LEFT, TOP, HEIGHT, BARS = 700.0, 40.0, 10.0, 150.0, 60.0
SCALES = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Line:
    """One share over the days: a path that breaks where a day has none, and a point for each day."""

    path: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class DayPlot:
    """Shares above, answers a day below, on one axis of days. `bars` are (x, y, height)."""

    share: Line
    share_when_on: Line
    bars: tuple[tuple[float, float, float], ...]
    bar_width: float
    top_percent: int
    most_answers: int
    first: date
    last: date


def day_plot(days: Sequence[DayFigures], first: date, last: date) -> DayPlot | None:
    """Return the plot of the days from `first` to `last`; None without any."""
    if not days:
        return None
    step = (WIDTH - LEFT) / ((last - first).days + 1)
    most = max(day.n_answers for day in days)
    highest = max(max(day.share, day.share_when_on) for day in days)
    top = next((scale for scale in SCALES if highest <= scale), 1.0)

    def x(day: date) -> float:
        return round(LEFT + step * ((day - first).days + 0.5), 1)

    def line(values: Sequence[tuple[date, float]]) -> Line:
        points = [(x(day), round(TOP + HEIGHT * (1 - min(value, top) / top), 1)) for day, value in values]
        path, before = [], None
        for (day, _), (place, level) in zip(values, points, strict=True):
            path.append(f"{'L' if before is not None and (day - before).days == 1 else 'M'}{place},{level}")
            before = day
        return Line("".join(path), tuple(points))

    bottom = TOP + HEIGHT + 20 + BARS
    heights = [(day.day, round(BARS * day.n_answers / most, 1)) for day in days]
    return DayPlot(
        line([(day.day, day.share) for day in days]),
        line([(day.day, day.share_when_on) for day in days]),
        tuple((round(x(day) - 0.4 * step, 1), round(bottom - height, 1), height) for day, height in heights),
        round(0.8 * step, 1),
        round(100 * top),
        most,
        first,
        last,
    )
