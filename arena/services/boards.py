"""Leaderboards: the votes at a tree size, their ratings, and the publication of a snapshot.

Everything is taken from log entries below a tree size, so that who holds the export computes the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from arena.models import Contestant, Leaderboard, Policy, RosterChange, Season, Visibility
from arena.rating import FitError, RatingResult, rate
from arena.rating.arrays import FloatArray
from arena.services.counted import CountedVotes, counted_at
from arena.services.epochs import tree_size
from arena.services.overlaps import settings_digest, settings_of
from arena.services.seasons import current_policy, rules_of
from arena.services.slices import OVERLAP, Slice
from webapp.errors import BadInputError
from webapp.identifiers import uuid7
from webapp.transparency.models import Entry
from webapp.transparency.services import append_entry

Shares = tuple[FloatArray, FloatArray]  # of side a's and of side b's answers, by vote
STYLE = ("characters", "headers", "lists", "bold")
LEAVES_AT_ONCE = 5_000


def contestants_at(season: Season, size: int, chosen: Slice) -> list[str]:
    """Return the ids that a board lists: public ones, launched ones, and variants it is made for."""
    listed = season.contestants.filter(entry__index__lt=size)
    launched = RosterChange.objects.filter(
        contestant__season=season, kind="launched", entry__index__lt=size
    ).values_list("contestant_id", flat=True)
    open_ids = {str(pk) for pk in listed.filter(visibility=Visibility.PUBLIC).values_list("pk", flat=True)}
    return sorted(open_ids | {str(pk) for pk in launched} | set(chosen.pre_release))


def rate_votes(
    votes: CountedVotes, contestants: list[str], chosen: Slice, policy: Policy, shares: Shares | None = None
) -> RatingResult:
    """Rate a slice's votes under a policy's rules; covariates as far as these votes can tell them apart.

    shares: of every vote, where the slice controls for overlap.
    """
    covariates = _overlap_column(shares) if chosen.overlap and shares else {}
    covariates |= _style_columns(votes) if chosen.style else {}
    while True:
        table = votes.table(contestants, covariates)
        try:
            return rate(table, rules_of(policy).rating_options(covariates=tuple(covariates)))
        except FitError:
            if not covariates:
                raise
            covariates.popitem()


def _style_columns(votes: CountedVotes) -> dict[str, FloatArray]:
    """Return style differences (a − b) / (a + b) from the close entries, as far as a column varies at all."""
    nothing = dict.fromkeys(STYLE, 0)
    columns: dict[str, list[float]] = {name: [] for name in STYLE}
    for leaf in _close_leaves(votes.column("leaf").tolist()):
        features = json.loads(leaf)["body"].get("features", {})
        a, b = features.get("a", nothing), features.get("b", nothing)
        for name in STYLE:
            total = a[name] + b[name]
            columns[name].append((a[name] - b[name]) / total if total else 0.0)
    return {name: np.array(values) for name, values in columns.items() if len(set(values)) > 1}


def _close_leaves(indexes: list[int]) -> Iterator[str]:
    for begin in range(0, len(indexes), LEAVES_AT_ONCE):
        some = Entry.objects.filter(kind="close", index__in=indexes[begin : begin + LEAVES_AT_ONCE])
        yield from some.order_by("index").values_list("leaf", flat=True)


def _overlap_column(shares: Shares) -> dict[str, FloatArray]:
    """Return side a's share minus side b's, if it varies at all."""
    column = shares[0] - shares[1]
    return {OVERLAP: column} if len(column) and (column != column[0]).any() else {}


@dataclass(frozen=True)
class Board:
    """A computed board: published when it has an id, else made on demand."""

    season: Season
    chosen: Slice
    tree_size: int
    policy: Policy
    n_votes: int
    input_digest: str
    result: dict[str, Any]
    pairs: list[list[Any]]
    published: Leaderboard | None = None


def compute_board(season: Season, chosen: Slice, *, size: int | None = None) -> Board:
    """Compute any slice at any tree size; the newest one by default. Raises `BadInputError` for a size to come."""
    newest = tree_size()
    size = newest if size is None else size
    if not 0 <= size <= newest:
        raise BadInputError(f"The log has {newest} entries; there is no state at {size}.", field="tree_size")
    policies = season.policies.filter(entry__index__lt=size).order_by("-version")
    policy = policies.first() or current_policy(season)
    votes = counted_at(season, size, chosen)
    settings = settings_of(policy)
    shares = votes.shares(size, settings_digest(settings)) if settings else None
    column = {OVERLAP: votes.mean_shares(shares)} if shares else {}
    if chosen.overlap:
        known = ~np.isnan(shares[0]) if shares else np.zeros(votes.n_votes, dtype=bool)
        votes, shares = votes.where(known), shares and (shares[0][known], shares[1][known])
    rated = rate_votes(votes, contestants_at(season, size, chosen), chosen, policy, shares)
    result = {**rated.to_dict(), **column}
    return Board(season, chosen, size, policy, votes.n_votes, votes.input_digest(), result, votes.count_pairs())


def latest_ratings(season: Season) -> dict[str, dict[str, Any]]:
    """Return the rows of the newest published leaderboard by contestant, without its counts of pairs."""
    board = snapshots(season).defer("pairs").first()
    return {row["contestant"]: row for row in board.result["ratings"]} if board else {}


def latest_leaderboard(season: Season, chosen: Slice | None = None) -> Leaderboard | None:
    """Return the newest published snapshot of a slice: that of the longest log, whatever the clock said."""
    return snapshots(season, chosen).first()


def snapshots(season: Season, chosen: Slice | None = None) -> QuerySet[Leaderboard]:
    """Return the published snapshots of a slice, that of the longest log first."""
    found = Leaderboard.objects.filter(season=season, slice_key=(chosen or Slice()).key)
    return found.order_by("-tree_size", "-created_at")


def publish_leaderboard(season: Season, chosen: Slice | None = None) -> Leaderboard:
    """Compute a slice now and publish it as an immutable snapshot; the same input is published once."""
    return _publish(compute_board(season, chosen or Slice()))


def publish_controlled(season: Season) -> Leaderboard | None:
    """Publish the board controlled for verbatim overlap, if its votes can tell what overlap does."""
    board = compute_board(season, Slice(overlap=True))
    return _publish(board) if OVERLAP in board.result["method"]["covariates"] else None


def _publish(board: Board) -> Leaderboard:
    season, chosen = board.season, board.chosen
    known = latest_leaderboard(season, chosen)
    if known is not None and known.input_digest == board.input_digest and known.policy_id == board.policy.pk:
        listed = {r["contestant"] for k in ("ratings", "unrankable") for r in known.result[k]}
        now = {r["contestant"] for k in ("ratings", "unrankable") for r in board.result[k]}
        if listed == now and known.result.get(OVERLAP) == board.result.get(OVERLAP):
            return known
    board_id = uuid7()
    body = {
        "season": season.slug,
        "board": str(board_id),
        "tree_size": board.tree_size,
        "policy": board.policy.version,
        "slice": dict(chosen.filters),
        "both_bad": chosen.both_bad,
        "include_excluded": chosen.include_excluded,
        "pre_release": sorted(chosen.pre_release),
        "method": log_method(board.result["method"]),
        "input_digest": board.input_digest,
        "n_votes": board.n_votes,
        "ratings": [
            {**row, **{name: f"{row[name]:.2f}" for name in ("rating", "lower", "upper")}, **_logged_share(board, row)}
            for row in board.result["ratings"]
        ],
        "unrankable": [
            {"contestant": row["contestant"], "reason": reason_slug(row["reason"])}
            for row in board.result["unrankable"]
        ],
    }
    if OVERLAP in board.result:
        body["n_without_overlap"] = board.result[OVERLAP]["n_without"]
    with transaction.atomic():
        entry = append_entry(kind="board", body=body)
        return Leaderboard.objects.create(
            id=board_id,
            season=season,
            slice_key=chosen.key,
            parameters={"slice": chosen.to_json()},
            input_digest=board.input_digest,
            tree_size=board.tree_size,
            policy=board.policy,
            n_votes=board.n_votes,
            result=board.result,
            pairs=board.pairs,
            result_digest=hashlib.sha256(json.dumps(board.result, sort_keys=True).encode()).hexdigest(),
            entry=entry,
            created_at=timezone.now(),
        )


def _logged_share(board: Board, row: dict[str, Any]) -> dict[str, Any]:
    """Return a contestant's share as the log has it; nothing where the policy has none measured."""
    if OVERLAP not in board.result:
        return {}
    own = board.result[OVERLAP]["contestants"].get(row["contestant"])
    return {"n_overlap": own["n"], "overlap": f"{own['share']:.4f}"} if own else {"n_overlap": 0}


def log_method(method: dict[str, Any]) -> dict[str, Any]:
    """Return a result's method as a log entry can hold it: floats as strings, lists of figures left out."""
    kept = {k: v for k, v in method.items() if k not in ("neighbours", "covariate_effects") and v is not None}
    return {k: _plain(v) for k, v in kept.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else f"{value:.1f}"
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def reason_slug(reason: str) -> str:
    """Return a reason for being unranked as one word."""
    if reason.startswith("no votes"):
        return "no-votes"
    return "not-connected" if reason.startswith("not connected") else "few-votes"


def titles(season: Season) -> dict[str, Contestant]:
    """Return a season's contestants by id."""
    return {str(c.pk): c for c in season.contestants.select_related("provider")}
