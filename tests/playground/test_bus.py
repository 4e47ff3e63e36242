"""What both buses promise. The one on Redis needs a server (TEST_REDIS_URL), which CI demands."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from urllib.parse import urlsplit

import pytest
import redis

from tests.redis_databases import own_database
from webapp.playground.bus import KEPT_S, BusEvent, MemoryBus, RedisBus, TokenBus

URL = own_database(os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15"))
DONE = 10**9
PATIENT_S = 120.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one read wait for as long as a slow machine may need: which reads come back empty is what tests are about."""
    monkeypatch.setattr("webapp.playground.bus.MAX_WAIT_S", PATIENT_S)


def redis_bus(name: str = "bus") -> RedisBus:
    """A bus whose connections are called `name`."""
    try:
        redis.Redis.from_url(URL).ping()
    except redis.ConnectionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs Redis at {urlsplit(URL).netloc} ({error}); TEST_REDIS_URL names another")
    return RedisBus(f"{URL}?client_name={name}")


def connections(name: str) -> list[dict[str, str]]:
    return [each for each in redis.Redis.from_url(URL).client_list() if each["name"] == name]


@pytest.fixture(params=["memory", "redis"])
def bus(request: pytest.FixtureRequest) -> TokenBus:
    return MemoryBus() if request.param == "memory" else redis_bus()


@pytest.fixture
def stream() -> str:
    return str(uuid.uuid4())


def token(number: int) -> BusEvent:
    return BusEvent(number, "token", {"index": number - 1, "text": f"{number} "})


async def read_to_end(bus: TokenBus, stream: str, after: int = 0) -> list[BusEvent]:
    """Read until the last event, each time from the last one read, as streams do."""
    events: list[BusEvent] = []
    async with asyncio.timeout(PATIENT_S):
        while not events or events[-1].kind != "done":
            found = await bus.read(stream, events[-1].number if events else after, PATIENT_S)
            events.extend(found)
    return events


def test_events_are_read_in_order_from_any_place(bus: TokenBus, stream: str) -> None:
    bus.publish(stream, token(1), token(2))
    bus.publish(stream, token(3))
    events = [token(1), token(2), token(3)]
    assert bus.published(stream) == events
    for after in range(4):
        assert asyncio.run(bus.read(stream, after, 0)) == events[after:]


def test_events_published_again_are_dropped_one_by_one(bus: TokenBus, stream: str) -> None:
    bus.publish(stream, token(1), token(2))
    bus.publish(stream, BusEvent(1, "token", {"text": "other"}), BusEvent(2, "token", {"text": "other"}), token(3))
    assert bus.published(stream) == [token(1), token(2), token(3)]


def test_nothing_comes_of_a_silent_stream(bus: TokenBus, stream: str) -> None:
    bus.publish(str(uuid.uuid4()), token(1))
    assert asyncio.run(bus.read(stream, 0, 0.02)) == []
    assert bus.published(stream) == []


def test_waiting_reader_is_told_at_once(bus: TokenBus, stream: str) -> None:
    """A reader that was not called would wait to the end and then find nothing."""

    async def wait() -> list[BusEvent]:
        reading = asyncio.create_task(bus.read(stream, 0, PATIENT_S))
        while not reading.done():
            await asyncio.sleep(0.05)
            await asyncio.to_thread(bus.publish, stream, token(1))
        return await reading

    assert asyncio.run(wait()) == [token(1)]


def test_cancelling_is_known_of_that_stream_alone(bus: TokenBus, stream: str) -> None:
    bus.request_cancel(stream)
    assert bus.is_cancelled(stream)
    assert not bus.is_cancelled(str(uuid.uuid4()))


@pytest.mark.parametrize("seed", range(3))
def test_many_readers_get_each_event_once_in_whatever_pieces_it_is_published(bus: TokenBus, seed: int) -> None:
    """Forty streams, three readers each; some come late, some again and again after a few events."""
    chance = random.Random(seed)
    lengths = {str(uuid.uuid4()): chance.randrange(1, 40) for _ in range(40)}

    async def make(stream: str) -> None:
        number = 0
        while number < lengths[stream]:
            size = min(chance.randrange(1, 6), lengths[stream] - number)
            again = chance.randrange(0, number + 1)  # a worker that died begins anew
            events = [token(each) for each in range(again + 1, number + size + 1)]
            await asyncio.to_thread(bus.publish, stream, *events)
            number += size
            await asyncio.sleep(chance.random() / 200)
        await asyncio.to_thread(bus.publish, stream, BusEvent(DONE, "done", {}))

    async def follow(stream: str) -> None:
        await asyncio.sleep(chance.random() / 20)
        after = chance.randrange(0, lengths[stream])
        numbers = [event.number for event in await read_to_end(bus, stream, after)]
        assert numbers == [*range(after + 1, lengths[stream] + 1), DONE]

    async def all_at_once() -> None:
        await asyncio.gather(*(make(s) for s in lengths), *(follow(s) for s in lengths for _ in range(3)))

    asyncio.run(all_at_once())


def test_readers_of_many_streams_share_few_connections() -> None:
    name = uuid.uuid4().hex
    bus, streams = redis_bus(name), [str(uuid.uuid4()) for _ in range(200)]

    async def hold() -> tuple[int, list[list[BusEvent]]]:
        reading = [asyncio.create_task(bus.read(stream, 0, PATIENT_S)) for stream in streams]
        n_connections = 0
        for number, stream in enumerate(streams):
            await asyncio.to_thread(bus.publish, stream, token(1))
            if number % 20 == 0:  # outside of the loop, which would stand still meanwhile
                n_connections = max(n_connections, len(await asyncio.to_thread(connections, name)))
        return n_connections, await asyncio.gather(*reading)

    n_connections, found = asyncio.run(hold())
    assert 2 <= n_connections <= 10
    assert found == [[token(1)]] * 200


def test_what_was_published_while_the_connection_was_cut_is_read() -> None:
    """The server closes the connection on which calls are heard; the one missed meanwhile is made up for."""
    name, stream = uuid.uuid4().hex, str(uuid.uuid4())
    bus, client = redis_bus(name), redis.Redis.from_url(URL)

    async def read_over_a_cut() -> list[BusEvent]:
        reading = asyncio.create_task(bus.read(stream, 0, PATIENT_S))
        while not (hearing := [c for c in await asyncio.to_thread(connections, name) if c["psub"] == "1"]):
            await asyncio.sleep(0.01)
        client.xadd(f"fairground:tokens:{stream}", {"kind": "token", "data": "{}"}, id="1-1")  # without a call
        client.client_kill_filter(_id=hearing[0]["id"])
        return await reading

    assert asyncio.run(read_over_a_cut()) == [BusEvent(1, "token", {})]


def test_memory_bus_forgets_streams_that_were_stopped_before_they_began(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = MemoryBus()
    bus.request_cancel(stream)
    assert bus.is_cancelled(stream)
    later = time.monotonic() + KEPT_S + 1
    monkeypatch.setattr("webapp.playground.bus.time.monotonic", lambda: later)
    bus.request_cancel("another")
    assert not bus.is_cancelled(stream)
    assert bus.is_cancelled("another")


def test_memory_bus_forgets_a_stop_after_the_stream_not_before(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus()
    now = time.monotonic()
    bus.request_cancel(stream)
    monkeypatch.setattr("webapp.playground.bus.time.monotonic", lambda: now + KEPT_S - 10)
    bus.publish(stream, token(1))
    monkeypatch.setattr("webapp.playground.bus.time.monotonic", lambda: now + KEPT_S + 10)
    bus.publish("another", token(1))
    assert bus.is_cancelled(stream)
