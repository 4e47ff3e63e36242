"""The plot of a bulletin: for each corpus a bar of dirty, suspicious and clean items. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, ROW_HEIGHT, BAR_HEIGHT, LABEL_HEIGHT = 420.0, 40.0, 14.0, 18.0
ORDER = ("dirty", "suspicious", "clean")


@dataclass(frozen=True)
class Piece:
    """One level of a bar, in the drawing's own units."""

    level: str
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class Row:
    """One corpus; without pieces where its numbers are blurred or there is nothing yet."""

    title: str
    y: float
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class BulletinPlot:
    """Bars on one scale: the whole width is all judged items."""

    width: float
    height: float
    bar_height: float
    rows: tuple[Row, ...]


def draw_bulletin(parts: Sequence[Mapping[str, Any]]) -> BulletinPlot | None:
    """Return the plot of the parts as they are shown; None where no part has numbers."""
    rows = []
    for number, part in enumerate(parts):
        y = round(number * ROW_HEIGHT + LABEL_HEIGHT, 2)
        rows.append(Row(str(part["title"]), y, _pieces(part["levels"])))
    if not any(row.pieces for row in rows):
        return None
    return BulletinPlot(WIDTH, len(rows) * ROW_HEIGHT, BAR_HEIGHT, tuple(rows))


def _pieces(levels: Mapping[str, Any]) -> tuple[Piece, ...]:
    counts = [levels[level] for level in ORDER]
    if not all(isinstance(count, int) for count in counts) or not sum(counts):
        return ()
    total, x, pieces = sum(counts), 0.0, []
    for level, count in zip(ORDER, counts, strict=True):
        width = WIDTH * count / total
        if count:
            pieces.append(Piece(level, count, round(x, 2), round(width, 2)))
        x += width
    return tuple(pieces)
