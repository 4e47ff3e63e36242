"""Leaderboards: published snapshots, and any slice at any tree size."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from arena.models import Contestant, Leaderboard, Season
from arena.services import seasons
from arena.services.boards import Board, snapshots
from arena.views.board_pieces import Pieces, kept_pieces, pieces_key, render_pieces
from arena.views.errors import answer_errors
from arena.views.slices import find_board, find_published, outline_of, published_board, slice_choices

LAST = "The last one has no neighbour below it."
CONTROLLED = "Not computed where something is held equal: with covariates there is no closed form."
COLUMNS = (
    *("rank_low", "rank_high", "contestant", "title", "rating", "lower", "upper", "n_votes", "overlap", "n_overlap"),
    "state",
)


@require_GET
@answer_errors
def leaderboard(request: HttpRequest) -> HttpResponse:
    """Show a season's leaderboard, or any slice of it at any tree size."""
    season = seasons.get_season(request.GET.get("season"))
    row = find_published(season, request.GET)
    return _published(request, row) if row else _render(request, find_board(season, request.GET))


@require_GET
def permalink(request: HttpRequest, board_id: uuid.UUID) -> HttpResponse:
    """Show a published snapshot, which never changes."""
    rows = Leaderboard.objects.select_related("season", "policy").defer("result", "pairs")
    return _published(request, get_object_or_404(rows, pk=board_id))


def _published(request: HttpRequest, row: Leaderboard) -> HttpResponse:
    """Show a snapshot; its figures are loaded only when its pieces are not kept."""
    outline = outline_of(row)
    key = pieces_key(outline)
    return _page(request, outline, kept_pieces(key) or _pieces(key, published_board(row)))


def keep_newest_board(season: Season) -> None:
    """Render and keep the pieces of the newest published leaderboard, unless they are."""
    row = snapshots(season).select_related("season", "policy").defer("result", "pairs").first()
    if row is None:
        return
    key = pieces_key(outline_of(row))
    if kept_pieces(key) is None:
        _pieces(key, published_board(row))


def _render(request: HttpRequest, board: Board) -> HttpResponse:
    key = pieces_key(board)
    return _page(request, board, kept_pieces(key) or _pieces(key, board))


def _pieces(key: str, board: Board) -> Pieces:
    contestants = contestants_of(board.season)
    return render_pieces(key, board, board_rows(board, contestants), contestants)


def _page(request: HttpRequest, board: Board, pieces: Pieces) -> HttpResponse:
    context = {
        "season": board.season,
        "seasons": Season.objects.all(),
        "board": board,
        "pieces": pieces,
        "choices": slice_choices(),
        "query": request.GET,
        "filters": dict(board.chosen.filters),
        "encoded": request.GET.urlencode(),
    }
    return render(request, "arena/leaderboard.html", context)


def contestants_of(season: Season) -> dict[str, Contestant]:
    """Return a season's contestants by id, with provider and changes."""
    return {str(c.pk): c for c in season.contestants.select_related("provider").prefetch_related("changes")}


def board_rows(board: Board, contestants: dict[str, Contestant]) -> list[dict[str, Any]]:
    """Return the ranked rows with what a reader needs beside the numbers."""
    flips = {pair["upper"]: pair["votes_to_flip"] for pair in board.result["method"].get("neighbours", [])}
    rates = _win_rates(board.pairs)
    shares = board.result.get("overlap", {}).get("contestants", {})
    return [
        {
            **row,
            "overlap": shares.get(row["contestant"], {}).get("share"),
            "overlap_percent": 100 * shares.get(row["contestant"], {}).get("share", 0),
            "n_overlap": shares.get(row["contestant"], {}).get("n", 0),
            "object": contestants[row["contestant"]],
            "state": state_of(contestants[row["contestant"]]),
            "win_percent": rates.get(row["contestant"]),
            "votes_to_flip": flips.get(row["contestant"]),
            "why_no_flip": LAST if flips else CONTROLLED,
        }
        for row in board.result["ratings"]
        if row["contestant"] in contestants
    ]


def _win_rates(pairs: list[list[Any]]) -> dict[str, float]:
    points: dict[str, list[float]] = {}
    for first, second, won, lost, tied, bad in pairs:
        n = won + lost + tied + bad
        half = (tied + bad) / 2
        for name, own in ((first, won), (second, lost)):
            total = points.setdefault(name, [0.0, 0.0])
            total[0] += own + half
            total[1] += n
    return {name: 100 * own / n for name, (own, n) in points.items()}


def state_of(contestant: Contestant) -> str:
    """Return where a contestant stands, told from its changes."""
    kinds = [change.kind for change in contestant.changes.all()]
    for kind in ("retired", "withdrawn"):
        if kind in kinds:
            return kind
    pausing = [kind for kind in kinds if kind in ("paused", "resumed")]
    if pausing and pausing[-1] == "paused":
        return "paused"
    if contestant.visibility == "private" and "launched" not in kinds:
        return "private variant"
    return "active"


@require_GET
@answer_errors
def leaderboard_csv(request: HttpRequest) -> HttpResponse:
    """Return the same board as a file."""
    board = find_board(seasons.get_season(request.GET.get("season")), request.GET)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, "licence_group", "provider", "simulated"])
    for row in board_rows(board, contestants_of(board.season)):
        contestant = row["object"]
        values = [contestant.shown_title if name == "title" else row[name] for name in COLUMNS]
        cells = [*values, contestant.licence_group, contestant.provider.name, board.season.is_simulated]
        writer.writerow([f"'{c}" if isinstance(c, str) and c[:1] in tuple("=+-@") else c for c in cells])
    response = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="leaderboard-{board.season.slug}.csv"'
    return response
