"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from celery import shared_task

from arena.kept_pages import keep_board, keep_pages
from arena.services import housekeeping, overlaps, release_jobs
from arena.services import recompute as recomputing


@shared_task(name="arena.recompute")
def recompute(season_id: int) -> None:
    """Publish a season's leaderboard after votes, and make its page."""
    keep_board(recomputing.recompute(season_id))


@shared_task(name="arena.keep_house")
def keep_house() -> None:
    """Close what was left, reveal seeds, end terms, judge voters, apply the removal rule, catch up, make pages."""
    housekeeping.keep_house()
    keep_pages()


@shared_task(name="arena.measure_overlap")
def measure_overlap(job_id: str) -> None:
    """Measure how much of a closed battle's answers stands word for word in corpora; needs the index files."""
    overlaps.run_overlap(job_id)


@shared_task(name="arena.make_release")
def make_release(release_id: str) -> None:
    """Make a release of votes."""
    release_jobs.run_release(release_id)
