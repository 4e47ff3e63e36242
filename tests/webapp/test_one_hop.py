"""A synchronous view and Django's signals run in one kept thread; what it streams ends with its client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from asgiref.testing import ApplicationCommunicator
from django.core.signals import request_finished, request_started
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from webapp.one_hop import PIECE, OneHopHandler

steps: list[tuple[str, str]] = []


def note(what: str) -> None:
    steps.append((what, threading.current_thread().name))


def plain(request: HttpRequest) -> HttpResponse:
    note("view")
    assert not structlog.contextvars.get_contextvars()
    structlog.contextvars.bind_contextvars(secret="of this request")
    return HttpResponse(request.body[::-1])


async def ticks() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"tick "
            await asyncio.sleep(0.01)
    finally:
        note("stream closed")


def endless(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(ticks())


def parts() -> Iterator[bytes]:
    for number in range(5):
        note(f"read {number}")
        yield bytes([number]) * (PIECE // 2)
    yield b""


def file(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(parts())


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("nothing here", status=404)


urlpatterns = [path("plain/", plain), path("endless/", endless), path("file/", file)]


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    settings.ALLOWED_HOSTS = ["*"]
    steps.clear()

    def started(**_: Any) -> None:
        note("started")

    def finished(**_: Any) -> None:
        note("finished")

    request_started.connect(started)
    request_finished.connect(finished)
    yield
    request_started.disconnect(started)
    request_finished.disconnect(finished)


def line_to(handler: OneHopHandler, address: str) -> ApplicationCommunicator:
    scope = {
        "type": "http",
        "method": "POST",
        "path": address,
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "http_version": "1.1",
    }
    return ApplicationCommunicator(handler, scope)


def receiver() -> Any:
    """Return what gives an empty body and then waits for a client that stays."""
    messages = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        return next(messages, None) or await asyncio.Event().wait()

    return receive


async def ask(handler: OneHopHandler, address: str, body: bytes = b"") -> tuple[int, bytes]:
    line = line_to(handler, address)
    await line.send_input({"type": "http.request", "body": body})
    start, answer = await line.receive_output(60), await line.receive_output(60)
    await line.wait(60)
    return start["status"], answer["body"]


def test_runs_signals_and_view_in_one_thread_that_the_next_request_gets_again() -> None:
    async def twice() -> None:
        handler = OneHopHandler()
        assert await ask(handler, "/plain/", b"abc") == (200, b"cba")
        assert await ask(handler, "/plain/", b"de") == (200, b"ed")

    asyncio.run(twice())
    assert [what for what, _ in steps] == ["started", "view", "finished"] * 2
    assert len({thread for _, thread in steps}) == 1


def test_answers_404_where_no_view_is() -> None:
    assert asyncio.run(ask(OneHopHandler(), "/nowhere/"))[0] == 404


def test_ends_a_stream_whose_client_is_gone() -> None:
    async def leave() -> None:
        line = line_to(OneHopHandler(), "/endless/")
        await line.send_input({"type": "http.request", "body": b""})
        await line.receive_output(60)
        assert (await line.receive_output(60))["body"] == b"tick "
        await line.send_input({"type": "http.disconnect"})
        await line.wait(60)

    asyncio.run(leave())
    assert [what for what, _ in steps] == ["started", "stream closed", "finished"]


def test_reads_a_file_in_a_thread_and_sends_each_piece_before_it_reads_the_next() -> None:
    body, n_read = b"", []

    async def take(message: Any) -> None:
        nonlocal body
        if piece := message.get("body"):
            body += piece
            n_read.append(sum(what.startswith("read") for what, _ in steps))

    asyncio.run(OneHopHandler()(line_to(OneHopHandler(), "/file/").scope, receiver(), take))
    assert body == b"".join(bytes([n]) * (PIECE // 2) for n in range(5))
    assert n_read == [2, 4, 5]
    assert threading.main_thread().name not in {thread for what, thread in steps if what.startswith("read")}


def test_leaves_alone_a_request_that_was_cut_off_in_its_body() -> None:
    async def cut() -> None:
        line = line_to(OneHopHandler(), "/plain/")
        await line.send_input({"type": "http.request", "body": b"ab", "more_body": True})
        await line.send_input({"type": "http.disconnect"})
        await line.wait(60)

    asyncio.run(cut())
    assert steps == []
