"""Beat calls this every minute."""

from __future__ import annotations

from celery import shared_task

from webapp.operations.heartbeat import note_beat


@shared_task(name="webapp.operations.tasks.beat")
def beat() -> None:
    """Note that beat and a worker live."""
    note_beat()
