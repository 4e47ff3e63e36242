"""The playground's pages. Everything works with links and forms; scripts only add the live stream."""

from __future__ import annotations

import math
import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.errors import BadInputError, FairgroundError, NotFoundError
from webapp.ownership import Visibility, author_of
from webapp.playground import services
from webapp.playground.availability import available_experts, withdrawn_slugs
from webapp.playground.models import Checkpoint, Generation
from webapp.playground.routing import routing_context

DEFAULTS = {"max_tokens": "160", "temperature": "0.7", "top_p": "0.95", "seed": ""}
EXAMPLES = (
    ("numerics", "def numpy.linalg.solve(a, b)\n\n"),
    ("web", "class django.views.generic.list.ListView\n\n"),
    ("learning", "class torch.nn.modules.linear.Linear\n\n"),
    ("symbolic", "def sympy.simplify.simplify(expr)\n\n"),
)


@require_http_methods(["GET", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """Offer the form; on POST start an answer and go to its permalink. A link may prefill, never submit."""
    if request.method == "POST":
        try:
            return HttpResponseRedirect(_start(request).get_absolute_url(), status=303)
        except FairgroundError as error:
            context = _context(request.POST, error=error, is_submitted=True)
            return render(request, "playground/home.html", context, status=422)
    return render(request, "playground/home.html", _context(request.GET))


def _start(request: HttpRequest) -> Generation:
    form = request.POST
    return services.start_generation(
        prompt=form.get("prompt", "").replace("\r\n", "\n"),
        experts=form.getlist("experts"),
        max_tokens=int(_number(form, "max_tokens")),
        temperature=_number(form, "temperature"),
        top_p=_number(form, "top_p"),
        seed=int(_number(form, "seed")) if form.get("seed", "").strip() else None,
        checkpoint=form.get("checkpoint") or None,
        author=author_of(request, remember=True),
        visibility=form.get("visibility") or Visibility.LINK,
    )


def _number(form: QueryDict, name: str) -> float:
    raw = form.get(name, "").strip() or DEFAULTS[name]
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInputError(f"{name} is {raw!r}, which is not a number.", field=name)
    return value


def _context(form: QueryDict, *, error: FairgroundError | None = None, is_submitted: bool = False) -> dict[str, Any]:
    """Return what the form needs; what was typed stays. A link that names no expert means all of them."""
    checkpoint: Checkpoint | None = None
    try:
        checkpoint = services.default_checkpoint(form.get("checkpoint") or None)
    except NotFoundError as missing:
        error = error or missing
    chosen = form.getlist("experts")
    everyone = not chosen and not is_submitted
    values = {name: form.get(name, default) for name, default in DEFAULTS.items()}
    return {
        "checkpoint": checkpoint,
        "experts": [
            {"expert": expert, "is_on": everyone or expert.slug in chosen, "share": None}
            for expert in (available_experts(checkpoint) if checkpoint else ())
        ],
        "prompt": form.get("prompt", ""),
        "values": values,
        "examples": EXAMPLES,
        "error": error,
    }


@require_GET
def generation(request: HttpRequest, generation_id: uuid.UUID) -> HttpResponse:
    """Show an answer with the form that made it; while it is made, the page's script relays the stream."""
    author = author_of(request)
    try:
        made = services.get_generation(generation_id, author=author)
    except NotFoundError as error:
        return render(request, "404.html", {"exception": error.message}, status=404)
    context = _context(QueryDict())
    context |= {
        "generation": made,
        "is_own": made.is_owned_by(author),
        "visibilities": Visibility.choices,
        "checkpoint": made.checkpoint,
        "prompt": made.prompt,
        "values": {name: getattr(made, name) for name in DEFAULTS},
        "experts": [
            {
                "expert": expert,
                "is_on": expert.slug in made.experts,
                "share": made.routing_shares.get(expert.slug),
                "percent": round(100 * made.routing_shares.get(expert.slug, 0)),
            }
            for expert in available_experts(made.checkpoint)
        ],
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
