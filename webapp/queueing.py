"""Hands jobs to Celery after the transaction that wrote their row."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from webapp.errors import BusyError
from webapp.jobs import JobStatus

log = structlog.get_logger(__name__)


def enqueue_on_commit(task: Any, job_id: object) -> None:
    """Send the task once the row is visible. With the broker away the row waits for beat to requeue it."""

    def send() -> None:
        try:
            task.apply_async((str(job_id),), retry=False)
        except OperationalError as error:
            log.warning("the broker is away; the job waits", task=task.name, job=str(job_id), error=str(error))

    transaction.on_commit(send)


def check_room(kind: Any) -> None:
    """Raise `BusyError` when as many jobs of this kind wait as the operator lets wait.

    Two requests at once may both see the last place; the bound keeps the queue short, not exact.
    """
    n_waiting = kind.objects.filter(status=JobStatus.PENDING).count()
    if n_waiting >= settings.MAX_WAITING:
        raise BusyError(f"{n_waiting} requests wait already. Ask again in a minute.", retry_after_s=60)
