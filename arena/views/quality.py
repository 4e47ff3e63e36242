"""Whether votes can be trusted, as counts: no voter can be told from this page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from arena.services.quality import MIN_JUDGED, quality_report
from arena.services.seasons import current_policy, get_season, rules_of
from arena.views.errors import answer_errors


@require_GET
@answer_errors
def quality(request: HttpRequest) -> HttpResponse:
    """Show gates, counts of voters, what rules have set aside, and agreement."""
    season = get_season(request.GET.get("season"))
    context = {
        "season": season,
        "report": quality_report(season),
        "rules": rules_of(current_policy(season)),
        "min_judged": MIN_JUDGED,
    }
    return render(request, "arena/quality.html", context)
