"""A published leaderboard's votes taken from the database anew, one by one, and held against the digest that it names.

The columns that boards are counted from play no part. Memory stays the same for any number of votes, time does not:
what is too large to count for a page the rank worker counts, and the page tells what it found and when.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.utils import timezone

from arena.models import Leaderboard, Season
from arena.services.boards import latest_leaderboard
from arena.services.slices import Slice
from arena.services.vote_rows import read_votes

MAX_FOR_A_PAGE = 50_000  # votes, which take about a second
SHARE_OF_TIME = 0.01  # of a worker's: what took 15 s is counted again after 25 minutes
KEPT_S = 30 * 24 * 3600


@dataclass(frozen=True)
class Recount:
    """What was found in the database. is_same: as many votes as the board says, with the digest that it names."""

    board: str
    tree_size: int
    n_votes: int
    is_same: bool
    at: datetime
    took_s: float


def recount(board: Leaderboard) -> Recount:
    """Count a board's votes and hash their lines, reading some thousand at a time."""
    begin, digest, n_votes = time.monotonic(), hashlib.sha256(), 0
    for vote in read_votes(board.season, board.tree_size, Slice()):
        digest.update(vote.line())
        n_votes += 1
    is_same = n_votes == board.n_votes and digest.hexdigest() == board.input_digest
    took_s = time.monotonic() - begin
    return Recount(str(board.pk), board.tree_size, n_votes, is_same, timezone.now(), took_s)


def recount_of(board: Leaderboard) -> Recount | None:
    """Return the recount of a board that is counted at once, else the season's latest, or None where there is none."""
    if board.n_votes <= MAX_FOR_A_PAGE:
        return recount(board)
    found: Recount | None = cache.get(_key(board.season))
    return found


def recount_when_due(season: Season) -> Recount | None:
    """Count the season's newest large board again and keep what was found, at most a hundredth of the time."""
    board = latest_leaderboard(season)
    if board is None or board.n_votes <= MAX_FOR_A_PAGE:
        return None
    last: Recount | None = cache.get(_key(season))
    if last is not None:
        is_fresh = 0 <= (timezone.now() - last.at).total_seconds() < last.took_s / SHARE_OF_TIME
        if is_fresh or (last.is_same and last.board == str(board.pk)):
            return None
    if not cache.add(f"{_key(season)}:running", 1, 3600):
        return None
    try:
        found = recount(board)
        cache.set(_key(season), found, KEPT_S)
    finally:
        cache.delete(f"{_key(season)}:running")
    return found


def _key(season: Season) -> str:
    return f"arena:recount:{season.pk}"
