"""Gives every request an id that stands in its response and in every log line it causes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase

from webapp.identifiers import uuid7

#: Counts answers of status 500 and above, over all processes that share the cache.
ERRORS_KEY = "operations:server-errors"
_SAFE = re.compile(r"[A-Za-z0-9-]{8,64}")
Handler = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class RequestIdMiddleware:
    """Take a well-formed X-Request-ID from the proxy or make one; works for sync and async views."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._call_async(request)
        request_id = self._begin(request)
        response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        return self._end(response, request_id)

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        request_id = self._begin(request)
        response = self.get_response(request)
        assert not isinstance(response, HttpResponseBase)
        answered = await response
        if answered.status_code >= 500:
            return await sync_to_async(self._end)(answered, request_id)
        return self._end(answered, request_id)

    @staticmethod
    def _begin(request: HttpRequest) -> str:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _SAFE.fullmatch(given) else str(uuid7())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        return request_id

    @staticmethod
    def _end(response: HttpResponseBase, request_id: str) -> HttpResponseBase:
        response["X-Request-ID"] = request_id
        if response.status_code >= 500:
            with suppress(Exception):  # the cache may be what is away
                cache.add(ERRORS_KEY, 0, timeout=None)
                cache.incr(ERRORS_KEY)
        return response
