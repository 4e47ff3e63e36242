"""Both answers of a battle on one event stream, at one pace.

The sides advance by the same number of characters at every step, and neither may run ahead of the
other, so that speed and token lengths tell nothing about who answers.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from arena.answers import SIDES, turns_of
from arena.services.battles import get_battle
from arena.sessions import known_voter
from webapp.accounts.authentication import token_user
from webapp.errors import FairgroundError
from webapp.jobs import JobStatus
from webapp.limits import principal_of
from webapp.playground.bus import token_bus
from webapp.playground.models import Generation
from webapp.problems import problem_response
from webapp.stream_slots import LIFE_S, free_slot, keep_slot, take_slot

TICK_S = 0.05
STEP_CHARACTERS = 24
PING_S = 3.0
WAIT_S = 3.0


@dataclass
class Side:
    """What is known of one side's answer so far."""

    generation_id: uuid.UUID
    text: str = ""
    is_done: bool = False
    has_failed: bool = False

    def read(self, generation: Generation) -> None:
        """Take a finished answer from its row."""
        if generation.is_finished:
            self.text, self.is_done = generation.text, True
            self.has_failed = generation.status != JobStatus.DONE


@require_GET
async def battle_stream(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponseBase:
    """Relay both answers of a battle's last turn; `Last-Event-ID` goes on after that many characters."""
    try:
        sides, slot = await sync_to_async(_open)(request, battle_id)
    except FairgroundError as error:
        return problem_response(error)
    last = request.headers.get("Last-Event-ID", "")
    position = int(last) if last.isdecimal() and len(last) < 9 else 0
    events = _holding(slot, _events(sides, position))
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _holding(slot: str, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Keep the reader's slot alive as long as the events last."""
    kept_at = time.monotonic()
    try:
        async for event in events:
            if time.monotonic() - kept_at > LIFE_S / 3:
                kept_at = time.monotonic()
                await sync_to_async(keep_slot)(slot)
            yield event
    finally:
        await asyncio.shield(sync_to_async(free_slot)(slot))


def _open(request: HttpRequest, battle_id: uuid.UUID) -> tuple[tuple[Side, ...], str]:
    """Find the battle's last turn and take a slot, then give the connection back: a stream must not hold one."""
    try:
        user = token_user(request)
        if user is not None:
            request.user = user
        battle = get_battle(battle_id, voter=known_voter(request))
        turn = turns_of(battle)[-1]
        sides = []
        for name in SIDES:
            generation = getattr(turn, f"generation_{name}")
            if generation is not None:
                side = Side(generation.pk)
                side.read(generation)
                sides.append(side)
        return tuple(sides), take_slot(principal_of(request))
    finally:
        _give_back()


def _give_back() -> None:
    if not connection.in_atomic_block:
        connection.close()


async def _events(sides: tuple[Side, ...], position: int) -> AsyncIterator[bytes]:
    yield b": connected\n\n"
    readers = [asyncio.create_task(_follow(side)) for side in sides if not side.is_done]
    try:
        async for chunk in _paced(sides, position):
            yield chunk
        failed = not sides or any(side.has_failed for side in sides)
        yield _format("done", max((len(s.text) for s in sides), default=0), {"failed": failed})
    finally:
        for reader in readers:
            reader.cancel()
        for reader in readers:
            with suppress(asyncio.CancelledError):
                await reader


async def _paced(sides: tuple[Side, ...], position: int) -> AsyncIterator[bytes]:
    silent_s = 0.0
    while not any(side.has_failed for side in sides):
        end = next_position(sides, position)
        if end > position:
            yield _format("text", end, {n: s.text[position:end] for n, s in zip(SIDES, sides, strict=True)})
            position, silent_s = end, 0.0
        elif all(side.is_done for side in sides):
            return
        elif silent_s >= PING_S:
            yield b": ping\n\n"
            silent_s = 0.0
        await asyncio.sleep(TICK_S)
        silent_s += TICK_S


def next_position(sides: tuple[Side, ...], position: int) -> int:
    """Return up to which character both sides may be shown at the next step.

    A side that goes on holds the other back to its own length; one that is done holds nothing.
    """
    limits = [len(side.text) for side in sides if not side.is_done]
    furthest = min(limits) if limits else max((len(side.text) for side in sides), default=0)
    return max(position, min(furthest, position + STEP_CHARACTERS))


async def _follow(side: Side) -> None:
    """Fill a side from the bus, or from its row where the bus has forgotten it."""
    bus, after = token_bus(), 0
    while not side.is_done:
        events = await bus.read(str(side.generation_id), after, WAIT_S)
        for event in events:
            after = event.number
            if event.kind == "token":
                side.text += event.data["text"]
        if not events or events[-1].kind == "done":
            await sync_to_async(_read_row)(side)


def _read_row(side: Side) -> None:
    try:
        side.read(Generation.objects.get(pk=side.generation_id))
    finally:
        _give_back()


def _format(kind: str, number: int, data: dict[str, Any]) -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
