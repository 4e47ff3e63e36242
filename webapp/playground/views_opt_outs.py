"""The page of opt-outs: who withdrew what, for everybody; the switch, for owners and operators."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from webapp.errors import FairgroundError
from webapp.ownership import Author, author_of
from webapp.playground import optout
from webapp.playground.models import Expert, OptOut


@require_GET
def opt_outs(request: HttpRequest) -> HttpResponse:
    """Show which owners have opted out, and to those who may, what they can withdraw."""
    return render(request, "playground/opt_outs.html", _context(author_of(request)))


@require_POST
def opt_out(request: HttpRequest) -> HttpResponse:
    """Withdraw an expert or an owner's experts, and go back to the page that asked."""
    subject, reason = request.POST.get("subject", ""), request.POST.get("reason", "")
    try:
        row = optout.opt_out(subject=subject, reason=reason, author=author_of(request))
    except FairgroundError as error:
        context = _context(author_of(request)) | {"error": error, "subject": subject, "reason": reason}
        return render(request, "playground/opt_outs.html", context, status=422 if error.status == 400 else error.status)
    messages.success(request, f"{row} is withdrawn: out of memory within seconds, out of pages and arena.")
    return _back(request)


@require_POST
def opt_in(request: HttpRequest) -> HttpResponse:
    """End an opt-out, and go back to the page that asked."""
    try:
        row = optout.opt_in(subject=request.POST.get("subject", ""), author=author_of(request))
    except FairgroundError as error:
        context = _context(author_of(request)) | {"error": error}
        return render(request, "playground/opt_outs.html", context, status=422 if error.status == 400 else error.status)
    messages.success(request, f"{row} may be used again.")
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=False)
    return redirect(target if is_ours else "playground:opt-outs")


def _context(author: Author) -> dict[str, Any]:
    experts = list(Expert.objects.available().select_related("checkpoint"))
    rows = OptOut.objects.select_related("expert__checkpoint").order_by("-created_at")
    return {
        "standing": [{"row": row, "may_end": optout.may_end(row, author)} for row in rows if row.ended_at is None],
        "ended": [row for row in rows if row.ended_at is not None],
        "switchable": optout.switchable(experts, author),
        "owners": sorted({expert.owner for expert in experts}) if author.is_operator else [],
        "max_reason": optout.MAX_REASON,
    }
