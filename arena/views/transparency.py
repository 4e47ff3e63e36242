"""What the arena shows of itself: sampling, shares of the data, exclusions, removals, private variants, rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from arena import charts
from arena.models import Contestant, LicenceGroup, Provider, Season
from arena.services.seasons import get_season
from arena.services.transparency.report import TransparencyReport, transparency_report
from arena.services.transparency.sampling import SampledRow
from arena.services.transparency.scope import Scope, scope_of
from arena.views.boards import contestants_of
from arena.views.errors import answer_errors
from arena.views.slices import read_day, read_tree_size

MAX_PLOTTED = 24
LABELS = {"contestant": "contestant", "provider": "provider", "licence_group": "licence group"}


@require_GET
@answer_errors
def transparency(request: HttpRequest) -> HttpResponse:
    """Show a season's report for the days `from` to `to`, at any tree size."""
    scope = read_scope(request.GET)
    report = transparency_report(scope)
    contestants = contestants_of(scope.season)
    names = shown_names(contestants)
    context = {
        "season": scope.season,
        "seasons": Season.objects.all(),
        "scope": scope,
        "report": report,
        "sampling": _sampling(report, names),
        "shares": _shares(report, names),
        "removals": [{"row": row, "contestant": contestants[row.contestant]} for row in report.roster.removals],
        "tested": [{"row": row, "contestant": contestants[row.contestant]} for row in report.roster.tested],
        "variants": [{"row": row, "shown": names["provider"][row.provider]} for row in report.roster.variants],
        "groups": [
            {"row": row, "shown": names["licence_group"][row.licence_group], "percent": 100 * row.share_removed}
            for row in report.roster.groups
        ],
        "excluded_percent": 100 * report.exclusions.share,
        "level_percent": f"{100 * report.level:g}",
        "days": _neighbours(scope),
        "query": query_of(scope),
    }
    return render(request, "arena/transparency.html", context)


def read_scope(query: QueryDict) -> Scope:
    """Return the scope that a query names; raises a domain error for one that cannot be used."""
    return scope_of(
        get_season(query.get("season")),
        first=read_day(query, "from"),
        last=read_day(query, "to"),
        size=read_tree_size(query),
    )


def query_of(scope: Scope) -> str:
    """Return the query string that leads to a scope again, at the same tree size."""
    parts = {"season": scope.season.slug, "from": scope.first, "to": scope.last, "tree_size": scope.tree_size}
    return urlencode({name: value for name, value in parts.items() if value is not None})


def shown_names(contestants: Mapping[str, Contestant]) -> dict[str, dict[str, str]]:
    """Return what contestants, providers and licence groups are called on a page, by grouping and name."""
    return {
        "contestant": {key: contestant.shown_title for key, contestant in contestants.items()},
        "provider": dict(Provider.objects.values_list("slug", "name")),
        "licence_group": {str(value): str(label) for value, label in LicenceGroup.choices},
    }


def _sampling(report: TransparencyReport, names: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "grouping": LABELS[grouping],
            "rows": [
                {
                    "row": row,
                    "shown": names[grouping][row.name],
                    "planned_percent": 100 * row.planned_rate,
                    "realised_percent": 100 * row.realised_rate,
                }
                for row in rows
            ],
            "plot": _plot(rows, names[grouping]),
            "n_left_out": max(0, len(rows) - MAX_PLOTTED),
            "n_outside": sum(not row.is_within for row in rows),
        }
        for grouping, rows in report.sampling.items()
    ]


def _shares(report: TransparencyReport, names: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "grouping": LABELS[grouping],
            "rows": [{"row": row, "shown": names[grouping][row.name], "percent": 100 * row.share} for row in rows],
        }
        for grouping, rows in report.shares.items()
    ]


def _plot(rows: Sequence[SampledRow], names: Mapping[str, str]) -> charts.IntervalPlot | None:
    """Return the plot of those that were realised most often: their interval, and the realised number as a dot."""
    if len(rows) < 2:
        return None
    shown = sorted(rows, key=lambda row: (-row.realised, row.name))[:MAX_PLOTTED]
    return charts.interval_plot(
        [{"contestant": row.name, "lower": row.lower, "upper": row.upper, "rating": row.realised} for row in shown],
        names,
    )


def _neighbours(scope: Scope) -> list[tuple[str, str]]:
    """Return the links to single days: the day before and after the one shown, else today and yesterday."""
    today = timezone.now().astimezone(UTC).date()
    one = scope.first if scope.first and scope.first == scope.last else None
    days: list[tuple[str, date]] = []
    if one:
        days.append((str(one - timedelta(days=1)), one - timedelta(days=1)))
    if one and one < today:
        days.append((str(one + timedelta(days=1)), one + timedelta(days=1)))
    if not one:
        days = [("today", today), ("yesterday", today - timedelta(days=1))]
    return [(label, urlencode({"season": scope.season.slug, "from": day, "to": day})) for label, day in days]
