"""`Prefer: wait=SECONDS` (RFC 7240): answer when a job ends rather than be asked again and again.

The job's worker leaves a note when it ends, in Redis, or in the process's own cache where there is none.
Who waits blocks there and holds no database connection. At most `MAX_WAITERS` requests of a process wait
at once; others are answered at once.
"""

from __future__ import annotations

import functools
import re
import threading
import time

import redis
import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest
from rest_framework.request import Request

from webapp.gate import stepped_out

log = structlog.get_logger(__name__)
MAX_WAIT_S = 10.0
MAX_WAITERS = 64
NOTE_LIFE_S = 60
PAUSE_S = 0.02
#: redis-py gives a silent connection up after 5 s.
LONGEST_BLOCK_S = 3.0
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,5})")
_slots = threading.BoundedSemaphore(MAX_WAITERS)


def note_end(job_id: object) -> None:
    """Let those who wait for this job know that it ended; call it after the commit. Without Redis, a moment later."""
    if not settings.REDIS_URL:
        cache.set(_key(job_id), 1, NOTE_LIFE_S)
        return
    try:
        with _redis().pipeline() as pipeline:
            pipeline.lpush(_key(job_id), 1)
            pipeline.expire(_key(job_id), NOTE_LIFE_S)
            pipeline.execute()
    except redis.RedisError as error:  # the job ended all the same; whoever waits sees it when the time is over
        log.warning("could not note the end of a job", job=str(job_id), error=str(error))


def preferred_wait_s(request: HttpRequest | Request) -> float:
    """Return the seconds that the client would wait, at most `MAX_WAIT_S`; 0 when it did not ask to."""
    found = _WAIT.search(request.headers.get("Prefer", "").lower())
    return min(float(found[1]), MAX_WAIT_S) if found else 0.0


def wait_for_end(job_id: object, seconds: float) -> bool:
    """Wait until the job ends or the time is over; tell whether it ended."""
    if seconds <= 0 or not _slots.acquire(blocking=False):
        return False
    try:
        if not connection.in_atomic_block:
            connection.close()  # back to the pool while nothing is asked of it
        with stepped_out():
            return _wait_on_redis(job_id, seconds) if settings.REDIS_URL else _wait_on_cache(job_id, seconds)
    finally:
        _slots.release()


def _wait_on_redis(job_id: object, seconds: float) -> bool:
    """Block until there is a note. Moving it onto its own list leaves it there for others who wait."""
    deadline = time.monotonic() + seconds
    command = ("BLMOVE", _key(job_id), _key(job_id), "LEFT", "RIGHT")
    try:
        while (left := deadline - time.monotonic()) > 0:
            block_s = min(left, LONGEST_BLOCK_S)
            if _redis().execute_command(*command, block_s):  # type: ignore[no-untyped-call]
                return True
    except redis.RedisError as error:
        log.warning("could not wait for a job", job=str(job_id), error=str(error))
    return False


def _wait_on_cache(job_id: object, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not cache.get(_key(job_id)):
        if time.monotonic() + PAUSE_S > deadline:
            return False
        time.sleep(PAUSE_S)
    return True


def _key(job_id: object) -> str:
    return f"ended:{job_id}"


@functools.cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL)
