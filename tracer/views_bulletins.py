"""Pages of contamination bulletins: the list with its form, and one bulletin with table, plot and examples."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tracer import benchmark_files, bulletins
from tracer.bulletin_plot import draw_bulletin
from tracer.bulletin_report import LEVELS, list_items, present_bulletin
from tracer.models import Benchmark, Bulletin, Corpus
from webapp.errors import BadInputError, BusyError, FairgroundError
from webapp.jobs import JobStatus
from webapp.ownership import Author, Visibility, author_of

MAX_LISTED = 20
ITEMS_PER_PAGE = 25
CONTEXT_CHARACTERS = 120
N_OPEN_EXAMPLES = 3
DESCRIPTIONS = {
    "dirty": "Dirty",
    "suspicious": "Suspicious",
    "clean": "Clean",
    "short": "Too short",
}


@require_http_methods(["GET", "POST"])
def bulletin_list(request: HttpRequest) -> HttpResponse:
    """Offer the form and list bulletins; on POST store the benchmark and queue its bulletin."""
    error: FairgroundError | None = None
    if request.method == "POST":
        try:
            return redirect(_request_from_form(request))
        except FairgroundError as raised:
            error = raised
    author = author_of(request)
    rows = Bulletin.objects.select_related("benchmark").defer("benchmark__n_windows")
    context = {
        "corpora": Corpus.objects.traceable(),
        "here": set(Corpus.objects.indexed_here().values_list("slug", flat=True)),
        "chosen": request.POST.getlist("corpora"),
        "benchmarks": Benchmark.objects.exclude(slug=None).defer("n_windows"),
        "posted": request.POST.dict() if request.method == "POST" else request.GET.dict(),
        "visibilities": Visibility.choices,
        "own": rows.filter(pk__in=Bulletin.objects.owned_by(author).values("pk"))[:MAX_LISTED],
        "public": rows.filter(visibility=Visibility.PUBLIC)[:MAX_LISTED],
        "max_mib": benchmark_files.MAX_UPLOAD_BYTES // 2**20,
        "max_items": benchmark_files.MAX_ITEMS,
        "error": error,
    }
    status = 200 if error is None else error.status if isinstance(error, BusyError) else 422
    response = render(request, "tracer/bulletin_list.html", context, status=status)
    if isinstance(error, BusyError):
        response["Retry-After"] = str(error.retry_after_s)
    return response


def _request_from_form(request: HttpRequest) -> Bulletin:
    form, file = request.POST, request.FILES.get("file")
    known = form.get("benchmark", "")
    if (file is None) == (not known):
        raise BadInputError("Choose a file, or one of the site's benchmarks.", field="file")
    return bulletins.measure_benchmark(
        content=None if file is None else _content(file),
        field=form.get("field", ""),
        title=form.get("title", "") or (file.name or "" if file is not None else ""),
        benchmark=known,
        corpora=form.getlist("corpora"),
        author=author_of(request, remember=True),
        visibility=form.get("visibility") or Visibility.LINK,
    )


def _content(file: UploadedFile[Any]) -> bytes:
    """Return a file's bytes; one byte more than may be taken is enough to be refused."""
    content: bytes = file.read(benchmark_files.MAX_UPLOAD_BYTES + 1)
    return content


@require_GET
def bulletin_detail(request: HttpRequest, bulletin_id: uuid.UUID) -> HttpResponse:
    """Show a bulletin; `?corpus=`, `?level=` and `?start=` pick the items that are listed."""
    author = author_of(request)
    bulletin = get_object_or_404(Bulletin.objects.readable_by(author).select_related("benchmark"), pk=bulletin_id)
    shown = present_bulletin(bulletin, author=author)
    for part in shown["parts"]:
        part["cells"] = [_cell(part["levels"], level) for level in DESCRIPTIONS]
        examples = [_cut(example) for example in part["examples"]]
        part["examples"], part["more_examples"] = examples[:N_OPEN_EXAMPLES], examples[N_OPEN_EXAMPLES:]
    context = {
        "bulletin": bulletin,
        "shown": shown,
        "headings": DESCRIPTIONS.values(),
        "plot": draw_bulletin(shown["parts"]),
        "is_own": bulletin.is_owned_by(author),
        "may_act": bulletin.is_owned_by(author) or author.is_operator,
        "has_stopped": bulletin.is_finished and (bulletin.status != JobStatus.DONE or bulletin.lacks_a_corpus),
        "visibilities": Visibility.choices,
        "levels": [(level, DESCRIPTIONS[level]) for level in LEVELS],
        "open_parts": [part for part in shown["parts"] if part["is_open"] and part["n_measured"]],
        **_items(request, bulletin, shown, author),
    }
    return render(request, "tracer/bulletin_detail.html", context)


def _cell(levels: dict[str, Any], level: str) -> dict[str, Any]:
    """Return a number of items and, where all of a corpus's numbers are told, their share of the judged ones."""
    judged = [levels[name] for name in ("clean", "suspicious", "dirty")]
    count, share = levels[level], None
    if level != "short" and all(isinstance(n, int) for n in judged) and sum(judged):
        share = 100 * count / sum(judged)
    return {"count": count, "share": share}


def _cut(example: dict[str, Any]) -> dict[str, Any]:
    """Return an example with its item's text in three pieces, the outer ones cut, and its snippet in three."""
    text, start, end = example["text"], example["start"], example["end"]
    first = max(0, start - CONTEXT_CHARACTERS)
    item = (text[first:start], _short(text[start:end]), text[end : end + CONTEXT_CHARACTERS])
    snippet, begin, stop = example["snippet"], example["snippet_start"], example["snippet_end"]
    corpus, key = example["document"].split("/", 1)
    return {
        **example,
        "item_pieces": item,
        "is_cut": (first > 0, end + CONTEXT_CHARACTERS < len(text)),
        "snippet_pieces": (snippet[:begin], _short(snippet[begin:stop]), snippet[stop:]),
        "corpus": corpus,
        "key": key,
    }


def _short(passage: str) -> str:
    """Leave the middle of a long passage out."""
    return passage if len(passage) <= 300 else f"{passage[:200]} […] {passage[-80:]}"


def _items(request: HttpRequest, bulletin: Bulletin, shown: dict[str, Any], author: Author) -> dict[str, Any]:
    """Return the items that the query string picks out, of the first open corpus if it names none."""
    open_corpora = [part["corpus"] for part in shown["parts"] if part["is_open"] and part["n_measured"]]
    if not open_corpora:
        return {"listed": []}
    wanted, level, start = (request.GET.get(name, "") for name in ("corpus", "level", "start"))
    corpus = wanted if wanted in open_corpora else open_corpora[0]
    chosen = level if level in LEVELS else ""
    first = int(start) if start.isascii() and start.isdecimal() and len(start) < 7 else 0
    count, page = list_items(bulletin, corpus=corpus, level=chosen, author=author, start=first, size=ITEMS_PER_PAGE)
    following = first + ITEMS_PER_PAGE
    return {
        "listed": page,
        "n_listed": count,
        "listed_corpus": corpus,
        "listed_level": chosen,
        "next_start": following if following < count else None,
        "last_start": max(0, first - ITEMS_PER_PAGE) if first else None,
    }


@require_POST
def bulletin_share(request: HttpRequest, bulletin_id: uuid.UUID) -> HttpResponse:
    """Change who may read one's own bulletin, and go back to it."""
    visibility = request.POST.get("visibility", "")
    try:
        return redirect(bulletins.share_bulletin(bulletin_id, author=author_of(request), visibility=visibility))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)


@require_POST
def bulletin_cancel(request: HttpRequest, bulletin_id: uuid.UUID) -> HttpResponse:
    """Stop one's own bulletin, and go back to it."""
    try:
        return redirect(bulletins.cancel_bulletin(bulletin_id, author=author_of(request)))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)


@require_POST
def bulletin_resume(request: HttpRequest, bulletin_id: uuid.UUID) -> HttpResponse:
    """Let one's own bulletin go on where it ended, and go back to it."""
    try:
        return redirect(bulletins.request_resume(bulletin_id, author=author_of(request)))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)


@require_POST
def bulletin_delete(request: HttpRequest, bulletin_id: uuid.UUID) -> HttpResponse:
    """Delete one's own bulletin."""
    try:
        bulletins.delete_bulletin(bulletin_id, author=author_of(request))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)
    messages.success(request, "The bulletin is deleted.")
    return redirect("tracer:bulletin-list")
