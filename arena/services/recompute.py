"""When ratings are computed again: soon after votes, and not more often than needed."""

from __future__ import annotations

from functools import partial

import structlog
from django.core.cache import cache
from django.db import transaction
from kombu.exceptions import OperationalError

from arena.models import BattleClose, CloseKind, Season
from arena.services.boards import latest_leaderboard, publish_leaderboard

log = structlog.get_logger(__name__)
DEBOUNCE_S = 5
LOCK_S = 600


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


def recompute(season_id: int) -> None:
    """Publish the season's leaderboard when its votes changed."""
    season = Season.objects.get(pk=season_id)
    cache.delete(_key(season))
    publish_leaderboard(season)


def catch_up() -> int:
    """Publish for seasons with votes that closed after their last leaderboard; a lost task costs a minute."""
    n_published = 0
    for season in Season.objects.all():
        board = latest_leaderboard(season)
        newer = BattleClose.objects.filter(battle__season=season, kind=CloseKind.VOTE)
        if board is not None:
            newer = newer.filter(entry__index__gte=board.tree_size)
        if newer.exists():
            publish_leaderboard(season)
            n_published += 1
    return n_published
