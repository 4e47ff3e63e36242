"""What each owner's expert adds to people's preference, by category."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from arena import charts
from arena.services.effects import FamilyEffects, expert_effects
from arena.services.seasons import get_season
from arena.views.errors import answer_errors


@require_GET
@answer_errors
def effects(request: HttpRequest) -> HttpResponse:
    """Show effects with intervals: a plot over all prompts, and a table by category."""
    season = get_season(request.GET.get("season"))
    report = expert_effects(season)
    context = {"season": season, "board": report.board, "families": [_shown(f) for f in report.families]}
    return render(request, "arena/effects.html", context)


def _shown(family: FamilyEffects) -> dict[str, Any]:
    titles = {expert.slug: expert.title for expert in family.experts}
    whole = family.categories[0]
    plotted = [
        {"contestant": slug, "rating": e.effect, "lower": e.lower, "upper": e.upper}
        for slug, e in sorted(whole.effects.items(), key=lambda item: -item[1].effect)
        if slug in titles
    ]
    return {
        "family": family,
        "untold": [(titles.get(slug, slug), reason) for slug, reason in whole.untold.items()],
        "plot": charts.interval_plot(plotted, titles),
        "rows": [
            {
                "expert": expert,
                "cells": [
                    {"effect": c.effects.get(expert.slug), "why": _why(c, expert.slug)} for c in family.categories
                ],
            }
            for expert in family.experts
        ],
    }


def _why(category: Any, slug: str) -> str:
    return str(category.fault or category.untold.get(slug, "not told by these votes"))
