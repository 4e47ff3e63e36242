"""How many requests a web process works on at once, and how many may wait for that.

Each synchronous request has a thread of its own. Under more load than the machine can carry, hundreds of them
would share its cores, and everybody would wait for ever longer. So few run, some wait, and what is above is
refused at once with 503 and when to ask again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

log = structlog.get_logger(__name__)
MAX_RUNNING = 8  # connections of the database's pool
MAX_WAITING = 64  # about a second's work
REPORT_EVERY_S = 10.0
_current: ContextVar[Gate | None] = ContextVar("gate", default=None)


class Gate:
    """Counts who is inside: `try_enter` first, `leave` at the end, and `running` around the work between."""

    def __init__(self, max_running: int = MAX_RUNNING, max_waiting: int = MAX_WAITING) -> None:
        self.n_places = max_running + max_waiting
        self._running = threading.Semaphore(max_running)
        self._lock = threading.Lock()
        self._n_inside = 0
        self._n_refused = 0
        self._reported_at = 0.0

    def try_enter(self) -> bool:
        """Take a place, or tell that there is none."""
        with self._lock:
            if self._n_inside < self.n_places:
                self._n_inside += 1
                return True
            self._n_refused += 1
            n_refused, now = self._n_refused, time.monotonic()
            if now - self._reported_at < REPORT_EVERY_S:
                return False
            self._n_refused, self._reported_at = 0, now
        log.warning("more requests than this process can answer", refused=n_refused)
        return False

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self._n_inside -= 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wait for one's turn, and hold it."""
        token = _current.set(self)
        try:
            with self._running:
                yield
        finally:
            _current.reset(token)

    @contextmanager
    def _outside(self) -> Iterator[None]:
        self.leave()
        self._running.release()
        try:
            yield
        finally:
            with self._lock:
                self._n_inside += 1
            self._running.acquire()


@contextmanager
def stepped_out() -> Iterator[None]:
    """Leave turn and place to others while this request waits for something that is not this process's work."""
    gate = _current.get()
    if gate is None:
        yield
        return
    with gate._outside():
        yield
