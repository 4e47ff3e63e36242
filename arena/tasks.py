"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from celery import shared_task

from arena.services import housekeeping
from arena.services import recompute as recomputing


@shared_task(name="arena.recompute")
def recompute(season_id: int) -> None:
    """Publish a season's leaderboard after votes."""
    recomputing.recompute(season_id)


@shared_task(name="arena.keep_house")
def keep_house() -> None:
    """Close what was left, reveal seeds, end terms, judge voters, apply the removal rule, catch up."""
    housekeeping.keep_house()
