"""Servers elsewhere: addresses that are refused, keys that stay secret, failures that are told."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.v1_server import Misbehave, V1Server
from webapp.inference import FinishEvent, GenerationRequest
from webapp.inference.guarded_network import ForbiddenAddressError, public_address
from webapp.inference.remote import RemoteEngine, RemoteError, RemoteServer
from webapp.inference.remote_protocol import BadAnswerError, read_chunks

HOST = ("127.0.0.1",)
KEY = "sk-secret-7f3a"


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> bool:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


def event(text: str, reason: str | None = None) -> bytes:
    return f"data: {json.dumps({'choices': [{'text': text, 'finish_reason': reason}]})}\n\n".encode()


GOOD = event("Hel") + b": ping\r\n\r\n" + event("lo") + event("", "stop") + b"data: [DONE]\n\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.inference.remote.FIRST_DELAY_S", 0.001)
    monkeypatch.setenv("TEST_REMOTE_KEY", KEY)


def ask(misbehave: Misbehave, **options: Any) -> tuple[FinishEvent, V1Server]:
    """The end of one answer from a server that replies as told."""
    with V1Server(None, misbehave).running() as server:
        configured = RemoteServer(server.url, "tiny", is_chat=False, **options)
        with RemoteEngine(configured, private_hosts=HOST) as engine:
            return engine.submit(GenerationRequest("Hi", frozenset())).result(), server


def test_reads_an_answer_and_sends_the_key_only_as_a_header() -> None:
    finish, server = ask(lambda handler: reply(handler, 200, GOOD), key_env="TEST_REMOTE_KEY")
    assert (finish.text, finish.reason) == ("Hello", "stop")
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in json.dumps(server.seen)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again_until_the_server_has_room(status: int) -> None:
    replies = iter([status, status])
    finish, server = ask(
        lambda handler: (
            reply(handler, code, Retry_After="0") if (code := next(replies, 0)) else reply(handler, 200, GOOD)
        )
    )
    assert finish.text == "Hello"
    assert len(server.seen) == 3


def test_gives_up_after_some_tries_with_the_servers_reason() -> None:
    body = json.dumps({"error": {"message": f"overloaded {KEY}"}}).encode()
    finish, server = ask(lambda handler: reply(handler, 503, body), key_env="TEST_REMOTE_KEY")
    assert finish.reason == "error"
    assert "503: overloaded …" in finish.error
    assert KEY not in finish.error
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b'{"error": {"message": "too long"}}', "400: too long"),
        (401, b'{"error": "bad key sk-"}', r"refuses the operator's key \(401\)"),
        (302, b"", "redirects elsewhere"),
        (404, b"<html>", r"answers 404\."),
        (200, b"data: {not json\n\n", "not JSON"),
        (200, b'data: {"error": {"message": "exploded"}}\n\n', "reports: exploded"),
        (200, b'data: {"choices": ["x"]}\n\n', "unknown shape"),
        (200, b"data: []\n\n", "unknown shape"),
    ],
)
def test_refusal_is_told_and_not_tried_again(status: int, body: bytes, message: str) -> None:
    finish, server = ask(lambda handler: reply(handler, status, body, Location="http://169.254.169.254/"))
    assert finish.reason == "error"
    assert re.search(message, finish.error)
    assert len(server.seen) == 1


def test_answer_that_breaks_off_keeps_its_text_and_says_so() -> None:
    finish, server = ask(lambda handler: reply(handler, 200, event("Hel")))
    assert (finish.text, finish.reason) == ("Hel", "error")
    assert "without a reason" in finish.error
    assert len(server.seen) == 1


def test_endless_answer_is_cut_at_the_size_limit() -> None:
    finish, _ = ask(lambda handler: reply(handler, 200, event("x" * 500) * 10), max_answer_bytes=2000)
    assert "more than 2000 bytes" in finish.error


def test_missing_key_is_named_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_REMOTE_KEY")
    finish, server = ask(lambda handler: reply(handler, 200, GOOD), key_env="TEST_REMOTE_KEY")
    assert "TEST_REMOTE_KEY" in finish.error
    assert not server.seen


def test_unreachable_server_is_told() -> None:
    with RemoteEngine(RemoteServer("http://127.0.0.1:9/v1", "x"), private_hosts=HOST) as engine:
        finish = engine.submit(GenerationRequest("Hi", frozenset())).result()
        assert "cannot be reached" in finish.error
        with pytest.raises(RemoteError, match="cannot be reached"):
            engine.list_models()


def test_requests_a_minute_are_limited() -> None:
    engine = RemoteEngine(RemoteServer("https://example.org/v1", "x", requests_per_minute=2))
    begin = time.monotonic()
    waits = [engine._seconds_to_wait() for _ in range(5)]
    taken_s = time.monotonic() - begin
    assert waits[:2] == [0, 0]
    assert 60 - taken_s <= waits[2] <= 60
    assert 120 - taken_s <= waits[4] <= 120


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (RemoteServer("ftp://example.org", "x"), "no server address"),
        (RemoteServer("file:///etc/passwd", "x"), "no server address"),
        (RemoteServer("http://user:secret@example.org/v1", "x"), "no server address"),
        (RemoteServer("http://example.org/v1", "x", key_env="TEST_REMOTE_KEY"), "only sent over https"),
    ],
)
def test_address_that_may_not_be_used_is_refused(server: RemoteServer, message: str) -> None:
    with pytest.raises(RemoteError, match=message) as caught:
        RemoteEngine(server)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "localhost",
        "2130706433",
        "0x7f.1",
    ],
)
def test_private_network_is_out_of_bounds_unless_named(host: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="not a public address"):
        public_address(host, 80, [])
    assert public_address(host, 80, [host.upper()])


def test_public_address_is_allowed_and_private_one_fails_the_request() -> None:
    assert public_address("8.8.8.8", 443, []) == "8.8.8.8"
    with V1Server(None, lambda handler: reply(handler, 200, GOOD)).running() as server:
        with RemoteEngine(RemoteServer(server.url, "tiny")) as engine:
            finish = engine.submit(GenerationRequest("Hi", frozenset())).result()
        assert "FAIRGROUND_REMOTE_PRIVATE_HOSTS" in finish.error
        assert not server.seen


@given(cuts=st.lists(st.integers(0, len(GOOD)), max_size=8).map(sorted))
def test_stream_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *cuts, len(GOOD)]
    parts = [GOOD[a:b] for a, b in pairwise(edges)]
    assert [chunk.text for chunk in read_chunks(parts, 10**6)] == ["Hel", "lo", ""]


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_told_error(junk: bytes) -> None:
    with suppress(BadAnswerError):
        assert all(isinstance(chunk.text, str) for chunk in read_chunks([b"data: ", junk, b"\n\n"], 10**6))
