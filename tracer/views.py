"""Pages of corpora, documents and traces."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tracer import services, trace_form
from tracer.count_tables import count_tables
from tracer.disclosure import policies_for
from tracer.duplicates import standing_for
from tracer.engine import Boundaries, TraceParameters
from tracer.engine.parameters import BOUNDS
from tracer.highlighting import segments
from tracer.models import Corpus, Trace
from tracer.numbers import bars
from tracer.presentation import GoneError, present_trace, read_document
from webapp.errors import BusyError, FairgroundError, NotFoundError
from webapp.ownership import Author, Visibility, author_of

MAX_SHOWN_CHARACTERS = 200_000
MAX_LISTED_DOCUMENTS = 50
MAX_LISTED_TRACES = 20


@require_GET
def document_detail(request: HttpRequest, corpus: str, key: str) -> HttpResponse:
    """Show a document; `?trace=` and `?span=` mark the match they name in its context."""
    try:
        found = read_document(corpus, key, author=author_of(request))
    except FairgroundError as error:
        gone = isinstance(error, GoneError)
        return render(request, "tracer/document_closed.html", {"error": error, "gone": gone}, status=error.status)
    marks = _marks(request, f"{corpus}/{key}", found.document.text)
    text = found.document.text[:MAX_SHOWN_CHARACTERS]
    context = {
        "found": found,
        "document": found.document,
        "segments": segments(text, [m for m in marks if m["end"] <= len(text)]),
        "n_marks": len(marks),
        "is_cut": len(found.document.text) > len(text),
        "trace_id": request.GET.get("trace", ""),
    }
    return render(request, "tracer/document_detail.html", context)


def _marks(request: HttpRequest, document: str, text: str) -> list[dict[str, Any]]:
    """Return where a trace's spans stand in a document: by their words, checked at each place found."""
    author = author_of(request)
    try:
        trace = services.get_trace(uuid.UUID(request.GET.get("trace", "")), author=author)
    except (ValueError, NotFoundError):
        return []
    shown = present_trace(trace, author=author)
    standing = standing_for(shown.get("documents", []), document)
    wanted = request.GET.get("span", "")
    marks: list[dict[str, Any]] = []
    for number, span in enumerate(shown.get("spans", [])):
        hits = any(match["document"] == standing for match in span["matches"])
        if hits and (not wanted or wanted == str(number)):
            start = text.find(span["text"])
            while start >= 0 and len(marks) < 100:
                marks.append({"start": start, "end": start + len(span["text"]), "relevance": span["relevance"]})
                start = text.find(span["text"], start + len(span["text"]))
    return marks


@require_http_methods(["GET", "POST"])
def trace_list(request: HttpRequest) -> HttpResponse:
    """Offer a form for pasted text, filled from `?again=` of an earlier trace; on POST queue its trace."""
    error: FairgroundError | None = None
    if request.method == "POST":
        try:
            return redirect(_request_from_form(request))
        except FairgroundError as raised:
            error = raised
    author = author_of(request)
    posted = request.POST.dict() if request.method == "POST" else _earlier(request, author)
    context = {
        "corpora": Corpus.objects.traceable().prefetch_related("remotes"),
        "chosen": request.POST.getlist("corpora") or request.GET.getlist("corpora"),
        "fields": trace_form.fields(posted),
        "presets": [(name, label) for name, (label, _) in trace_form.PRESET_LABELS.items()],
        "preset_help": [f"“{label}”: {told}" for label, told in trace_form.PRESET_LABELS.values() if told],
        "posted": posted,
        "visibilities": Visibility.choices,
        "own_traces": Trace.objects.owned_by(author)[:MAX_LISTED_TRACES],
        "public_traces": Trace.objects.listed()[:MAX_LISTED_TRACES],
        "error": error,
    }
    is_busy = isinstance(error, BusyError)
    response = render(request, "tracer/trace_list.html", context, status=503 if is_busy else 422 if error else 200)
    if isinstance(error, BusyError):
        response["Retry-After"] = str(error.retry_after_s)
    return response


def _earlier(request: HttpRequest, author: Author) -> dict[str, str]:
    """Return the text and prompt of the trace that `?again=` names, if it may be read."""
    try:
        trace = services.get_trace(uuid.UUID(request.GET.get("again", "")), author=author)
    except (ValueError, NotFoundError):
        return {}
    settings = {name: str(value) for name, value in trace.parameters.items() if value is not None}
    all_spans = {"all_spans": "1"} if trace.parameters.get("density") is None else {}
    return {"text": trace.text, "prompt": trace.prompt, **settings, **all_spans}


def _request_from_form(request: HttpRequest) -> Trace:
    form = request.POST
    return services.request_trace(
        text=form.get("text", "").replace("\r\n", "\n"),
        prompt=form.get("prompt", "").replace("\r\n", "\n"),
        corpora=form.getlist("corpora") or None,
        parameters=trace_form.parameters_from_form(form.dict()),
        author=author_of(request, remember=True),
        visibility=form.get("visibility") or Visibility.LINK,
    )


@dataclass(frozen=True)
class Selection:
    """What the query string picks out: one span, or one document."""

    span: int | None
    document: str

    @classmethod
    def of(cls, request: HttpRequest, n_spans: int) -> Selection:
        """Read `?span=` and `?document=`; what does not exist selects nothing."""
        raw = request.GET.get("span", "")
        span = int(raw) if raw.isdecimal() and int(raw) < n_spans else None
        return cls(span, request.GET.get("document", "") if span is None else "")


@require_GET
def trace_detail(request: HttpRequest, trace_id: uuid.UUID) -> HttpResponse:
    """Show a trace: highlighted text, documents, table of spans; `?embed=1` for another page's panel."""
    author = author_of(request)
    trace = get_object_or_404(Trace.objects.readable_by(author), pk=trace_id)
    shown = present_trace(trace, author=author)
    spans = shown.get("spans", [])
    selection = Selection.of(request, len(spans))
    if selection.document:
        selection = replace(selection, document=standing_for(shown.get("documents", []), selection.document))
    documents = _documents(shown, selection)
    context = {
        "trace": trace,
        "shown": shown,
        "segments": segments(trace.text, spans, _selected_spans(spans, selection)),
        **count_tables(shown, selection.span),
        "documents": documents[:MAX_LISTED_DOCUMENTS],
        "n_hidden_documents": max(0, len(documents) - MAX_LISTED_DOCUMENTS),
        "selection": selection,
        "is_own": trace.is_owned_by(author),
        "visibilities": Visibility.choices,
        "embed": "&embed=1" if request.GET.get("embed") else "",
        "closed": _closed(trace, author, spans, selection),
        "hints": hints_for(trace),
        "settings": trace_form.described(trace.parameters),
        **_numbers(shown),
    }
    template = "tracer/_trace.html" if request.GET.get("embed") and request.htmx else "tracer/trace_detail.html"  # type: ignore[attr-defined]
    return render(request, template, context)


def _closed(trace: Trace, author: Author, spans: list[dict[str, Any]], selection: Selection) -> list[Corpus]:
    """Return the corpora that have the words but show counts only."""
    looked_at = spans if selection.span is None else [spans[selection.span]]
    counted = {slug for span in looked_at for slug, count in span["counts"].items() if count}
    corpora = list(Corpus.objects.filter(slug__in=trace.corpora))
    policies = policies_for(corpora, author)
    return [c for c in corpora if c.slug in counted and not policies[c.slug].may_see_matches]


def hints_for(trace: Trace) -> list[str]:
    """Return what would find more, from what this trace was asked to leave out."""
    asked = TraceParameters.from_mapping(trace.parameters)
    n_left_out = Corpus.objects.traceable().exclude(slug__in=trace.corpora).count()
    hints = []
    if n_left_out:
        hints.append(f"{n_left_out} more {'corpora' if n_left_out > 1 else 'corpus'} can be searched.")
    if asked.min_length_tokens > 1:
        hints.append(f"Spans shorter than {asked.min_length_tokens} tokens were left out; allow shorter ones.")
    if asked.max_frequency < BOUNDS["max_frequency"][1]:
        hints.append(f"Spans that stand there more than {asked.max_frequency:,} times were left out; allow more.")
    if asked.boundaries is not Boundaries.CONTINUOUS:
        hints.append("Spans ended with their sentence or line; let them go on through the whole text.")
    hints.append("Spans are whole words, capitals and punctuation as they stand; other wording may be there.")
    return hints


def _numbers(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what `_overview.html` draws; nothing before the trace is done."""
    if "numbers" not in shown:
        return {}
    numbers, spans = shown["numbers"], shown["spans"]
    longest = None if numbers["longest_span"] is None else spans[numbers["longest_span"]]
    creativity, lengths = numbers["creativity"], numbers["span_lengths"]
    drawn = {} if creativity is None else dict(zip(creativity["lengths"], creativity["uniqueness"], strict=True))
    shares = [*shown["coverage_by_corpus"].items(), *numbers["coverage_by_licence"].items()]
    return {
        "numbers": numbers,
        "longest_span": longest and {**longest, "characters": longest["end"] - longest["start"]},
        "coverage_rows": [(name, round(share * 100, 1)) for name, share in shares],
        "uniqueness_bars": bars({str(length): share for length, share in drawn.items()}, top=1.0),
        "length_bars": bars({str(length): n for length, n in lengths.items()}, top=max(lengths.values(), default=0)),
    }


@require_POST
def trace_share(request: HttpRequest, trace_id: uuid.UUID) -> HttpResponse:
    """Change who may read one's own trace, and go back to it."""
    visibility = request.POST.get("visibility", "")
    try:
        return redirect(services.share_trace(trace_id, author=author_of(request), visibility=visibility))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)


@require_POST
def trace_delete(request: HttpRequest, trace_id: uuid.UUID) -> HttpResponse:
    """Delete one's own trace."""
    try:
        services.delete_trace(trace_id, author=author_of(request))
    except FairgroundError as error:
        return render(request, "error.html", {"error": error}, status=error.status)
    messages.success(request, "The trace is deleted.")
    return redirect("tracer:trace-list")


def _selected_spans(spans: list[dict[str, Any]], selection: Selection) -> frozenset[int]:
    if selection.span is not None:
        return frozenset({selection.span})
    hits = (
        i for i, span in enumerate(spans) if any(match["document"] == selection.document for match in span["matches"])
    )
    return frozenset(hits) if selection.document else frozenset()


def _documents(shown: dict[str, Any], selection: Selection) -> list[dict[str, Any]]:
    """Return the documents to list, each with its matches; a selected span keeps only its own."""
    by_id: dict[str, dict[str, Any]] = {d["id"]: {**d, "matches": []} for d in shown.get("documents", [])}
    for number, span in enumerate(shown.get("spans", [])):
        if selection.span is not None and number != selection.span:
            continue
        for match in span["matches"]:
            pieces = _snippet(match)
            by_id[match["document"]]["matches"].append({"span": number, "pieces": pieces})
    listed = [d for d in by_id.values() if d["matches"] and (not selection.document or d["id"] == selection.document)]
    for document in listed:
        document["key"] = document["id"].split("/", 1)[1]
        document["copies"] = [
            {**copy, "address": reverse("tracer:document-detail", args=copy["id"].split("/", 1))}
            for copy in document["copies"]
        ]
    return listed


def _snippet(match: dict[str, Any]) -> tuple[str, str, str]:
    snippet, start, end = match["snippet"], match["snippet_start"], match["snippet_end"]
    return snippet[:start], snippet[start:end], snippet[end:]
