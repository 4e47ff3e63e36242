"""A trace as plain text, for terminals."""

from __future__ import annotations

from tracer.highlighting import segments
from tracer.models import Trace
from tracer.presentation import present_trace


def render_text(trace: Trace) -> str:
    """Return the text with numbered spans in brackets, then each span's counts and best document."""
    shown = present_trace(trace)
    spans = shown.get("spans", [])
    documents = {document["id"]: document for document in shown.get("documents", [])}
    lines = [_bracketed(trace.text, spans), "", f"{len(spans)} spans cover {shown.get('coverage', 0):.0%} of the text."]
    for number, span in enumerate(spans, start=1):
        counts = ", ".join(f"{corpus} {count}" for corpus, count in span["counts"].items())
        lines.append(f"[{number}] {' '.join(span['text'].split())!r}: {counts}")
        for match in span["matches"][:1]:
            document = documents[match["document"]]
            lines.append(f"     in {document['title']} ({document['owner']}, {document['licence']})")
    return "\n".join(lines)


def _bracketed(text: str, spans: list[dict[str, int]]) -> str:
    out, previous = [], None
    for segment in segments(text, spans):
        number = segment.spans[0] + 1 if segment.spans else None
        if previous is not None and number != previous:
            out.append(f"]{previous}")
        if number is not None and number != previous:
            out.append("[")
        out.append(segment.text)
        previous = number
    if previous is not None:
        out.append(f"]{previous}")
    return "".join(out)
