"""Requests that wait for threads: clients take turns, as a slow model of it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.inference import GenerationHandle, GenerationRequest
from webapp.inference.errors import EngineBusyError
from webapp.inference.request_queue import RequestQueue


def request_of(client: str) -> GenerationHandle:
    return GenerationHandle(GenerationRequest("x", frozenset(), client=client), (1,), lambda: None)


def opened(max_queued: int = 1000) -> RequestQueue:
    queue = RequestQueue(max_queued)
    queue.open()
    return queue


def slow_order(clients: list[str]) -> list[int]:
    """Return in which order they are taken: round after round, one of each client that still waits."""
    left = {client: [n for n, c in enumerate(clients) if c == client] for client in clients}
    order = []
    while any(left.values()):
        order += [numbers.pop(0) for numbers in left.values() if numbers]
    return order


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_clients_take_turns(clients: list[str]) -> None:
    queue, handles = opened(), [request_of(client) for client in clients]
    for handle in handles:
        queue.put(handle)
    assert (queue.peek() is None) is (not clients)
    taken = []
    while (handle := queue.take()) is not None:
        taken.append(next(n for n, one in enumerate(handles) if one is handle))
    assert taken == slow_order(clients)


def test_full_queue_refuses_and_a_cancelled_request_makes_room() -> None:
    queue, handles = opened(2), [request_of("a"), request_of("b")]
    for handle in handles:
        queue.put(handle)
    with pytest.raises(EngineBusyError, match="2 requests wait"):
        queue.put(request_of("c"))
    handles[0].cancel()
    assert queue.take_cancelled() == [handles[0]]
    queue.put(request_of("c"))
    assert queue.peek() is handles[1]
    assert len(queue.close()) == 2
    assert queue.take() is None
