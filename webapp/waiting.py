"""`Prefer: wait=SECONDS` (RFC 7240): answer when a job ends rather than be asked again and again.

The job's worker leaves a note in the shared cache when it ends; waiting looks there, so that it holds no
database connection. At most `MAX_WAITERS` requests of a process wait at once; others are answered at once.
"""

from __future__ import annotations

import re
import threading
import time

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest
from rest_framework.request import Request

MAX_WAIT_S = 10.0
MAX_WAITERS = 64
NOTE_LIFE_S = 60
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.004, 0.05
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,5})")
_slots = threading.BoundedSemaphore(MAX_WAITERS)


def note_end(job_id: object) -> None:
    """Let those who wait for this job know that it ended; call it after the commit."""
    cache.set(f"ended:{job_id}", 1, NOTE_LIFE_S)


def preferred_wait_s(request: HttpRequest | Request) -> float:
    """Return the seconds that the client would wait, at most `MAX_WAIT_S`; 0 when it did not ask to."""
    found = _WAIT.search(request.headers.get("Prefer", "").lower())
    return min(float(found[1]), MAX_WAIT_S) if found else 0.0


def wait_for_end(job_id: object, seconds: float) -> bool:
    """Wait until the job ends or the time is over; tell whether it ended."""
    if seconds <= 0 or not _slots.acquire(blocking=False):
        return False
    try:
        connection.close()  # back to the pool while nothing is asked of it
        deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE_S
        while not cache.get(f"ended:{job_id}"):
            if time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        return True
    finally:
        _slots.release()
