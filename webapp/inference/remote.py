"""Any OpenAI-compatible server (vLLM, TGI, llama.cpp, hosted, another Fairground) as a backend.

Same requests, same events. The key is read from the environment when it is needed; it stands in
no log, error or row.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore

from webapp.inference.errors import InferenceError, RequestError, UnknownExpertError
from webapp.inference.guarded_network import ForbiddenAddressError, GuardedBackend
from webapp.inference.remote_protocol import BadAnswerError, error_text, read_chunks, request_body
from webapp.inference.request_queue import RequestQueue
from webapp.inference.requests import (
    FinishEvent,
    FinishReason,
    GenerationHandle,
    GenerationRequest,
    TokenEvent,
    TokenLogprob,
)
from webapp.inference.stopping import StopFilter

logger = logging.getLogger(__name__)

MAX_TRIES = 4
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_ERROR_BYTES = 10_000
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NETWORK_ERRORS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


class RemoteError(InferenceError):
    """A server that cannot be used as it is configured."""


class _TryAgainError(Exception):
    """A failure that may pass; `delay_s` is what the server asked for."""

    def __init__(self, message: str, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


@dataclass(frozen=True)
class RemoteServer:
    """A server as the operator configured it. `url` ends before /chat/completions, mostly in /v1."""

    url: str
    model: str
    key_env: str = ""
    is_chat: bool = True
    max_concurrent: int = 4
    requests_per_minute: int = 0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    max_answer_bytes: int = 8_000_000

    def check(self, private_hosts: Collection[str]) -> None:
        """RemoteError for an address that may not be used, or a key that would travel in the clear."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise RemoteError(f"{parts.scheme}://{parts.hostname or ''} is no server address like https://host/v1.")
        if self.key_env and parts.scheme != "https" and parts.hostname not in private_hosts:
            raise RemoteError("A key is only sent over https; use an https address.")

    def masked(self, text: str) -> str:
        """The text without the key, which a server may have repeated."""
        key = os.environ.get(self.key_env, "") if self.key_env else ""
        return text.replace(key, "…") if key else text

    def headers(self) -> list[tuple[str, str]]:
        """Headers of a request. RemoteError when the key is missing from the environment."""
        headers = [("Content-Type", "application/json"), ("Accept", "text/event-stream, application/json")]
        if self.key_env:
            key = os.environ.get(self.key_env, "")
            if not key:
                raise RemoteError(f"The environment variable {self.key_env} with the server's key is not set.")
            headers.append(("Authorization", f"Bearer {key}"))
        return headers


class RemoteEngine:
    """Answers by asking a server. `start` before `submit`; `close` ends all."""

    def __init__(self, server: RemoteServer, *, private_hosts: Collection[str] = (), max_queued: int = 1024) -> None:
        server.check(private_hosts)
        self._server = server
        self._pool = httpcore.ConnectionPool(
            network_backend=GuardedBackend(private_hosts), max_connections=server.max_concurrent
        )
        self._queue = RequestQueue(max_queued)
        self._threads: list[threading.Thread] = []
        self._calls: set[_Call] = set()
        self._lock = threading.Lock()
        self._starts: deque[float] = deque()

    @property
    def expert_slugs(self) -> tuple[str, ...]:
        """None: a server elsewhere has no switches here."""
        return ()

    def start(self) -> None:
        """Start the threads, once."""
        self._queue.open()
        for number in range(self._server.max_concurrent):
            thread = threading.Thread(target=self._run, name=f"remote-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """End all requests as cancelled and wait for the threads."""
        for handle in self._queue.close():
            _Call(handle).end(FinishReason.CANCELLED)
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.handle.cancel()
        for thread in self._threads:
            thread.join()
        self._pool.close()

    def __enter__(self) -> RemoteEngine:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request. Raises RequestError (a ValueError), EngineBusyError, EngineClosedError."""
        request.check()
        if request.experts:
            raise UnknownExpertError("This checkpoint has no experts to switch; ask without naming any.")
        if request.thinking is not None:
            raise RequestError("A server elsewhere thinks as long as it likes; ask without bounds on thinking.")
        handle = GenerationHandle(request, (), self._notify)
        self._queue.put(handle)
        return handle

    def _notify(self) -> None:
        """Something was cancelled: cut its connection, or end it in the queue."""
        with self._lock:
            calls = [call for call in self._calls if call.handle.is_cancelled]
        for call in calls:
            call.cut()
        for handle in self._queue.take_cancelled():
            _Call(handle).end(FinishReason.CANCELLED)

    def list_models(self) -> list[str] | None:
        """The names that the server lists; None where it lists none. RemoteError when it cannot be asked."""
        try:
            response = self._pool.request(
                "GET",
                f"{self._server.url.rstrip('/')}/models",
                headers=self._server.headers(),
                extensions=self._limits(),
            )
        except ForbiddenAddressError as error:
            raise RemoteError(str(error)) from error
        except _NETWORK_ERRORS as error:
            raise RemoteError(f"The server cannot be reached ({_name(error)}).") from error
        if response.status in {404, 405, 501}:
            return None
        if response.status != 200:
            raise RemoteError(self._server.masked(_refusal(response.status, response.content[:MAX_ERROR_BYTES])))
        try:
            return [str(entry["id"]) for entry in json.loads(response.content)["data"]]
        except (ValueError, KeyError, TypeError):
            return None

    def _limits(self) -> dict[str, dict[str, float]]:
        server = self._server
        waits = {"connect": server.connect_timeout_s, "pool": server.connect_timeout_s}
        return {"timeout": {**waits, "read": server.read_timeout_s, "write": server.read_timeout_s}}

    # A thread each from here on.

    def _run(self) -> None:
        while (handle := self._queue.take_or_wait()) is not None:
            call = _Call(handle)
            with self._lock:
                self._calls.add(call)
            try:
                self._answer(call)
            except Exception as error:
                logger.exception("a remote request failed")
                call.end(FinishReason.ERROR, f"The remote request failed ({type(error).__name__}).")
            finally:
                with self._lock:
                    self._calls.discard(call)

    def _answer(self, call: _Call) -> None:
        """Try until the server begins to answer; from then on a failure is final."""
        delay = FIRST_DELAY_S
        for number in range(1, MAX_TRIES + 1):
            if call.handle.wait_cancelled(self._seconds_to_wait()):
                return call.end(FinishReason.CANCELLED)
            try:
                return self._try(call)
            except _TryAgainError as error:
                if call.handle.is_cancelled:
                    return call.end(FinishReason.CANCELLED)
                if call.has_begun or number == MAX_TRIES or call.is_out_of_time:
                    return call.end(FinishReason.ERROR, self._server.masked(str(error)))
                logger.warning("remote request is tried again: %s", self._server.masked(str(error)))
                if call.handle.wait_cancelled(min(error.delay_s or delay, MAX_DELAY_S)):
                    return call.end(FinishReason.CANCELLED)
                delay *= 2
            except (BadAnswerError, ForbiddenAddressError, RemoteError) as error:
                return call.end(FinishReason.ERROR, self._server.masked(str(error)))
        return None

    def _seconds_to_wait(self) -> float:
        """Take a place under the limit of requests a minute; how long until it is this request's turn."""
        limit = self._server.requests_per_minute
        if not limit:
            return 0.0
        with self._lock:
            now = time.monotonic()
            while self._starts and self._starts[0] <= now - 60:
                self._starts.popleft()
            begin = now if len(self._starts) < limit else max(now, self._starts[-limit] + 60)
            self._starts.append(begin)
            return begin - now

    def _try(self, call: _Call) -> None:
        server, request = self._server, call.handle.request
        endpoint = "chat/completions" if server.is_chat else "completions"
        body = request_body(request, model=server.model, is_chat=server.is_chat)
        try:
            with self._pool.stream(
                "POST",
                f"{server.url.rstrip('/')}/{endpoint}",
                headers=server.headers(),
                content=body,
                extensions=self._limits(),
            ) as response:
                call.watch(response)
                if response.status != 200:
                    raise _refused(response)
                self._relay(call, response)
        except _NETWORK_ERRORS as error:
            if call.is_ended:  # the end was known; how the connection closed does not matter
                return
            raise _TryAgainError(f"The server cannot be reached or broke off ({_name(error)}).") from error
        finally:
            call.unwatch()

    def _relay(self, call: _Call, response: httpcore.Response) -> None:
        stream = response.iter_stream()
        for chunk in read_chunks(stream, self._server.max_answer_bytes):
            if call.handle.is_cancelled:
                return call.end(FinishReason.CANCELLED)
            call.add(chunk.text, chunk.logprobs)
            if call.filter.is_stopped:
                return call.end(FinishReason.STOP)
            if call.is_out_of_time:
                return call.end(FinishReason.TIME)
            if chunk.finish_reason is not None:
                return call.end(FinishReason.LENGTH if chunk.finish_reason == "length" else FinishReason.STOP)
        raise _TryAgainError("The server ended the answer without a reason.")


class _Call:
    """One request in flight."""

    def __init__(self, handle: GenerationHandle) -> None:
        self.handle = handle
        self.filter = StopFilter(handle.request.stop)
        self.is_ended = False
        self._n_events = 0
        self._started_at = time.monotonic()
        self._first_at: float | None = None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @property
    def has_begun(self) -> bool:
        return self._n_events > 0

    @property
    def is_out_of_time(self) -> bool:
        return time.monotonic() - self._started_at > self.handle.request.max_seconds

    def watch(self, response: httpcore.Response) -> None:
        """Know the connection, so that a cancelled answer need not wait for its next token."""
        stream = response.extensions.get("network_stream")
        with self._lock:
            self._socket = stream.get_extra_info("socket") if stream is not None else None
        if self.handle.is_cancelled:
            self.cut()

    def unwatch(self) -> None:
        with self._lock:
            self._socket = None

    def cut(self) -> None:
        """Close the connection from another thread; the reading one wakes with an error."""
        with self._lock:
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    logger.debug("the connection was closed already")

    def add(self, text: str, logprobs: Sequence[tuple[TokenLogprob, tuple[TokenLogprob, ...]]]) -> None:
        """Hand out a chunk, one event for each token that the server tells apart."""
        if not text and not logprobs:
            return
        released = self.filter.release(text)
        if not logprobs:
            self._put(released)
        for number, (logprob, tops) in enumerate(logprobs):
            self._put(released if number == 0 else "", logprob, tops)

    def _put(self, text: str, logprob: TokenLogprob | None = None, tops: tuple[TokenLogprob, ...] = ()) -> None:
        if self._first_at is None:
            self._first_at = time.monotonic()
        self.handle.put(TokenEvent(self._n_events, -1, text, {}, logprob, tops))
        self._n_events += 1

    def end(self, reason: FinishReason, error: str = "") -> None:
        """Hand out the last event, once."""
        if self.is_ended:
            return
        self.is_ended = True
        rest = self.filter.release("", is_last=True)
        if rest:
            self._put(rest)
        submitted = self.handle.submitted_at
        timings = {"total": (time.monotonic() - submitted) * 1000, "queued": (self._started_at - submitted) * 1000}
        if self._first_at is not None:
            timings["first_token"] = (self._first_at - submitted) * 1000
        self.handle.put(FinishEvent(reason, self.filter.text, (), {}, timings, error))


def _refused(response: httpcore.Response) -> Exception:
    """The error of an answer that is no stream; one to try again where that may help."""
    body = b""
    for part in response.iter_stream():
        body += part
        if len(body) > MAX_ERROR_BYTES:
            break
    message = _refusal(response.status, body[:MAX_ERROR_BYTES])
    if response.status not in _TRY_AGAIN:
        return RemoteError(message)
    waits = [value for name, value in response.headers if name.lower() == b"retry-after"]
    delay = float(waits[0]) if waits and waits[0].isdigit() else None
    return _TryAgainError(message, delay)


def _refusal(status: int, body: bytes) -> str:
    if status in {401, 403}:
        return f"The server refuses the operator's key ({status})."
    if 300 <= status < 400:
        return f"The server redirects elsewhere ({status}), which is not followed; configure the final address."
    try:
        message = error_text(json.loads(body))
    except ValueError:
        message = ""  # not JSON: perhaps a proxy's page, of no use to a reader
    return f"The server answers {status}{': ' + message if message else ''}."


def _name(error: BaseException) -> str:
    return type(error).__name__
