"""Housekeeping that beat calls."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from webapp.requeue import requeue_unfinished_jobs


@shared_task(name="webapp.tasks.requeue_unfinished")
def requeue_unfinished() -> None:
    """Give jobs whose worker shows no life back to the queue."""
    requeue_unfinished_jobs(older_than_s=settings.STALE_AFTER_S)
