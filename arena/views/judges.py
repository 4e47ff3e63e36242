"""How automatic judges agree with people: all of a season, and one by category."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from arena import charts
from arena.quality.judges import JudgeAgreement
from arena.services.judges import MAX_VERDICTS, get_judge, report_judge, report_judges
from arena.services.releases import latest_release
from arena.services.seasons import get_season
from arena.views.errors import answer_errors


@require_GET
@answer_errors
def judge_list(request: HttpRequest) -> HttpResponse:
    """Show the judges of a season, and how to have one measured."""
    season = get_season(request.GET.get("season"))
    reports = report_judges(season)
    context = {
        "season": season,
        "reports": reports,
        "plots": agreement_plots([(report.judge.title, report.held_out) for report in reports]),
        "release": latest_release(season),
        "max_verdicts": MAX_VERDICTS,
    }
    return render(request, "arena/judges.html", context)


@require_GET
@answer_errors
def judge(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one judge."""
    season = get_season(request.GET.get("season"))
    report = report_judge(get_judge(slug), season)
    rows = [("All held-out", report.held_out), *report.categories.items()]
    context = {
        "season": season,
        "report": report,
        "rows": rows,
        "plots": agreement_plots(rows),
        "release": latest_release(season),
    }
    return render(request, "arena/judge.html", context)


def agreement_plots(rows: Sequence[tuple[str, JudgeAgreement]]) -> list[tuple[str, charts.IntervalPlot]]:
    """Return the plots of accuracy and κ, with those that have a value, in the order of the table."""
    plots = []
    for title, figure in (("Accuracy, in per cent", "accuracy"), ("Cohen's κ, times 100", "kappa")):
        shown, names = [], {}
        for number, (name, agreement) in enumerate(rows):
            found = getattr(agreement, figure)
            if found.value is None:
                continue
            low, high = (found.value if bound is None else bound for bound in (found.lower, found.upper))
            names[str(number)] = name
            shown.append(
                {"contestant": str(number), "rating": 100 * found.value, "lower": 100 * low, "upper": 100 * high}
            )
        plot = charts.interval_plot(shown, names)
        if plot is not None:
            plots.append((title, plot))
    return plots
