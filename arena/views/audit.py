"""The arena held against the Agentic Benchmark Checklist, and what it cannot prove."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from arena.services.audit.report import self_audit
from arena.services.seasons import get_season
from arena.services.transparency.scope import scope_of
from arena.views.errors import answer_errors


@require_GET
@answer_errors
def audit(request: HttpRequest) -> HttpResponse:
    """Show the audit of a season as it is now."""
    season = get_season(request.GET.get("season"))
    return render(request, "arena/audit.html", {"season": season, "audit": self_audit(scope_of(season))})
