"""Pages of releases: the list with the operators' button, one release, its files."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from arena.models import ArenaExport, Season
from arena.releases.tables import TABLES
from arena.services import releases
from arena.services.seasons import get_season
from arena.views.downloads import send_file
from arena.views.errors import answer_errors
from webapp.errors import ForbiddenError
from webapp.ownership import author_of

SHOWN = 100


@require_http_methods(["GET", "HEAD", "POST"])
@answer_errors
def release_list(request: HttpRequest) -> HttpResponse:
    """Show a season's releases; an operator begins one."""
    season = get_season(request.POST.get("season") or request.GET.get("season"))
    is_operator = author_of(request).is_operator
    if request.method == "POST":
        if not is_operator:
            raise ForbiddenError("Operators begin a release; everybody may have it when it is done.")
        return redirect(releases.request_release(season=season))
    rows = ArenaExport.objects.filter(season=season)
    context = {
        "season": season,
        "seasons": Season.objects.all(),
        "releases": rows.filter(released_at__isnull=False).select_related("entry").order_by("-tree_size")[:SHOWN],
        "in_the_making": rows.filter(released_at=None, status__in=["pending", "running"]).first(),
        "is_operator": is_operator,
        "every_days": releases.EVERY_DAYS,
    }
    return render(request, "arena/releases.html", context)


@require_GET
@answer_errors
def release(request: HttpRequest, release_id: uuid.UUID) -> HttpResponse:
    """Show a release with its files, or how far one in the making is."""
    found = releases.get_release(release_id)
    context = {"season": found.season, "release": found, "tables": TABLES}
    return render(request, "arena/release.html", context)


@require_GET
@answer_errors
def release_file(request: HttpRequest, release_id: uuid.UUID, name: str) -> HttpResponse | StreamingHttpResponse:
    """Send a released file."""
    return send_file(releases.open_file(releases.get_release(release_id), name))
