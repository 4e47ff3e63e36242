"""Two traces side by side."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from tracer import services
from tracer.highlighting import Segment, segments
from tracer.models import Trace
from tracer.presentation import present_trace
from webapp.errors import NotFoundError
from webapp.jobs import JobStatus
from webapp.ownership import Author, author_of

MAX_LISTED_TRACES = 20


@dataclass(frozen=True)
class Side:
    """One of the two: what was asked for, the trace if it may be read, and what may be shown of it."""

    name: str
    asked: str
    trace: Trace | None
    shown: dict[str, Any]
    segments: list[Segment]

    @property
    def is_done(self) -> bool:
        """Tell whether there is a result."""
        return self.trace is not None and self.trace.status == JobStatus.DONE


@require_GET
def trace_compare(request: HttpRequest) -> HttpResponse:
    """Show the traces `?a=` and `?b=` beside each other, with a form for choosing."""
    author = author_of(request)
    sides = [_side(name, request.GET.get(name, ""), author) for name in ("a", "b")]
    context = {
        "sides": sides,
        "rows": _rows(sides) if all(side.is_done for side in sides) else [],
        "own_traces": Trace.objects.owned_by(author).filter(status=JobStatus.DONE)[:MAX_LISTED_TRACES],
    }
    is_unknown = any(side.asked and side.trace is None for side in sides)
    return render(request, "tracer/trace_compare.html", context, status=404 if is_unknown else 200)


def _side(name: str, asked: str, author: Author) -> Side:
    wanted = asked.strip().rstrip("/").rsplit("/", 1)[-1]  # an address of the trace's page will do
    try:
        trace = services.get_trace(uuid.UUID(wanted), author=author)
    except (ValueError, NotFoundError):
        return Side(name, asked, None, {}, [])
    shown = present_trace(trace, author=author)
    return Side(name, str(trace.pk), trace, shown, segments(trace.text, shown.get("spans", [])))


def _rows(sides: list[Side]) -> list[tuple[str, list[str]]]:
    """Return (what, value on each side), numbers first, then each corpus's share."""
    shown = [side.shown for side in sides]
    corpora = sorted({slug for one in shown for slug in one["coverage_by_corpus"]})
    return [
        ("Characters", [f"{len(one['text']):,}" for one in shown]),
        ("Tokens", [f"{one['n_tokens']:,}" for one in shown]),
        ("Spans", [f"{len(one['spans']):,}" for one in shown]),
        ("Documents", [f"{len(one['documents']):,}" for one in shown]),
        ("Text in spans", [_percent(one["coverage"]) for one in shown]),
        ("Longest span, tokens", [_longest(one) for one in shown]),
        ("Creativity index", [_creativity(one) for one in shown]),
        *((f"Text in {slug}", [_percent(one["coverage_by_corpus"].get(slug)) for one in shown]) for slug in corpora),
    ]


def _percent(share: float | None) -> str:
    return "not searched" if share is None else f"{share:.1%}"


def _longest(shown: dict[str, Any]) -> str:
    return str(max((span["length_tokens"] for span in shown["spans"]), default=0))


def _creativity(shown: dict[str, Any]) -> str:
    measured = shown["numbers"]["creativity"]
    return "not measured" if measured is None else f"{measured['creativity_index']:.2f} of 0 to 8"
