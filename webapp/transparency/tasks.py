"""Beat calls the sequencer every second."""

from __future__ import annotations

from celery import shared_task

from webapp.transparency.sequencer import sequence_entries


@shared_task(name="webapp.transparency.tasks.sequence")
def sequence() -> None:
    """Give committed entries their place in the log."""
    sequence_entries()
