"""Reads a slice from a query string, for pages and interface alike."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.cache import cache
from django.http import QueryDict

from arena.models import Leaderboard, PoolPrompt, Season
from arena.services.boards import Board, compute_board, latest_leaderboard, snapshots
from arena.services.epochs import tree_size
from arena.services.slices import FILTERS, Slice
from webapp.errors import BadInputError

CACHED_S = 3600


def read_slice(query: QueryDict) -> Slice:
    """Return the slice that a query names; raises `BadInputError` for a value that cannot be used."""
    return Slice(
        filters=tuple((name, str(query[name])) for name in FILTERS if query.get(name)),
        both_bad=query.get("both_bad", "1") != "0",
        include_excluded=query.get("include_excluded") == "1",
        style=query.get("style") == "1",
        overlap=query.get("overlap") == "1",
        since=read_day(query, "since"),
        until=read_day(query, "until"),
    )


def read_tree_size(query: QueryDict) -> int | None:
    """Return the tree size that a query names."""
    raw = query.get("tree_size", "")
    if raw and (not raw.isdecimal() or len(raw) > 15):
        raise BadInputError("tree_size must be a whole number.", field="tree_size")
    return int(raw) if raw else None


def read_day(query: QueryDict, name: str) -> date | None:
    """Return the day that a query names."""
    raw = query.get(name, "")
    try:
        return date.fromisoformat(raw) if raw else None
    except ValueError as error:
        raise BadInputError(f"{name} must be a day like 2026-11-26.", field=name) from error


def find_published(season: Season, query: QueryDict) -> Leaderboard | None:
    """Return the newest published snapshot of the slice, without its figures until they are looked at.

    Published are the plain leaderboard and the one controlled for overlap.
    """
    chosen = read_slice(query)
    if read_tree_size(query) is not None or not chosen.is_published:
        return None
    return snapshots(season, chosen).select_related("season", "policy").defer("result", "pairs").first()


def find_board(season: Season, query: QueryDict) -> Board:
    """Return the newest published snapshot of the slice, else a board made on demand and kept a while."""
    chosen, size = read_slice(query), read_tree_size(query)
    if chosen.is_published and size is None:
        published = latest_leaderboard(season, chosen)
        if published is not None:
            return published_board(published)
    size = tree_size() if size is None else size
    key = f"arena:board:{season.pk}:{size}:{chosen.key}"
    kept: dict[str, Any] | None = cache.get(key)
    if kept is not None:
        policy = season.policies.get(pk=kept["policy"])
        return Board(season, chosen, size, policy, kept["n_votes"], kept["digest"], kept["result"], kept["pairs"])
    board = compute_board(season, chosen, size=size)
    value = {"policy": board.policy.pk, "n_votes": board.n_votes, "digest": board.input_digest}
    cache.set(key, {**value, "result": board.result, "pairs": board.pairs}, CACHED_S)
    return board


def published_board(row: Leaderboard) -> Board:
    """Return a published snapshot as a board."""
    return Board(
        row.season,
        slice_of(row),
        row.tree_size,
        row.policy,
        row.n_votes,
        row.input_digest,
        row.result,
        row.pairs,
        row,
    )


def outline_of(row: Leaderboard) -> Board:
    """Return a published snapshot without its figures, which are not loaded."""
    return Board(row.season, slice_of(row), row.tree_size, row.policy, row.n_votes, row.input_digest, {}, [], row)


def slice_of(row: Leaderboard) -> Slice:
    """Return the slice of a published snapshot."""
    values = dict(row.parameters["slice"])
    values["filters"] = tuple(sorted(values["filters"].items()))
    for name in ("since", "until"):
        values[name] = date.fromisoformat(values[name]) if values[name] else None
    values["pre_release"] = tuple(values["pre_release"])
    return Slice(**values)


def slice_choices() -> dict[str, list[str]]:
    """Return the values that each slice can take: those of the pool's prompts, the only ones that battles have."""
    choices = {}
    for name in FILTERS[:3]:
        rows = PoolPrompt.objects.exclude(**{name: ""}).order_by(name)
        choices[name] = list(rows.values_list(name, flat=True).distinct())
    return choices
