"""Carries tokens from the process that makes them to the process that shows them.

Events of one generation are numbered from 1 by their token, so that a generation that starts
over after a crash publishes the same numbers again and readers see each event once.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

import redis
import redis.asyncio
from django.conf import settings

KEPT_S = 3600
MAX_BLOCK_S = 3.0


@dataclass(frozen=True)
class BusEvent:
    """One event of a stream."""

    number: int
    kind: str
    data: dict[str, Any]


class TokenBus(Protocol):
    """What both buses offer; one contract suite tests them."""

    def publish(self, stream: str, event: BusEvent) -> None:
        """Append an event; one with a number already published is dropped."""

    async def read(self, stream: str, after: int, timeout_s: float) -> list[BusEvent]:
        """Return events numbered above `after`, waiting up to `timeout_s` (at most 3 s) for the first."""

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

    def publish(self, stream: str, event: BusEvent) -> None:
        with self._lock:
            events = self._events[stream]
            if events and event.number <= events[-1].number:
                return
            events.append(event)
            if stream not in self._touched:
                self._forget_old()
            self._touched[stream] = time.monotonic()
            waiting = list(self._waiting.get(stream, ()))
        for loop, arrived in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.set)

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
            await asyncio.wait_for(arrived.wait(), min(timeout_s, MAX_BLOCK_S))
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
            self._cancelled.add(stream)

    def is_cancelled(self, stream: str) -> bool:
        with self._lock:
            return stream in self._cancelled

    def _after(self, stream: str, after: int) -> list[BusEvent]:
        return [event for event in self._events.get(stream, ()) if event.number > after]

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

    def publish(self, stream: str, event: BusEvent) -> None:
        key = _key(stream)
        fields = {"kind": event.kind, "data": json.dumps(event.data)}
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(key, cast(Any, fields), id=f"{event.number}-1")
        pipeline.expire(key, KEPT_S)
        try:
            pipeline.execute()
        except redis.ResponseError as error:
            if "equal or smaller" not in str(error):
                raise

    async def read(self, stream: str, after: int, timeout_s: float) -> list[BusEvent]:
        block_ms = max(1, int(min(timeout_s, MAX_BLOCK_S) * 1000))
        async with redis.asyncio.Redis.from_url(self._url, socket_timeout=MAX_BLOCK_S + 5) as client:
            answer = await client.xread({_key(stream): f"{after}-1"}, block=block_ms)
        entries = _entries(answer)
        return [
            BusEvent(int(identifier.split(b"-")[0]), fields[b"kind"].decode(), json.loads(fields[b"data"]))
            for identifier, fields in entries
        ]

    def request_cancel(self, stream: str) -> None:
        self._client.set(f"{_key(stream)}:cancel", 1, ex=KEPT_S)

    def is_cancelled(self, stream: str) -> bool:
        return bool(self._client.exists(f"{_key(stream)}:cancel"))


def _key(stream: str) -> str:
    return f"fairground:tokens:{stream}"


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of an XREAD answer about one stream, in either protocol's shape."""
    if not answer:
        return []
    if isinstance(answer, dict):
        [batches] = answer.values()
        return [entry for batch in batches for entry in batch]
    [(_, entries)] = answer
    return list(entries)


@lru_cache(maxsize=1)
def token_bus() -> TokenBus:
    """Return this process's bus: Redis when it is configured, else memory."""
    return RedisBus(settings.REDIS_URL) if settings.REDIS_URL else MemoryBus()
