"""The heavy pieces of a leaderboard's page, rendered once for each board.

A board never changes, and neither do contestants and providers; what may change around it is where the
contestants stand. So the pieces are kept under the board, the season's newest roster change, and the
templates that made them. What depends on the reader (the address, the account, the form) is not in them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.core.cache import cache
from django.template.loader import get_template, render_to_string
from django.utils.safestring import SafeString

from arena import charts
from arena.models import Contestant, RosterChange
from arena.services.boards import Board

KEPT_S = 24 * 3600
TEMPLATES = ("arena/_board_ratings.html", "arena/_board_maps.html")


@dataclass(frozen=True)
class Pieces:
    """Rendered HTML of a board's ratings and maps. is_ranked: it ranks anybody at all."""

    ratings: str
    maps: str
    is_ranked: bool


def pieces_key(board: Board) -> str:
    """Return the key of a board's pieces: a published one by its digests, else by what it is computed from."""
    changes = RosterChange.objects.filter(contestant__season=board.season).order_by("-pk")
    row = board.published
    parts = [
        *((row.pk, row.result_digest) if row else (board.season.pk, board.tree_size, board.chosen.key)),
        board.input_digest,
        changes.values_list("pk", flat=True).first(),
        _templates(),
    ]
    return f"arena:board-pieces:{hashlib.sha256(':'.join(map(str, parts)).encode()).hexdigest()}"


@lru_cache(maxsize=1)
def _templates() -> str:
    """Return a digest of the templates: a new release of the site renders anew."""
    sources = [get_template(name).template.source for name in TEMPLATES]  # type: ignore[attr-defined]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def kept_pieces(key: str) -> Pieces | None:
    """Return the rendered pieces, if they are there."""
    kept: dict[str, Any] | None = cache.get(key)
    return None if kept is None else _safe(kept)


def _safe(kept: dict[str, Any]) -> Pieces:
    """Mark the HTML as such: templates made it, and it was never anything else."""
    return Pieces(SafeString(kept["ratings"]), SafeString(kept["maps"]), kept["is_ranked"])


def render_pieces(key: str, board: Board, rows: list[dict[str, Any]], contestants: dict[str, Contestant]) -> Pieces:
    """Render ratings and maps of a board, and keep them."""
    titles = {name: contestant.shown_title for name, contestant in contestants.items()}
    ranked = [row["contestant"] for row in board.result["ratings"]]
    win_rates, counts = charts.heat_maps(ranked, board.pairs, titles)
    context = {
        "board": board,
        "rows": rows,
        "unrankable": [
            {"contestant": contestants[row["contestant"]], "reason": row["reason"]}
            for row in board.result["unrankable"]
            if row["contestant"] in contestants
        ],
        "plot": charts.interval_plot(board.result["ratings"], titles),
        "maps": (("Win rates, in per cent (row against column, ties half)", win_rates), ("Battles", counts))
        if board.pairs
        else (),
        "level_percent": f"{100 * board.result['method']['level']:g}",
        "effects": board.result["method"].get("covariate_effects", []),
        "overlap": board.result.get("overlap"),
        "has_no_flips": len(rows) > 1 and all(row["votes_to_flip"] is None for row in rows),
        "is_overlap_controlled": "overlap" in board.result["method"].get("covariates", []),
    }
    ratings, maps = (str(render_to_string(name, context)) for name in TEMPLATES)
    kept = {"ratings": ratings, "maps": maps, "is_ranked": bool(rows)}
    cache.set(key, kept, KEPT_S)
    return _safe(kept)
