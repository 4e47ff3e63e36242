"""Whether this process lives, and whether it can serve: for load balancers and supervisors."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
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
