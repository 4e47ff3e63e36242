"""Beat that goes on when the clock steps back.

Celery's own waits until the clock has caught up with the last run, so that after a step of an hour nothing
would be queued again, and no log entry get its place, for an hour.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery.beat import Scheduler

log = structlog.get_logger(__name__)


class SteadyScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Notices a last run that lies in the future, and begins every interval anew from the time that it is now."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; return the seconds until the next look."""
        stepped = [entry for entry in self.schedule.values() if entry.last_run_at > entry.default_now()]
        if stepped:
            log.warning("the clock stepped back; every interval begins anew")
            for entry in stepped:
                entry.last_run_at = entry.default_now()
            self._heap = None  # ordered by times of the clock before its step
        seconds: float = super().tick(*args, **kwargs)
        return seconds
