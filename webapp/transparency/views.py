"""Pages of the log: entries, their proofs, checkpoints, and a check of the whole log. Open to everybody."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.cache import cache
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from webapp.errors import BadInputError, BusyError, FairgroundError, NotFoundError
from webapp.transparency import verify
from webapp.transparency.exports import VERIFIER, verifier_digest, write_export
from webapp.transparency.keys import verifier
from webapp.transparency.kinds import KINDS
from webapp.transparency.models import Checkpoint, Entry
from webapp.transparency.proofs import (
    find_entry,
    newest_checkpoint,
    prove_consistency,
    prove_inclusion,
    require_checkpoint,
)
from webapp.transparency.review import Review

PAGE = 50
#: A longer log is checked by the offline verifier: a page must not keep a web process busy for minutes.
MAX_CHECKED_LEAVES = 20_000
#: One check at a time over all processes: it takes a core for seconds.
RUNNING = "log-review:running"
RUNNING_S = 300


@require_safe
def log(request: HttpRequest) -> HttpResponse:
    """List entries, newest first; `?before=` goes on from a leaf index."""
    return render(request, "transparency/log.html", _overview(request))


def _overview(request: HttpRequest) -> dict[str, Any]:
    newest = newest_checkpoint()
    found = Entry.objects.sequenced().order_by("-index")
    kind = request.GET.get("kind", "")
    if kind in KINDS:
        found = found.filter(kind=kind)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        found = found.filter(index__lt=int(before))
    rows = list(found[: PAGE + 1])
    return {
        "newest": newest,
        "entries": rows[:PAGE],
        "kinds": sorted(KINDS),
        "kind": kind if kind in KINDS else "",
        "older_than": rows[PAGE - 1].index if len(rows) > PAGE else None,
        "is_first_page": not before,
        "n_waiting": Entry.objects.pending().count(),
        "key": verifier().to_text(),
        "verifier_digest": verifier_digest(),
        "review": _known_review(newest),
        "can_check_here": newest is not None and newest.tree_size <= MAX_CHECKED_LEAVES,
        "max_checked": MAX_CHECKED_LEAVES,
    }


@require_safe
def entry(request: HttpRequest, entry: str) -> HttpResponse:
    """Show one entry with the proof that it stands in the newest tree."""
    try:
        found = find_entry(entry)
    except NotFoundError as error:
        return render(request, "error.html", {"error": error}, status=404)
    context: dict[str, Any] = {"entry": found, "leaf": json.dumps(json.loads(found.leaf), indent=2, ensure_ascii=False)}
    try:
        proof = prove_inclusion(found)
    except FairgroundError as error:
        context["waiting"] = error.message
    else:
        context |= {"proof": proof, "steps": proof.steps()}
    return render(request, "transparency/entry.html", context)


@require_safe
def checkpoints(request: HttpRequest) -> HttpResponse:
    """List checkpoints, newest first; `?before=` goes on from a number."""
    before = request.GET.get("before", "")
    found = Checkpoint.objects.order_by("-number")
    if before.isdecimal() and len(before) < 19:
        found = found.filter(number__lt=int(before))
    rows = list(found[: PAGE + 1])
    older_than = rows[PAGE - 1].number if len(rows) > PAGE else None
    return render(request, "transparency/checkpoints.html", {"checkpoints": rows[:PAGE], "older_than": older_than})


@require_safe
def checkpoint(request: HttpRequest, tree_size: int) -> HttpResponse:
    """Show one checkpoint, and the proof that the newest log begins with its tree."""
    try:
        found = require_checkpoint(tree_size)
    except NotFoundError as error:
        return render(request, "error.html", {"error": error}, status=404)
    proof = prove_consistency(tree_size)
    return render(request, "transparency/checkpoint.html", {"checkpoint": found, "proof": proof})


@require_safe
def offline_verifier(request: HttpRequest) -> FileResponse:
    """Send the verifier: one file that shares no code with the site."""
    return FileResponse(VERIFIER.open("rb"), as_attachment=True, filename="verify.py", content_type="text/x-python")


@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Check the whole log here, with the verifier that everybody may download; the result of a tree is kept."""
    try:
        review = _check(require_checkpoint())
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)
    return render(request, "transparency/log.html", {**_overview(request), "review": review, "is_fresh": True})


def _check(newest: Checkpoint) -> Review:
    known = _known_review(newest)
    if known is not None:
        return known
    if newest.tree_size > MAX_CHECKED_LEAVES:
        raise BadInputError(
            f"The log has {newest.tree_size} leaves; at most {MAX_CHECKED_LEAVES} are checked here. "
            "Download the log, which holds the verifier, and check it offline."
        )
    if not cache.add(RUNNING, 1, timeout=RUNNING_S):
        raise BusyError("The log is being checked at this moment. Look again soon.", retry_after_s=10)
    try:
        return _check_now()
    finally:
        cache.delete(RUNNING)


def _check_now() -> Review:
    with tempfile.TemporaryDirectory() as folder:
        written = write_export(Path(folder))
        review = Review.of(verify.verify(Path(folder)), tree_size=written.tree_size)
    cache.set(_review_key(written), asdict(review), timeout=86_400)
    return review


def _known_review(newest: Checkpoint | None) -> Review | None:
    found = cache.get(_review_key(newest)) if newest is not None else None
    return Review(**found) if found else None


def _review_key(newest: Checkpoint) -> str:
    return f"log-review:{newest.tree_size}:{bytes(newest.root_hash).hex()}"
