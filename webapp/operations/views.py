"""The operator's page: what is at fault, what waits, what failed; retry and cancel."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from webapp.errors import FairgroundError
from webapp.jobs import JobStatus
from webapp.operations import services
from webapp.operations.checks import READINESS, check_jobs, check_workers
from webapp.operations.findings import run_checks
from webapp.operations.jobs import JOB_MODELS
from webapp.roles import Role, has_role

MAX_LISTED = 50
View = Callable[..., HttpResponse]


def operators_only(view: View) -> View:
    """Ask strangers to sign in; to others who are signed in the page is not there."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not has_role(request.user, Role.OPERATOR):
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


@never_cache
@require_GET
@operators_only
def overview(request: HttpRequest) -> HttpResponse:
    """Show findings, jobs that wait or run, and recent failures."""
    unfinished, failed = [], []
    for kind, model in JOB_MODELS.items():
        rows = model.objects.only("id", "status", "error", "created_at", "n_starts")
        unfinished += [(kind, job) for job in rows.unfinished().order_by("created_at")[:MAX_LISTED]]
        failed += [(kind, job) for job in rows.filter(status=JobStatus.FAILED).order_by("-created_at")[:MAX_LISTED]]
    context = {
        "findings": list(run_checks(READINESS | {"workers": check_workers, "jobs": check_jobs})),
        "unfinished": sorted(unfinished, key=lambda entry: entry[1].created_at)[:MAX_LISTED],
        "failed": sorted(failed, key=lambda entry: entry[1].created_at, reverse=True)[:MAX_LISTED],
    }
    return render(request, "operations/overview.html", context)


@require_POST
@operators_only
def act(request: HttpRequest, kind: str, job_id: Any, action: str) -> HttpResponse:
    """Queue a failed job again, or end one that waits or runs."""
    act_on: dict[str, Callable[..., None]] = {"retry": services.retry_job, "cancel": services.cancel_job}
    if action not in act_on:
        raise Http404
    try:
        act_on[action](kind=kind, job_id=job_id)
        messages.success(request, f"{action.capitalize()} of {kind} {job_id}: done.")
    except FairgroundError as error:
        messages.error(request, error.message)
    return redirect("operations:overview")
