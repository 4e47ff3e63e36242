"""Whether this process lives, and whether it can serve: for load balancers and supervisors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.decorators import sync_and_async_middleware
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from webapp.operations.checks import READINESS
from webapp.operations.findings import Level, run_checks


@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Answer at once: the process lives. Restart it when this does not answer."""
    return JsonResponse({"status": "live"})


@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when requests can be served, else 503. Names what is at fault, never an address or a secret."""
    findings = list(run_checks(READINESS))
    faults = [finding.check for finding in findings if finding.level is Level.FAULT]
    body = {
        "status": "not ready" if faults else "ready",
        "checks": {finding.check: str(finding.level) for finding in findings},
    }
    return JsonResponse(body, status=503 if faults else 200)


PROBES = {"/health/live": live, "/health/ready": ready}
Handler = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def probe_middleware(get_response: Handler) -> Handler:
    """Answer probes before any other middleware.

    Load balancers ask by address and in plain HTTP, so the host's name is not checked and nothing is
    redirected; and a process lives also while sessions or cache are away.
    """
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            probe = PROBES.get(request.path_info)
            return await (get_response(request) if probe is None else sync_to_async(probe)(request))

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        response = get_response(request) if probe is None else probe(request)
        assert isinstance(response, HttpResponseBase)
        return response

    return answer
