"""Windows of a benchmark's items in a remote index: what is asked, and how an untrusted answer is read.

A Fairground counts them as for its own bulletins, many items at once, exactly. An infinigram-api knows spans
alone: a window inside a span that it found stands there, one whose edges it cuts into other tokens is missed, so
that its numbers are lower bounds. Knows neither network nor database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer.engine import TraceParameters
from tracer.engine.contamination import ItemExample
from tracer.engine.parameters import Boundaries
from tracer.engine.privacy import MASK, mask_personal_data
from tracer.engine.windows import WINDOW_CHARACTERS, n_windows
from tracer.remote_answers import RemoteAnswer, attribution_request, read_attribution
from tracer.remote_client import RemoteIndexError

#: Of one request to a Fairground; one item may have as many characters as all together.
MAX_TEXTS, MAX_CHARACTERS = 100, 20_000
MAX_CONTEXT, MAX_FACT, MAX_UNIT = 4000, 500, 20
UNIT_OF_SPANS = "tokens, at least"
#: Every span that can hold a window, with one document each.
_SPANS = TraceParameters(
    boundaries=Boundaries.CONTINUOUS,
    min_length_tokens=4,
    density=None,
    max_documents_per_span=1,
    context_tokens=40,
    snippet_tokens=40,
)


@dataclass(frozen=True)
class RemoteItem:
    """What a remote index has of an item: windows found and given up, and a passage if it shows one."""

    n_found: int
    n_undecided: int
    example: ItemExample | None


@dataclass(frozen=True)
class RemoteWindows:
    """The first items of those asked for, at least one; `digest` of the index where it is told, `unit` its tokens."""

    items: list[RemoteItem]
    digest: str
    unit: str


def read_windows(body: Mapping[str, Any], texts: Sequence[str]) -> RemoteWindows:
    """Return a Fairground's answer about `texts`. Raises `RemoteIndexError` when its shape is another."""
    entries, digest, unit = body.get("items"), body.get("indexDigest"), body.get("unit")
    if not isinstance(entries, list) or not 0 < len(entries) <= len(texts):
        raise _shape_error()
    if not isinstance(digest, str) or len(digest) > 64 or not isinstance(unit, str) or len(unit) > MAX_UNIT:
        raise _shape_error()
    return RemoteWindows([_item(entry, text) for entry, text in zip(entries, texts, strict=False)], digest, unit)


def spans_request(text: str) -> dict[str, Any]:
    """Return the body that asks an infinigram-api for the spans of one item."""
    return attribution_request(text, _SPANS, kind="infinigram-api")


def read_spans(body: Mapping[str, Any], text: str, *, corpus: str) -> RemoteWindows:
    """Return an infinigram-api's answer about one item. Raises `RemoteIndexError` when its shape is another.

    So does one that blurs its counts: it tells of no item, and a bulletin would.
    """
    answer = read_attribution(body, text=text, prompt="", corpus=corpus)
    if any(isinstance(count, str) for span in answer.spans for count in span["counts"].values()):
        raise RemoteIndexError("It shows counts only, so that no item may be told. Its own site measures them.")
    found = np.zeros(n_windows(text), np.bool_)
    for span in answer.spans:
        found[span["start"] : max(span["start"], span["end"] - WINDOW_CHARACTERS + 1)] = True
    item = RemoteItem(int(found.sum()), 0, _example_of(answer))
    return RemoteWindows([item], next(iter(answer.digests), ""), UNIT_OF_SPANS)


def _item(entry: Any, text: str) -> RemoteItem:
    if not isinstance(entry, Mapping):
        raise _shape_error()
    n_found, n_undecided = entry.get("found"), entry.get("undecided")
    if type(n_found) is not int or type(n_undecided) is not int or min(n_found, n_undecided) < 0:
        raise _shape_error()
    if n_found + n_undecided > n_windows(text):
        raise _shape_error()
    return RemoteItem(n_found, n_undecided, _example(entry.get("example"), text))


def _example(entry: Any, text: str) -> ItemExample | None:
    """Return a passage that stands in item and snippet alike, None for any other: a bulletin can do without."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("snippet"), str):
        return None
    places = [entry.get(name) for name in ("start", "end", "snippetStart", "snippetEnd")]
    known = [place for place in places if type(place) is int and place >= 0]
    snippet = mask_personal_data(entry["snippet"])
    if len(known) < len(places) or len(snippet) > len(text) + MAX_CONTEXT:
        return None
    start, end, first, last = known
    passage, shown = text[start:end], snippet[first:last]
    if not passage or end - start != len(passage) or not _is_same(passage, shown):
        return None
    facts = {name: _short(entry.get(name)) for name in ("title", "licence", "url")}
    return ItemExample(start, end, f"remote-{_short(entry.get('document'))}", facts, snippet, first, last)


def _is_same(passage: str, shown: str) -> bool:
    """Tell whether both are the same words; case may be folded and personal data masked."""
    if len(passage) != len(shown):
        return False
    return all(a == b or b == MASK or a.casefold() == b.casefold() for a, b in zip(passage, shown, strict=True))


def _example_of(answer: RemoteAnswer) -> ItemExample | None:
    """Return the longest passage of a window or more that has a document."""
    long = [s for s in answer.spans if s["matches"] and s["end"] - s["start"] >= WINDOW_CHARACTERS]
    if not long:
        return None
    span = max(long, key=lambda span: int(span["end"] - span["start"]))
    match = span["matches"][0]
    facts = next(document for document in answer.documents if document["id"] == match["document"])
    key = match["document"].split("/", 1)[1]
    places = match["snippet_start"], match["snippet_end"]
    return ItemExample(span["start"], span["end"], key, facts, match["snippet"], *places)


def _short(value: Any) -> str:
    return str(value)[:MAX_FACT] if isinstance(value, str | int) else ""


def _shape_error() -> RemoteIndexError:
    return RemoteIndexError("Its windows are not of the shape that was asked for.")
