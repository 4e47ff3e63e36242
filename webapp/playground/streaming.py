"""The event stream of one generation, as server-sent events. Plain async Django: DRF is synchronous."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from webapp.accounts.authentication import token_user
from webapp.errors import FairgroundError
from webapp.limits import principal_of
from webapp.ownership import author_of
from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.live import matches_stream
from webapp.playground.models import Generation
from webapp.playground.services import end_data, get_generation, matches_end
from webapp.problems import problem_response
from webapp.stream_slots import LIFE_S, free_slot, keep_slot, take_slot

WAIT_S = 10.0  # also after how long without an event the answer's row is looked up
Follow = Callable[[uuid.UUID, int], AsyncIterator[BusEvent | None]]


@require_GET
async def generation_stream(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponseBase:
    """Relay tokens until the end; `Last-Event-ID` continues after that event."""
    return await _relay(request, generation_id, follow)


@require_GET
async def matches_stream_view(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponseBase:
    """Relay the matches of an answer that is traced while it is made, until its trace begins."""
    return await _relay(request, generation_id, follow_matches)


async def _relay(request: HttpRequest, generation_id: uuid.UUID, follow_it: Follow) -> HttpResponseBase:
    try:
        slot = await sync_to_async(_admit)(request, generation_id)
    except FairgroundError as error:
        return problem_response(error)
    last = request.headers.get("Last-Event-ID", "")
    after = int(last) if last.isdecimal() and len(last) < 12 else 0
    return event_response(_formatted(follow_it(generation_id, after)), slot)


def event_response(events: AsyncGenerator[bytes | None, None], slot: str) -> StreamingHttpResponse:
    """Return an event stream that keeps the reader's slot as long as it lasts; None is a sign of life."""
    response = StreamingHttpResponse(_events(events, slot), content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _formatted(events: AsyncIterator[BusEvent | None]) -> AsyncGenerator[bytes | None, None]:
    async for event in events:
        yield None if event is None else _format(event)


async def _events(events: AsyncGenerator[bytes | None, None], slot: str) -> AsyncIterator[bytes]:
    kept_at = time.monotonic()
    try:
        yield b": connected\n\n"
        async with aclosing(events):
            async for event in events:
                if time.monotonic() - kept_at > LIFE_S / 3:
                    kept_at = time.monotonic()
                    await sync_to_async(keep_slot)(slot)
                yield b": ping\n\n" if event is None else event
    finally:
        await asyncio.shield(sync_to_async(free_slot)(slot))


def follow(generation_id: uuid.UUID, after: int = 0) -> AsyncIterator[BusEvent | None]:
    """Yield a generation's events to its last one; None now and then while nothing happens."""
    return _follow(str(generation_id), generation_id, after, _stored_events)


def follow_matches(generation_id: uuid.UUID, after: int = 0) -> AsyncIterator[BusEvent | None]:
    """Yield the spans found so far, each time all of them, and at the end the trace."""
    return _follow(matches_stream(generation_id), generation_id, after, _stored_matches)


async def _follow(
    stream: str, generation_id: uuid.UUID, after: int, stored: Callable[[Generation, int], list[BusEvent]]
) -> AsyncIterator[BusEvent | None]:
    bus, wait_s = token_bus(), 0.0  # whoever comes after the end, which the bus may have forgotten, waits for nothing
    while True:
        events = await bus.read(stream, after, wait_s)
        wait_s = WAIT_S
        if not events:
            generation = await sync_to_async(_read_row)(generation_id)
            if generation is None:
                return
            events = stored(generation, after)
            if not events:
                yield None
        for event in events:
            after = event.number
            yield event
            if event.kind == "done":
                return


def _admit(request: HttpRequest, generation_id: uuid.UUID) -> str:
    """Take a slot for a reader of the answer; give the connection back.

    Raises `NotFoundError` unless the asker may read it, `UnknownTokenError` for a token that is not valid,
    `TooManyStreamsError` when all their slots are taken.
    """
    try:
        user = token_user(request)
        if user is not None:
            request.user = user
        get_generation(generation_id, author=author_of(request))
        return take_slot(principal_of(request))
    finally:
        if not connection.in_atomic_block:
            connection.close()


def _read_row(generation_id: uuid.UUID) -> Generation | None:
    """Read the row and give the connection back: a stream must not hold one."""
    try:
        return Generation.objects.filter(pk=generation_id).first()
    finally:
        if not connection.in_atomic_block:
            connection.close()


def _stored_events(generation: Generation, after: int) -> list[BusEvent]:
    """Return a finished generation's events from its row, for readers later than the bus remembers."""
    if not generation.is_finished:
        return []
    routing = generation.get_token_routing().tolist()
    tokens = []
    for number, (text, shares) in enumerate(zip(generation.pieces, routing, strict=True), start=1):
        routed = dict(zip(generation.experts, shares, strict=True))
        data: dict[str, Any] = {"index": number - 1, "text": text, "routing": routed}
        if generation.logprobs:
            data["logprob"] = generation.logprobs[number - 1]
        tokens.append(BusEvent(number, "token", data))
    return [*(token for token in tokens if token.number > after), BusEvent(10**9, "done", end_data(generation))]


def _stored_matches(generation: Generation, after: int) -> list[BusEvent]:
    """Return the end of the matches of a finished answer; its trace has them all."""
    return [BusEvent(10**9, "done", matches_end(generation))] if generation.is_finished else []


def _format(event: BusEvent) -> bytes:
    data: dict[str, Any] = event.data
    return f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n".encode()
