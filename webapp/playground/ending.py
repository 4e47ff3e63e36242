"""What the last events of an answer's streams say."""

from __future__ import annotations

from typing import Any

from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.live import matches_stream
from webapp.playground.models import Generation


def publish_end(generation: Generation) -> None:
    """Publish the last event after the row is stored, so that a reader told of the end can read it."""
    token_bus().publish(str(generation.id), BusEvent(10**9, "done", end_data(generation)))
    if generation.is_traced_live:
        token_bus().publish(matches_stream(generation.id), BusEvent(10**9, "done", matches_end(generation)))


def end_data(generation: Generation) -> dict[str, Any]:
    """Return what the last event of a stream says."""
    return {
        "status": str(generation.status),
        "finish_reason": generation.finish_reason,
        "error": generation.error,
        "routing_shares": generation.routing_shares,
    }


def matches_end(generation: Generation) -> dict[str, Any]:
    """Return what the last event of a stream of matches says: the trace, where the answer has one."""
    return {"trace": str(generation.trace_id) if generation.trace_id else None}
