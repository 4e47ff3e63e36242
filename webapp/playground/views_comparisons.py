"""Pages of comparisons: asked from the playground's form, read side by side."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapp.errors import FairgroundError, NotFoundError
from webapp.ownership import Visibility, author_of
from webapp.playground import comparing
from webapp.playground.comparison_page import comparison_context
from webapp.playground.models import Comparison
from webapp.playground.question_form import form_context, question_link, read_question


@require_POST
def compare(request: HttpRequest) -> HttpResponse:
    """Ask the form's question under two masks, or under each mask that leaves one expert out."""
    author = author_of(request, remember=True)
    kind = request.POST.get("kind", "")
    try:
        question = read_question(request.POST, author)
        mask = question.pop("experts")
        masks = [mask, request.POST.getlist("other_experts")] if kind == Comparison.Kind.MASKS else None
        comparison = comparing.start_comparison(kind=kind, masks=masks, **question)
    except FairgroundError as error:
        context = form_context(request.POST, error=error, is_submitted=True)
        return render(request, "playground/home.html", context, status=422)
    return HttpResponseRedirect(comparison.get_absolute_url(), status=303)


@require_GET
def comparison(request: HttpRequest, comparison_id: uuid.UUID) -> HttpResponse:
    """Show all sides; while some are made the page looks again by itself, or by a link."""
    author = author_of(request)
    try:
        found, sides = comparing.get_comparison(comparison_id, author=author)
    except NotFoundError as error:
        return render(request, "404.html", {"exception": error.message}, status=404)
    context = comparison_context(found, sides, author) | {
        "is_finished": comparing.is_finished(sides),
        "n_finished": sum(side.is_finished for side in sides),
        "may_trace": any(side.text.strip() and side.trace is None for side in sides),
        "is_own": all(side.is_owned_by(author) for side in sides),
        "visibilities": Visibility.choices,
        "question_link": question_link(sides[0]),
    }
    return render(request, "playground/comparison.html", context)


@require_POST
def show_matches(request: HttpRequest, comparison_id: uuid.UUID) -> HttpResponse:
    """Trace all sides and go back to them."""
    try:
        comparing.trace_comparison(comparison_id, author=author_of(request))
    except FairgroundError as error:
        return _refuse(request, error)
    address = reverse("playground:comparison", args=[comparison_id])
    return HttpResponseRedirect(f"{address}#corpora", status=303)


@require_POST
def stop(request: HttpRequest, comparison_id: uuid.UUID) -> HttpResponse:
    """Stop all sides and go back to them."""
    try:
        comparing.stop_comparison(comparison_id, author=author_of(request))
    except FairgroundError as error:
        return _refuse(request, error)
    return redirect("playground:comparison", comparison_id)


@require_POST
def share(request: HttpRequest, comparison_id: uuid.UUID) -> HttpResponse:
    """Change who may read all sides, and go back to them."""
    visibility = request.POST.get("visibility", "")
    try:
        comparing.share_comparison(comparison_id, author=author_of(request), visibility=visibility)
    except FairgroundError as error:
        return _refuse(request, error)
    return redirect("playground:comparison", comparison_id)


@require_POST
def delete(request: HttpRequest, comparison_id: uuid.UUID) -> HttpResponse:
    """Delete one's own comparison with its answers and traces."""
    try:
        comparing.delete_comparison(comparison_id, author=author_of(request))
    except FairgroundError as error:
        return _refuse(request, error)
    messages.success(request, "The comparison, its answers and their traces are deleted.")
    return redirect("playground:history")


def _refuse(request: HttpRequest, error: FairgroundError) -> HttpResponse:
    return render(request, "error.html", {"error": error}, status=error.status)
