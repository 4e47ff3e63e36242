"""Requests that wait for a backend's threads: clients take turns, each one's own keep their order."""

from __future__ import annotations

import threading
from collections.abc import Callable

from webapp.inference.admission import FairQueue
from webapp.inference.errors import EngineBusyError, EngineClosedError
from webapp.inference.requests import GenerationHandle


class RequestQueue:
    """Bounded and fair; opened once, closed once. Safe from any thread."""

    def __init__(self, max_queued: int) -> None:
        self._max_queued = max_queued
        self._wake = threading.Condition()
        self._waiting = FairQueue()
        self._is_open = False
        self._was_opened = False

    def open(self) -> None:
        """Take requests from now on."""
        with self._wake:
            if self._was_opened:
                raise EngineClosedError("The engine was started before; make a new one.")
            self._is_open = self._was_opened = True

    def close(self) -> list[GenerationHandle]:
        """Take no more, wake all threads; returns the requests that waited."""
        with self._wake:
            self._is_open = False
            left = self._waiting.take(lambda handle: True)
            self._wake.notify_all()
        return left

    @property
    def is_open(self) -> bool:
        return self._is_open

    def put(self, handle: GenerationHandle) -> None:
        """Queue a request. EngineClosedError, EngineBusyError."""
        with self._wake:
            if not self._is_open:
                raise EngineClosedError("The inference engine does not run; start it first.")
            if len(self._waiting) >= self._max_queued:
                raise EngineBusyError(f"{len(self._waiting)} requests wait already; try again in a moment.")
            self._waiting.push(handle)
            self._wake.notify_all()

    def notify(self) -> None:
        """Wake the threads, because something outside the queue changed."""
        with self._wake:
            self._wake.notify_all()

    def peek(self) -> GenerationHandle | None:
        """The request that is next, left in its place."""
        with self._wake:
            return self._waiting.head()

    def take(self) -> GenerationHandle | None:
        """The next request, or None when none waits."""
        with self._wake:
            return self._waiting.pop() if self._waiting else None

    def take_or_wait(self) -> GenerationHandle | None:
        """The next request, waited for; None when the queue was closed."""
        with self._wake:
            while self._is_open and not self._waiting:
                self._wake.wait()
            return self._waiting.pop() if self._waiting else None

    def take_cancelled(self) -> list[GenerationHandle]:
        """Waiting requests that were cancelled, removed from the queue."""
        with self._wake:
            return self._waiting.take(lambda handle: handle.is_cancelled)

    def wait_for_work(self, has_other_work: Callable[[], bool]) -> bool:
        """Block until a request waits or there is other work; False when the queue was closed."""
        with self._wake:
            while self._is_open and not self._waiting and not has_other_work():
                self._wake.wait()
            return self._is_open
