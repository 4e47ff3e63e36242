"""The playground's pages. Everything works with links and forms; scripts only add the live stream."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.errors import FairgroundError, NotFoundError
from webapp.ownership import author_of
from webapp.playground import services
from webapp.playground.availability import withdrawn_slugs
from webapp.playground.comparing import own_comparisons
from webapp.playground.conversations import first_question, own_conversations, shown_turns
from webapp.playground.question_form import answer_context, form_context, kept_values, question_link, read_question
from webapp.playground.routing import routing_context

N_LISTED = 30


@require_http_methods(["GET", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """Offer the form; on POST start an answer and go to its permalink. A link or preset may fill it, never submit."""
    if request.method != "POST":
        return render(request, "playground/home.html", form_context(request.GET))
    if request.POST.get("preset") or request.POST.get("fill"):
        return render(request, "playground/home.html", form_context(request.POST, is_submitted=True))
    try:
        question = read_question(request.POST, author_of(request, remember=True))
        made = services.start_generation(**question)
        return HttpResponseRedirect(f"{made.get_absolute_url()}#answer", status=303)
    except FairgroundError as error:
        context = form_context(request.POST, error=error, is_submitted=True)
        return render(request, "playground/home.html", context, status=422)


@require_GET
def history(request: HttpRequest) -> HttpResponse:
    """List one's own conversations, newest first; `?before=` goes on."""
    before = _moment(request.GET.get("before", ""))
    listed = list(own_conversations(author_of(request), before=before)[: N_LISTED + 1])
    shown = listed[:N_LISTED]
    context = {
        "conversations": [
            {"last": one, "title": first_question(one), "n_turns": sum(t["role"] == "user" for t in one.messages) + 1}
            for one in shown
        ],
        "next": shown[-1].created_at.isoformat() if len(listed) > N_LISTED else "",
        "is_first_page": before is None,
        "comparisons": [] if before else own_comparisons(author_of(request))[:N_LISTED],
    }
    return render(request, "playground/history.html", context)


def _moment(text: str) -> datetime | None:
    """Return the time that a link to a further page names; None for none, or one that cannot be read."""
    try:
        moment = parse_datetime(text[:40])
    except ValueError:
        return None
    return moment if moment is None or timezone.is_aware(moment) else timezone.make_aware(moment)


@require_GET
def generation(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponse:
    """Show an answer with the form that made it; while it is made, the page's script relays the stream."""
    author = author_of(request)
    try:
        made = services.get_generation(generation_id, author=author)
    except NotFoundError as error:
        return render(request, "404.html", {"exception": error.message}, status=404)
    context = answer_context(made) | {
        "generation": made,
        "is_own": made.is_owned_by(author),
        "turns": shown_turns(made),
        "question_link": question_link(made),
        "kept": kept_values(made),
        **routing_context(made),
        "withdrawn": [slug for slug in made.experts if slug in withdrawn_slugs(made.checkpoint)],
    }
    return render(request, "playground/home.html", context)


@require_POST
def stop(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponse:
    """Stop an answer and go back to it."""
    try:
        return redirect(services.cancel_generation(generation_id, author=author_of(request)))
    except FairgroundError as error:
        return _refuse(request, error)


@require_POST
def share(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponse:
    """Change who may read one's own answer, and go back to it."""
    visibility = request.POST.get("visibility", "")
    try:
        return redirect(services.share_generation(generation_id, author=author_of(request), visibility=visibility))
    except FairgroundError as error:
        return _refuse(request, error)


@require_POST
def delete(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponse:
    """Delete one's own answer and its trace."""
    try:
        services.delete_generation(generation_id, author=author_of(request))
    except FairgroundError as error:
        return _refuse(request, error)
    messages.success(request, "The answer and its trace are deleted.")
    return redirect("playground:home")


@require_POST
def show_matches(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponse:
    """Start the trace of an answer and go back to it."""
    author = author_of(request)
    try:
        services.trace_generation(generation_id, author=author)
        made = services.get_generation(generation_id, author=author)
    except FairgroundError as error:
        return _refuse(request, error)
    return HttpResponseRedirect(f"{made.get_absolute_url()}#matches", status=303)


def _refuse(request: HttpRequest, error: FairgroundError) -> HttpResponse:
    return render(request, "error.html", {"error": error}, status=error.status)
