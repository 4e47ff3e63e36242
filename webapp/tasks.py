"""Housekeeping that beat calls every minute."""

from __future__ import annotations

from celery import shared_task

from webapp.requeue import requeue_unfinished_jobs

STALE_AFTER_S = 120.0


@shared_task(name="webapp.tasks.requeue_unfinished")
def requeue_unfinished() -> None:
    """Give jobs whose worker shows no life back to the queue."""
    requeue_unfinished_jobs(older_than_s=STALE_AFTER_S)
