"""All sides of a comparison on one event stream: browsers allow few connections, and a reader takes one slot.

    token   one token of a side: `side` (from 0), `index`, `text`
    side    a side has ended: `side`, `status`, `finish_reason`, `error`
    done    all have ended

An event's id is how far each side has come, so that `Last-Event-ID` continues every side after its own last event.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_GET

from webapp.accounts.authentication import token_user
from webapp.errors import FairgroundError
from webapp.limits import principal_of
from webapp.ownership import author_of
from webapp.playground.bus import BusEvent
from webapp.playground.comparing import get_comparison
from webapp.playground.streaming import WAIT_S, event_response, follow
from webapp.problems import problem_response
from webapp.stream_slots import take_slot

ENDED = 10**9
Ended = BaseException | None


@require_GET
async def comparison_stream(request: HttpRequest, comparison_id: uuid.UUID) -> HttpResponseBase:
    """Relay the tokens of all sides until the last has ended; `Last-Event-ID` continues after that event."""
    try:
        sides, slot = await sync_to_async(_admit)(request, comparison_id)
    except FairgroundError as error:
        return problem_response(error)
    positions = read_positions(request.headers.get("Last-Event-ID", ""), len(sides))
    return event_response(follow_sides(sides, positions), slot)


def read_positions(last: str, n_sides: int) -> list[int]:
    """Return how far each side was read; from the beginning for an id that this stream did not give."""
    parts = last.split("-")
    if len(parts) != n_sides or not all(part.isascii() and part.isdecimal() and len(part) < 12 for part in parts):
        return [0] * n_sides
    return [int(part) for part in parts]


async def follow_sides(sides: Sequence[uuid.UUID], positions: Sequence[int]) -> AsyncGenerator[bytes | None, None]:
    """Yield the events of all sides as they come; None now and then while nothing happens."""
    places = list(positions)
    queue: asyncio.Queue[tuple[int, BusEvent | Ended]] = asyncio.Queue()
    waiting = {side for side, place in enumerate(places) if place < ENDED}
    readers = [asyncio.create_task(_read(side, sides[side], places[side], queue)) for side in sorted(waiting)]
    try:
        while waiting:
            try:
                side, event = await asyncio.wait_for(queue.get(), WAIT_S)
            except TimeoutError:
                yield None
                continue
            if isinstance(event, BaseException):
                raise event
            if event is None:
                waiting.discard(side)
                continue
            places[side] = event.number
            yield _format(places, side, event)
        yield f"id: {_id(places)}\nevent: done\ndata: {{}}\n\n".encode()
    finally:
        for reader in readers:
            reader.cancel()
        for reader in readers:
            with suppress(asyncio.CancelledError):
                await reader


async def _read(
    side: int, generation_id: uuid.UUID, after: int, queue: asyncio.Queue[tuple[int, BusEvent | Ended]]
) -> None:
    """Hand on a side's events, and last that it is over: None, or the error that ended its reading."""
    try:
        async for event in follow(generation_id, after):
            if event is not None:
                await queue.put((side, event))
        await queue.put((side, None))
    except Exception as error:
        await queue.put((side, error))


def _format(places: Sequence[int], side: int, event: BusEvent) -> bytes:
    names = ("index", "text") if event.kind == "token" else ("status", "finish_reason", "error")
    data = {"side": side} | {name: event.data.get(name) for name in names}
    kind = "token" if event.kind == "token" else "side"
    return f"id: {_id(places)}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _id(places: Sequence[int]) -> str:
    return "-".join(map(str, places))


def _admit(request: HttpRequest, comparison_id: uuid.UUID) -> tuple[list[uuid.UUID], str]:
    """Find the sides that the asker may read and take one slot; give the connection back.

    Raises `NotFoundError`, `UnknownTokenError`, `TooManyStreamsError`.
    """
    try:
        user = token_user(request)
        if user is not None:
            request.user = user
        _, sides = get_comparison(comparison_id, author=author_of(request))
        return [side.pk for side in sides], take_slot(principal_of(request))
    finally:
        if not connection.in_atomic_block:
            connection.close()
