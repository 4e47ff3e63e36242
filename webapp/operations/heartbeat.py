"""Beat's sign of life: a task that beat sends and a worker runs notes the time in the cache."""

from __future__ import annotations

from datetime import datetime

from django.core.cache import cache
from django.utils import timezone

BEAT_EVERY_S = 15.0
KEY = "operations:beat"


def note_beat() -> None:
    """Note that beat sent a task and a worker ran it."""
    cache.set(KEY, timezone.now().isoformat(), timeout=None)


def last_beat() -> datetime | None:
    """Return when that was last, if ever."""
    noted = cache.get(KEY)
    return datetime.fromisoformat(noted) if noted else None
