"""Carries tokens from the process that makes them to the process that shows them.

Events of one generation are numbered from 1 by their token, so that a generation that starts
over after a crash publishes the same numbers again and readers see each event once.

On Redis the events stand in a stream, and whoever publishes also calls the stream's name on a channel. All
readers of a process hear it on one connection and look into their stream only then, so that a stream in
which nothing happens costs next to nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

import redis
import redis.asyncio
from django.conf import settings

KEPT_S = 3600
MAX_WAIT_S = 15.0
_HEARING_S = 5.0
_LOOK_UP_S = 1.0
_AGAIN_S = 0.5
_CONNECTIONS = 8


@dataclass(frozen=True)
class BusEvent:
    """One event of a stream."""

    number: int
    kind: str
    data: dict[str, Any]


class TokenBus(Protocol):
    """What both buses offer; one contract suite tests them."""

    def publish(self, stream: str, *events: BusEvent) -> None:
        """Append events; one with a number already published is dropped."""

    def published(self, stream: str) -> list[BusEvent]:
        """Return all events so far."""

    async def read(self, stream: str, after: int, timeout_s: float) -> list[BusEvent]:
        """Return events numbered above `after`, waiting up to `timeout_s` (at most 15 s) for the first."""

    def request_cancel(self, stream: str) -> None:
        """Ask the maker of a stream to stop."""

    def is_cancelled(self, stream: str) -> bool:
        """Tell whether someone asked to stop."""


class MemoryBus:
    """Within one process, between its worker threads and its event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, list[BusEvent]] = defaultdict(list)
        self._touched: dict[str, float] = {}
        self._cancelled: set[str] = set()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)

    def publish(self, stream: str, *events: BusEvent) -> None:
        with self._lock:
            kept = self._events[stream]
            for event in events:
                if not kept or event.number > kept[-1].number:
                    kept.append(event)
            self._touch(stream)
            waiting = list(self._waiting.get(stream, ()))
        for loop, arrived in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.set)

    def published(self, stream: str) -> list[BusEvent]:
        with self._lock:
            return self._after(stream, 0)

    async def read(self, stream: str, after: int, timeout_s: float) -> list[BusEvent]:
        arrived = asyncio.Event()
        waiter = (asyncio.get_running_loop(), arrived)
        with self._lock:
            found = self._after(stream, after)
            if not found:
                self._waiting[stream].add(waiter)
        if found:
            return found
        try:
            await asyncio.wait_for(arrived.wait(), min(timeout_s, MAX_WAIT_S))
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting[stream].discard(waiter)
                if not self._waiting[stream]:
                    del self._waiting[stream]
        with self._lock:
            return self._after(stream, after)

    def request_cancel(self, stream: str) -> None:
        with self._lock:
            self._touch(stream)
            self._cancelled.add(stream)

    def is_cancelled(self, stream: str) -> bool:
        with self._lock:
            return stream in self._cancelled

    def _after(self, stream: str, after: int) -> list[BusEvent]:
        return [event for event in self._events.get(stream, ()) if event.number > after]

    def _touch(self, stream: str) -> None:
        """Note that a stream is in use; a new one makes room first. Under the lock."""
        if stream not in self._touched:
            self._forget_old()
        self._touched[stream] = time.monotonic()

    def _forget_old(self) -> None:
        limit = time.monotonic() - KEPT_S
        for stream in [s for s, touched in self._touched.items() if touched < limit]:
            del self._touched[stream]
            self._events.pop(stream, None)
            self._cancelled.discard(stream)


class RedisBus:
    """Between processes and machines, on Redis streams."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = redis.Redis.from_url(url)
        self._lock = threading.Lock()
        self._ears: dict[asyncio.AbstractEventLoop, _Ear] = {}

    def publish(self, stream: str, *events: BusEvent) -> None:
        key = _key(stream)
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            fields = {"kind": event.kind, "data": json.dumps(event.data)}
            pipeline.xadd(key, cast(Any, fields), id=f"{event.number}-1")
        pipeline.expire(key, KEPT_S)
        pipeline.publish(f"{_CALLS}{stream}", b"")
        for answer in pipeline.execute(raise_on_error=False):
            if isinstance(answer, Exception) and "equal or smaller" not in str(answer):
                raise answer

    def published(self, stream: str) -> list[BusEvent]:
        return _events(self._client.xrange(_key(stream)))

    async def read(self, stream: str, after: int, timeout_s: float) -> list[BusEvent]:
        loop = asyncio.get_running_loop()
        ear = self._ear_of(loop)
        end = loop.time() + min(timeout_s, MAX_WAIT_S)
        async with ear.listening(stream) as called:
            while True:
                called.clear()
                found = await ear.events(stream, after)
                left_s = end - loop.time()
                if found or left_s <= 0:
                    return found
                try:
                    await asyncio.wait_for(called.wait(), left_s)
                except TimeoutError:
                    return []

    def _ear_of(self, loop: asyncio.AbstractEventLoop) -> _Ear:
        with self._lock:
            if loop not in self._ears:
                self._ears = {other: ear for other, ear in self._ears.items() if not other.is_closed()}
                self._ears[loop] = _Ear(self._url)
            return self._ears[loop]

    def request_cancel(self, stream: str) -> None:
        self._client.set(f"{_key(stream)}:cancel", 1, ex=KEPT_S)

    def is_cancelled(self, stream: str) -> bool:
        return bool(self._client.exists(f"{_key(stream)}:cancel"))


class _Ear:
    """The connections of one event loop: one that hears which streams are called, few that read them."""

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS)
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._hears = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, stream: str) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set at each call of a stream; nothing that is called from here on is missed."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._hear())
        called = asyncio.Event()
        self._waiting[stream].add(called)
        try:
            with suppress(TimeoutError):  # then Redis is away, and reading says so
                await asyncio.wait_for(self._hears.wait(), _HEARING_S)
            yield called
        finally:
            self._waiting[stream].discard(called)
            if not self._waiting[stream]:
                del self._waiting[stream]

    async def events(self, stream: str, after: int) -> list[BusEvent]:
        return _events(await self._client.xrange(_key(stream), min=f"({after}-1"))

    async def _hear(self) -> None:
        """Pass calls on until the loop ends; after a break every reader looks, as calls may have been missed."""
        try:
            while not _is_cancelled():
                with suppress(redis.RedisError, OSError):
                    await self._hear_until_it_breaks()
                self._hears.clear()
                self._call(*self._waiting)
                await asyncio.sleep(_AGAIN_S)
        finally:
            self._hears.clear()
            await self._client.aclose()

    async def _hear_until_it_breaks(self) -> None:
        async with self._client.pubsub() as calls:
            await calls.psubscribe(f"{_CALLS}*")
            while not _is_cancelled():
                message = await calls.get_message(timeout=_LOOK_UP_S)
                if message is not None and message["type"] == "pmessage":
                    self._call(message["channel"].decode().removeprefix(_CALLS))
                elif message is not None:  # subscribed, also anew after the client has connected again by itself
                    self._hears.set()
                    self._call(*self._waiting)

    def _call(self, *streams: str) -> None:
        for stream in streams:
            for called in self._waiting.get(stream, ()):
                called.set()


_CALLS = "fairground:called:"


def _is_cancelled() -> bool:
    """Whether the running task was cancelled, also where the client swallowed it while it connected again."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _key(stream: str) -> str:
    return f"fairground:tokens:{stream}"


def _events(entries: Any) -> list[BusEvent]:
    """Return the events of an XRANGE answer, of which there are none without a stream."""
    return [
        BusEvent(int(identifier.split(b"-")[0]), fields[b"kind"].decode(), json.loads(fields[b"data"]))
        for identifier, fields in entries or ()
    ]


@lru_cache(maxsize=1)
def token_bus() -> TokenBus:
    """Return this process's bus: Redis when it is configured, else memory."""
    return RedisBus(settings.REDIS_URL) if settings.REDIS_URL else MemoryBus()
