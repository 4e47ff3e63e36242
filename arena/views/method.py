"""How the arena works, made from the policy that is in force: the page cannot say anything else than the code does."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from arena.policy import EXCLUSION_RULES, ROSTER_RULES
from arena.services.audit.limits import limits_of
from arena.services.seasons import current_policy, get_season
from arena.views.errors import answer_errors


@require_GET
@answer_errors
def method(request: HttpRequest) -> HttpResponse:
    """Show a season's rules with all parameters, and every earlier version."""
    season = get_season(request.GET.get("season"))
    policy = current_policy(season)
    context = {
        "season": season,
        "policy": policy,
        "sentences": [line.removeprefix("- ") for line in policy.document.splitlines() if line.startswith("- ")],
        "parameters": sorted(policy.rules.items()),
        "exclusion_rules": EXCLUSION_RULES,
        "roster_rules": ROSTER_RULES,
        "limits": limits_of(season),
        "versions": season.policies.select_related("entry").order_by("-version"),
    }
    return render(request, "arena/method.html", context)
