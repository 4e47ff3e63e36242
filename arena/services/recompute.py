"""When ratings are computed again: soon after votes, and not more often than needed."""

from __future__ import annotations

from functools import partial

import structlog
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from arena.models import BattleClose, CloseKind, Overlap, Season
from arena.services.boards import latest_leaderboard, publish_controlled, publish_leaderboard, snapshots
from arena.services.epochs import tree_size

log = structlog.get_logger(__name__)
DEBOUNCE_S = 5
VOTES_A_SECOND = 1_000  # a board of so many votes is published anew at most once in so many seconds
LONGEST_S = 600
LOCK_S = 600
SEEN_S = 24 * 3600
CONTROLLED_EVERY_S = 3600


def _key(season: Season) -> str:
    return f"arena:recompute:{season.pk}"


def request_recompute(season: Season) -> None:
    """Queue one computation a few seconds after the commit; more votes until then join it."""
    if season.is_simulated:
        return  # the program that simulates publishes at its end
    transaction.on_commit(partial(_send, season))


def _send(season: Season) -> None:
    from arena import tasks

    if not cache.add(_key(season), 1, timeout=LOCK_S):
        return
    try:
        tasks.recompute.apply_async((season.pk,), countdown=DEBOUNCE_S, retry=False)
    except OperationalError as error:
        cache.delete(_key(season))
        log.warning("the broker is away; ratings wait for the next minute", error=str(error))


def recompute(season_id: int) -> Season:
    """Publish the season's leaderboard when its votes changed, if that is due; return the season."""
    season = Season.objects.get(pk=season_id)
    cache.delete(_key(season))
    if is_due(season):
        publish_leaderboard(season)
    return season


def is_due(season: Season) -> bool:
    """Tell whether the newest leaderboard has stood for long enough: each snapshot is kept for ever, with its pairs.

    A few votes more move a large board little: with 60,000 votes it stands for a minute, from 600,000 on for ten.
    """
    newest = snapshots(season).values_list("n_votes", "created_at").first()
    if newest is None:
        return True
    n_votes, created_at = newest
    stands_s = min(n_votes / VOTES_A_SECOND, LONGEST_S)
    age_s = (timezone.now() - created_at).total_seconds()
    return stands_s <= DEBOUNCE_S or not 0 <= age_s < stands_s  # a clock that stepped back holds nothing up


def catch_up() -> int:
    """Publish for seasons with votes that closed, or overlaps that were measured, after their last leaderboard.

    What was not due before is published then; a lost task costs a minute. What changed nothing on the board is not
    looked at again.
    """
    n_published = 0
    for season in Season.objects.all():
        if not is_due(season):
            continue
        board = latest_leaderboard(season)
        seen = max(board.tree_size if board else 0, cache.get(_seen_key(season), 0))
        size = tree_size()
        closes = BattleClose.objects.filter(battle__season=season, kind=CloseKind.VOTE, entry__index__gte=seen)
        measured = Overlap.objects.filter(battle__season=season, outcome="measured", entry__index__gte=seen)
        if closes.exists() or measured.exists():
            publish_leaderboard(season)
            cache.set(_seen_key(season), size, SEEN_S)
            n_published += 1
    return n_published


def publish_controlled_when_due(season: Season) -> None:
    """Publish the board controlled for overlap, once an hour: each snapshot is an entry that stays for ever."""
    if cache.add(f"arena:controlled:{season.pk}", 1, timeout=CONTROLLED_EVERY_S):
        measured = Overlap.objects.filter(battle__season=season, outcome="measured")
        if measured.exists():
            publish_controlled(season)


def _seen_key(season: Season) -> str:
    return f"arena:caught-up:{season.pk}"
