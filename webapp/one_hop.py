"""An ASGI handler that answers a request to a synchronous view in one thread hop, signals and middleware included.

Django's own gives each middleware two hops through the thread pool, starts a thread and two tasks for each request,
and hops again for its signals, which together cost more than most views. Asynchronous views, which stream, keep
Django's way. Synchronous ones pass a gate; those by which the operator looks after an overloaded process have a gate
and threads of their own, so that neither kind waits for the other.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve, set_script_prefix

from webapp.gate import Gate
from webapp.problems import overloaded
from webapp.waiting import MAX_WAITERS

OPERATING = ("/health/", "/metrics")
#: Threads of the operator's requests, and how many of them may wait for one.
N_OPERATING = 8
N_OPERATING_WAITING = 56
#: Bytes of a file that are read by one hop.
PIECE = 1 << 16
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class _SynchronousHandler(BaseHandler):
    """Django's synchronous chain; what was resolved before is not resolved again."""

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        if request.resolver_match is not None and not hasattr(request, "urlconf"):
            return request.resolver_match
        found: ResolverMatch = super().resolve_request(request)
        return found


class OneHopHandler(ASGIHandler):
    """Choose the synchronous chain of middleware for synchronous views, and for addresses that lead nowhere."""

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        self._synchronous = _SynchronousHandler()
        self._synchronous.load_middleware(is_async=False)
        self._gate = gate or Gate()
        self._operating_gate = Gate(N_OPERATING, N_OPERATING_WAITING)
        # Threads are kept: starting one, with its own objects for the database, costs as much as a query.
        self._threads = ThreadPoolExecutor(self._gate.n_places + MAX_WAITERS, "request")
        self._operating_threads = ThreadPoolExecutor(N_OPERATING, "operating")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match = _resolved(scope)
        if match is not None and iscoroutinefunction(match.func):
            await super().__call__(scope, receive, send)
            return
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            request, refusal = self.create_request(scope, body)
            if refusal is not None:
                await self.send_response(refusal, send)
                return
            assert request is not None
            request.resolver_match = match
            response = await self._response_of(request, scope)
            if response.streaming:
                await self._stream(response, receive, send)
            else:
                await self.send_response(response, send)

    async def _response_of(self, request: HttpRequest, scope: Scope) -> HttpResponseBase:
        is_operating = request.path_info.startswith(OPERATING)
        gate = self._operating_gate if is_operating else self._gate
        threads = self._operating_threads if is_operating else self._threads
        if not gate.try_enter():
            return overloaded(request)
        try:
            run = contextvars.copy_context().run
            return await asyncio.get_running_loop().run_in_executor(threads, run, self._in_turn, gate, request, scope)
        finally:
            gate.leave()

    def _in_turn(self, gate: Gate, request: HttpRequest, scope: Scope) -> HttpResponseBase:
        with gate.running():
            return self._answer(request, scope)

    def _answer(self, request: HttpRequest, scope: Scope) -> HttpResponseBase:
        """Return the response; all but streams are closed, which gives the database's connection back."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        response = self._synchronous.get_response(request)
        response._handler_class = type(self)  # type: ignore[attr-defined]  # the sender of the signal at its end
        if response.streaming:
            connections.close_all()  # what is streamed is read in a thread of its own
        else:
            response.close()
        return response

    async def _stream(self, response: HttpResponseBase, receive: Receive, send: Send) -> None:
        """Send a file or a long list until its end or until the client is gone; no more of it is held than a piece."""
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            response.streaming_content = _in_pieces(cast(Iterator[bytes], response.streaming_content))
        async with ThreadSensitiveContext():
            sending = asyncio.create_task(self.send_response(response, send))
            leaving = asyncio.create_task(self.listen_for_disconnect(receive))
            try:
                await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                outcome, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
                await sync_to_async(response.close)()
        if isinstance(outcome, Exception):
            raise outcome


async def _in_pieces(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what an iterator that blocks gives, read in a thread."""
    while piece := await sync_to_async(_next_piece)(content):
        yield piece


def _next_piece(content: Iterator[bytes]) -> bytes:
    found = bytearray()
    for part in content:
        found += part
        if len(found) >= PIECE:
            break
    return bytes(found)


def _resolved(scope: Scope) -> ResolverMatch | None:
    prefix = get_script_prefix(scope)
    path = scope["path"].removeprefix(prefix) if prefix else scope["path"]
    try:
        return resolve(path)
    except Resolver404:
        return None
