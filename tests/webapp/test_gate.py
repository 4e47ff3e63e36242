"""Few requests run, some wait, the rest is refused at once and told when to ask again."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views import View

from webapp.gate import Gate, stepped_out
from webapp.one_hop import N_OPERATING, N_OPERATING_WAITING, OneHopHandler

release = threading.Event()
counter = threading.Lock()
running = 0
most = 0


class Slow(View):
    """Holds its thread until the test lets it go."""

    def get(self, request: HttpRequest) -> HttpResponse:
        global running, most
        with counter:
            running += 1
            most = max(most, running)
        release.wait(60)
        with counter:
            running -= 1
        return HttpResponse("done")


def quick(request: HttpRequest) -> HttpResponse:
    return HttpResponse("done")


urlpatterns = [
    path("slow/", Slow.as_view()),
    path("api/v1/slow/", Slow.as_view()),
    path("health/slow", Slow.as_view()),
    path("quick/", quick),
    path("health/quick", quick),
]


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    global most
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    settings.ALLOWED_HOSTS = ["*"]
    release.clear()
    most = 0


async def ask(handler: OneHopHandler, address: str) -> tuple[int, dict[bytes, bytes], bytes]:
    scope = {
        "type": "http",
        "method": "GET",
        "path": address,
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "http_version": "1.1",
    }
    line = ApplicationCommunicator(handler, scope)
    await line.send_input({"type": "http.request", "body": b""})
    start = await line.receive_output(60)
    body = await line.receive_output(60)
    await line.wait(60)
    return start["status"], dict(start["headers"]), body["body"]


async def until_full(gate: Gate, n_running: int) -> None:
    """Wait until all places are taken and as many requests run as may."""
    for _ in range(6000):
        if gate._n_inside == gate.n_places and running == n_running:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{gate._n_inside} of {gate.n_places} are inside, {running} run")


@pytest.mark.parametrize("address", ["/slow/", "/api/v1/slow/"])
def test_what_is_above_is_refused_and_the_rest_answered_in_turn(address: str) -> None:
    async def crowd() -> list[tuple[int, dict[bytes, bytes], bytes]]:
        handler = OneHopHandler(gate := Gate(max_running=2, max_waiting=3))
        inside = [asyncio.create_task(ask(handler, address)) for _ in range(5)]
        await until_full(gate, 2)
        refused = [await ask(handler, address) for _ in range(3)]
        assert [status for status, _, _ in refused] == [503] * 3
        assert all(int(headers[b"Retry-After"]) > 0 for _, headers, _ in refused)
        assert all(b"Ask again" in body for _, _, body in refused)
        assert most == 2
        release.set()
        assert [status for status, _, _ in await asyncio.gather(*inside)] == [200] * 5
        return [await ask(handler, address) for _ in range(5)]

    assert [status for status, _, _ in asyncio.run(crowd())] == [200] * 5
    assert most <= 2


def test_health_is_told_when_everything_is_full() -> None:
    async def crowd() -> None:
        handler = OneHopHandler(gate := Gate(max_running=1, max_waiting=2))
        inside = [asyncio.create_task(ask(handler, "/slow/")) for _ in range(3)]
        await until_full(gate, 1)
        assert (await ask(handler, "/quick/"))[0] == 503
        assert (await ask(handler, "/health/quick"))[0] == 200
        release.set()
        await asyncio.gather(*inside)

    asyncio.run(crowd())


def test_a_flood_of_questions_for_health_is_refused_and_others_are_answered() -> None:
    async def crowd() -> None:
        handler = OneHopHandler()
        flood = [asyncio.create_task(ask(handler, "/health/slow")) for _ in range(N_OPERATING + N_OPERATING_WAITING)]
        await until_full(handler._operating_gate, N_OPERATING)
        assert (await ask(handler, "/health/quick"))[0] == 503
        assert (await ask(handler, "/quick/"))[0] == 200
        release.set()
        assert {status for status, _, _ in await asyncio.gather(*flood)} == {200}
        assert (await ask(handler, "/health/quick"))[0] == 200

    asyncio.run(crowd())
    assert most == N_OPERATING


def test_who_waits_for_others_leaves_its_turn_to_them() -> None:
    gate = Gate(max_running=1, max_waiting=0)
    steps: list[str] = []
    is_out, may_return = threading.Event(), threading.Event()

    def waits_for_a_job() -> None:
        assert gate.try_enter()
        with gate.running():
            with stepped_out():
                is_out.set()
                may_return.wait(60)
            steps.append("returned")
        gate.leave()

    thread = threading.Thread(target=waits_for_a_job)
    thread.start()
    assert is_out.wait(60)
    assert gate.try_enter()
    with gate.running():
        may_return.set()
        time.sleep(0.1)
        assert steps == []  # one runs at a time
        assert not gate.try_enter()
    gate.leave()
    thread.join(60)
    assert steps == ["returned"]
    assert gate.try_enter()


def test_stepping_out_without_a_gate_is_nothing() -> None:
    with stepped_out():
        pass
