"""Pages of one's account: tokens, one's data, deletion. Sign-in itself is django-allauth's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.accounts import services
from webapp.accounts.forms import TokenForm
from webapp.accounts.models import ApiToken
from webapp.errors import FairgroundError


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


@login_required
@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    """Show who one is here, one's roles, and where everything else is."""
    roles = _user(request).groups.values_list("name", flat=True)
    return render(request, "accounts/overview.html", {"roles": sorted(roles)})


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List one's tokens; on POST make one and show it this once."""
    form, made = TokenForm(request.POST or None), None
    if request.method == "POST" and form.is_valid():
        try:
            _, made = services.create_token(user=_user(request), **form.cleaned_data)
            form = TokenForm()
        except FairgroundError as error:
            form.add_error(None, error.message)
    listed = ApiToken.objects.filter(user=_user(request))
    status = 422 if form.errors else 200
    return render(request, "accounts/tokens.html", {"form": form, "made": made, "tokens": listed}, status=status)


@login_required
@require_POST
def revoke(request: HttpRequest, digest: str) -> HttpResponse:
    """End a token at once."""
    try:
        services.revoke_token(user=_user(request), digest=digest)
        messages.success(request, "The token is revoked.")
    except FairgroundError as error:
        messages.error(request, error.message)
    return redirect("accounts:tokens")


@never_cache
@login_required
@require_POST
def export(request: HttpRequest) -> StreamingHttpResponse:
    """Send everything the site keeps of the person as JSON lines."""
    lines: Iterator[str] = (
        json.dumps(record, ensure_ascii=False, default=str) + "\n"
        for record in services.export_account(user=_user(request))
    )
    response = StreamingHttpResponse(lines, content_type="application/jsonl; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="fairground-account.jsonl"'
    return response


@login_required
@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest) -> HttpResponse:
    """Say what deletion deletes and what stays; on POST delete."""
    error: FairgroundError | None = None
    if request.method == "POST":
        try:
            services.delete_account(user=_user(request), confirmation=request.POST.get("confirmation", ""))
            logout(request)
            messages.success(request, "Your account and what you made are deleted.")
            return redirect("home")
        except FairgroundError as raised:
            error = raised
    return render(request, "accounts/delete.html", {"error": error}, status=422 if error else 200)
