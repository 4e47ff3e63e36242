"""Pages: all owners, and one owner with contributions, use, figures and the switch."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.errors import FairgroundError
from webapp.owners.charts import day_plot
from webapp.owners.reading import WINDOWS, list_owners, read_owner
from webapp.ownership import author_of
from webapp.playground.optout import MAX_REASON


@require_GET
def owner_list(request: HttpRequest) -> HttpResponse:
    """List the owners of experts and corpora."""
    return render(request, "owners/owner_list.html", {"owners": list_owners(author_of(request))})


@require_GET
def owner_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """Show an owner; `?days=` chooses over how many days."""
    asked = request.GET.get("days", "")
    n_days = int(asked) if asked in map(str, WINDOWS) else WINDOWS[1]
    author = author_of(request)
    try:
        owner = read_owner(slug, author, n_days=n_days)
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)
    context = {
        "owner": owner,
        "rows": [{"one": one, "plot": day_plot(one.days or (), owner.first, owner.last)} for one in owner.experts],
        "sees_figures": any(one.is_mine for one in owner.experts),
        "is_operator": author.is_operator,
        "windows": WINDOWS,
        "n_days": n_days,
        "max_reason": MAX_REASON,
    }
    return render(request, "owners/owner_detail.html", context)
