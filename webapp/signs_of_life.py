"""Shows that a worker is at its jobs, by one thread a process that changes their rows now and then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings
from django.db import DatabaseError, connections
from django.utils import timezone

from webapp.jobs import Job, JobStatus
from webapp.late_commits import without_waiting

log = structlog.get_logger(__name__)
#: Seconds between two signs, fewer where a worker counts as dead soon. A job that ends before costs no statement.
EVERY_S = 10.0


@contextmanager
def signs_of_life(job: Job) -> Iterator[None]:
    """Note now and then that the worker lives, whatever it does meanwhile: load a checkpoint, read a cold index.

    Only for the start that `job.n_starts` tells: one that was taken for dead gives no signs for its successor.
    """
    _signs.begin(job)
    try:
        yield
    finally:
        _signs.end(job)


class _Signs:
    """The jobs that this process is at, by start, and the thread that shows life for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[int, Job] = {}
        self._thread: threading.Thread | None = None

    def begin(self, job: Job) -> None:
        with self._changed:
            self._jobs[id(job)] = job
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="signs-of-life", daemon=True)
                self._thread.start()
            self._changed.notify()

    def end(self, job: Job) -> None:
        with self._changed:
            del self._jobs[id(job)]

    def _run(self) -> None:
        pause = threading.Event()  # never set
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
            pause.wait(min(EVERY_S, settings.STALE_AFTER_S / 4))
            with self._changed:
                jobs = list(self._jobs.values())
            try:
                for job in jobs:
                    _show(job)
            finally:
                connections.close_all()


def _show(job: Job) -> None:
    rows = type(job)._default_manager.filter(pk=job.pk, status=JobStatus.RUNNING, n_starts=job.n_starts)
    try:
        without_waiting(rows).update(heartbeat_at=timezone.now())
    except DatabaseError:
        log.warning("no sign of life could be written", job=str(job.pk), exc_info=True)


_signs = _Signs()
