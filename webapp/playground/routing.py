"""How an answer was routed, as its page draws it: one lane an expert, along the tokens and along the layers.

Lanes are told apart by their labels, not by colour, and every number stands in a table too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from webapp.playground.models import Generation

MAX_COLUMNS = 240
MAX_ROWS = 240


@dataclass(frozen=True)
class Lane:
    """One expert's shares from left to right: `path` fills a box as wide as there are columns and 100 high."""

    name: str
    percent: int
    n_columns: int
    path: str


@dataclass(frozen=True)
class RoutingChart:
    """Lanes, and the table that says the same: `rows` are (what, percents of the experts in their order)."""

    names: tuple[str, ...]
    lanes: tuple[Lane, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    n_left_out: int = 0


def token_chart(generation: Generation, names: Sequence[str]) -> RoutingChart | None:
    """Return the shares token by token, long answers drawn in `MAX_COLUMNS` means; None where nothing was routed."""
    table = generation.get_token_routing()
    if not len(table) or not generation.experts:
        return None
    columns: list[list[float]] = table.T.astype(float).tolist()
    lanes = [
        _lane(name, _shorten(shares), sum(shares) / len(shares)) for name, shares in zip(names, columns, strict=True)
    ]
    rows = [
        (piece, tuple(round(100 * share) for share in shares))
        for piece, shares in zip(generation.pieces[:MAX_ROWS], table[:MAX_ROWS].astype(float).tolist(), strict=False)
    ]
    return RoutingChart(tuple(names), tuple(lanes), tuple(rows), max(0, len(table) - MAX_ROWS))


def layer_chart(generation: Generation, names: Sequence[str]) -> RoutingChart | None:
    """Return the mean shares layer by layer; None where they were not stored."""
    by_expert = [generation.layer_routing.get(slug) for slug in generation.experts]
    if not by_expert or not all(by_expert):
        return None
    lanes = [_lane(name, shares, sum(shares) / len(shares)) for name, shares in zip(names, by_expert, strict=True)]
    rows = [
        (str(number), tuple(round(100 * share) for share in layer))
        for number, layer in enumerate(zip(*by_expert, strict=True), start=1)
    ]
    return RoutingChart(tuple(names), tuple(lanes), tuple(rows))


def routing_context(generation: Generation) -> dict[str, RoutingChart | None]:
    """Return both charts as an answer's page needs them; withdrawn experts go by their slug."""
    there = generation.checkpoint.experts.available()
    titles = dict(there.values_list("slug", "title"))
    names = [titles.get(slug, slug) for slug in generation.experts]
    return {"token_chart": token_chart(generation, names), "layer_chart": layer_chart(generation, names)}


def _lane(name: str, shares: Sequence[float], mean: float) -> Lane:
    """Return a lane whose path steps up and down to each share."""
    steps, height = [], 0
    for share in shares:
        target = round(100 * min(1.0, max(0.0, share)))
        steps.append(f"v{height - target}h1")
        height = target
    return Lane(name, round(100 * mean), len(shares), f"M0 100{''.join(steps)}V100z")


def _shorten(shares: Sequence[float]) -> list[float]:
    """Return at most `MAX_COLUMNS` means of neighbours."""
    n = len(shares)
    if n <= MAX_COLUMNS:
        return list(shares)
    ends = [i * n // MAX_COLUMNS for i in range(MAX_COLUMNS + 1)]
    return [sum(shares[a:b]) / (b - a) for a, b in pairwise(ends)]
