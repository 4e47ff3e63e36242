"""How often one person, or one address, may ask: counted in windows of a minute in the shared cache.

Every view is counted, pages and interface alike, under the resource that it changes, or under
`read` when it changes nothing. A fixed window lets through at most twice its number around its
edge. What remains stands in every answer's `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache, caches
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from webapp.accounts.authentication import UnknownTokenError, token_user
from webapp.limit_settings import ARENA, GENERATE, MANAGE, READ, TRACE
from webapp.problems import CONTENT_TYPE, MACHINES, problem
from webapp.shared_cache import SharedRedisCache

WINDOW_S = 60
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PACKAGES = (("tracer", TRACE), ("webapp.playground", GENERATE), ("arena", ARENA))
EXEMPT = "webapp.operations"


@dataclass(frozen=True)
class Count:
    """Where a principal stands: `remaining` requests until the window ends in `reset_s` seconds."""

    resource: str
    limit: int
    remaining: int
    reset_s: int

    @property
    def is_over(self) -> bool:
        """Tell whether this request is one too many."""
        return self.remaining < 0

    def headers(self) -> dict[str, str]:
        """Return what announces the limit."""
        return {
            "RateLimit-Policy": f'"{self.resource}";q={self.limit};w={WINDOW_S}',
            "RateLimit": f'"{self.resource}";r={max(0, self.remaining)};t={self.reset_s}',
        }


def count_request(*, resource: str, principal: str) -> Count | None:
    """Count one request, atomically over all processes that share the cache; None where nothing is limited."""
    limit = settings.LIMITS[resource]
    if not limit:
        return None
    now = time.time()
    window = int(now // WINDOW_S)
    key = f"limit:{resource}:{principal}:{window}"
    shared = caches["default"]
    n_requests = shared.count(key, 2 * WINDOW_S) if isinstance(shared, SharedRedisCache) else _count_here(key)
    return Count(resource, limit, limit - n_requests, int((window + 1) * WINDOW_S - now) + 1)


def _count_here(key: str) -> int:
    """Count in this process's own cache."""
    cache.add(key, 0, 2 * WINDOW_S)  # does nothing where there is one
    try:
        return int(cache.incr(key))
    except ValueError:  # the cache dropped it in between
        return 1


def principal_of(request: HttpRequest) -> str:
    """Return whom a request counts for: a user, by session or valid token, else an address."""
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    try:
        user = token_user(request)
    except UnknownTokenError:
        user = None
    if user is not None:
        return f"user:{user.pk}"
    return f"address:{client_address(request)}"


def client_address(request: HttpRequest) -> str:
    """Return the client's address: the one that the outermost trusted proxy saw."""
    trusted: int = settings.TRUSTED_PROXIES
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if trusted and len(forwarded) >= trusted:
        return forwarded[-trusted]
    return str(request.META.get("REMOTE_ADDR", ""))


def resource_of(view: Callable[..., Any], method: str | None) -> str | None:
    """Return what a view's requests count for; None for probes and scrapes."""
    module = getattr(view, "cls", getattr(view, "view_class", view)).__module__
    if module == EXEMPT or module.startswith(f"{EXEMPT}."):
        return None
    if method in SAFE_METHODS:
        return READ
    for package, resource in PACKAGES:
        if module == package or module.startswith(f"{package}."):
            return resource
    return MANAGE


class LimitMiddleware(MiddlewareMixin):
    """Counts each request before its view, refuses one too many with 429, and announces what remains."""

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], arguments: Any, names: Any
    ) -> HttpResponseBase | None:
        """Refuse, or let the view answer."""
        resource = resource_of(view, request.method)
        if resource is None or not settings.LIMITS[resource]:
            return None
        count = count_request(resource=resource, principal=principal_of(request))
        request.limit_count = count  # type: ignore[attr-defined]
        return _refusal(request, count) if count is not None and count.is_over else None

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Announce the limit."""
        count: Count | None = getattr(request, "limit_count", None)
        if count is not None:
            for name, value in count.headers().items():
                response.headers[name] = value
        return response


def _refusal(request: HttpRequest, count: Count) -> HttpResponseBase:
    message = (
        f"More than {count.limit} requests a minute ({count.resource}). "
        f"Wait {count.reset_s} s, or ask the operator for more."
    )
    response: HttpResponseBase
    if request.path.startswith(MACHINES):
        response = JsonResponse(problem(429, message, "throttled"), status=429, content_type=CONTENT_TYPE)
    else:
        response = render(request, "error.html", {"error": {"message": message}}, status=429)
    response.headers["Retry-After"] = str(count.reset_s)
    return response
