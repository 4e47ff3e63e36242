"""What operators do about builds from a corpus's page: start, resume, discard."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from tracer import build_requests
from tracer.models import Corpus, IndexBuild
from webapp.errors import BadInputError, FairgroundError
from webapp.ownership import author_of

BYTES, FOLDED = "bytes", "folded"
ACTIONS = {"resume": build_requests.request_resume, "discard": build_requests.request_discard}


@require_POST
def build_start(request: HttpRequest, slug: str) -> HttpResponse:
    """Queue the build of an index and go back to the corpus."""
    corpus = get_object_or_404(Corpus, slug=slug)
    form = request.POST
    kind, shards = form.get("kind", ""), form.get("n_shards", "").strip()
    try:
        if shards and not (shards.isascii() and shards.isdecimal() and len(shards) < 9):
            raise BadInputError(f"{shards[:20]!r} is no number of shards.", field="shards")
        build_requests.request_build(
            slug=slug,
            author=author_of(request),
            tokenizer=kind,
            is_bytes=kind in (BYTES, FOLDED),
            folds_case=kind == FOLDED,
            n_shards=int(shards) if shards else None,
        )
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=422 if error.status == 400 else error.status)
    messages.success(request, "The index waits to be built.")
    return redirect(corpus)


@require_POST
def build_act(request: HttpRequest, build_id: uuid.UUID, action: str) -> HttpResponse:
    """Resume or discard a build and go back to its corpus."""
    if action not in ACTIONS:
        raise Http404
    corpus = get_object_or_404(IndexBuild.objects.select_related("corpus"), pk=build_id).corpus
    try:
        ACTIONS[action](build_id, author=author_of(request))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)
    return redirect(corpus)
