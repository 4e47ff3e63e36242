"""infinigram-api's `attribution` as asked and as read: untrusted, checked, brought into the shape of our results.

Every span is placed by its tokens and its words are compared with the text there; one that does not fit is
left out rather than marked in the wrong place. Knows neither network nor database.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from tracer.engine import Boundaries, RankBy, TraceParameters
from tracer.engine.privacy import mask_personal_data
from tracer.engine.relevance import bm25_scores, relevance_level
from tracer.remote_client import RemoteIndexError

MAX_SPANS, MAX_DOCUMENTS_PER_SPAN = 5000, 50
MAX_COUNTED, MAX_COUNTED_CHARACTERS = 1000, 500_000
MAX_SNIPPET, MAX_WINDOW, MAX_FACT = 4000, 20_000, 500
_BLURRED = re.compile(r"<\d{1,6}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteAnswer:
    """Spans and documents as in a trace's stored result; `n_dropped` spans did not fit the text."""

    spans: list[dict[str, Any]]
    documents: list[dict[str, Any]]
    digests: list[str]
    n_dropped: int


def attribution_request(text: str, parameters: TraceParameters, *, kind: str) -> dict[str, Any]:
    """Return the body to send: our settings by infinigram-api's names, and to a Fairground its own boundaries."""
    is_continuous = parameters.boundaries is Boundaries.CONTINUOUS
    own = {"boundaries": str(parameters.boundaries)} if kind == "fairground" else {}
    return {
        **own,
        "response": text,
        "delimiters": [] if is_continuous else ["\n", "."],
        "allowSpansWithPartialWords": False,
        "minimumSpanLength": parameters.min_length_tokens,
        "maximumFrequency": parameters.max_frequency,
        "maximumSpanDensity": 1.0 if parameters.density is None else parameters.density,
        "spanRankingMethod": "length" if parameters.rank_by is RankBy.LENGTH else "unigram_logprob_sum",
        "maximumDocumentsPerSpan": parameters.max_documents_per_span,
        "maximumContextLength": parameters.context_tokens,
        "maximumContextLengthLong": parameters.context_tokens,
        "maximumContextLengthSnippet": parameters.snippet_tokens,
    }


def read_attribution(body: Mapping[str, Any], *, text: str, prompt: str, corpus: str) -> RemoteAnswer:
    """Return what an answer says about `text`. Raises `RemoteIndexError` when its shape is another."""
    raw, pieces = body.get("spans"), body.get("inputTokens")
    if not isinstance(raw, list) or len(raw) > MAX_SPANS or not _are_strings(pieces):
        raise RemoteIndexError("Its answer is not of infinigram-api's shape.")
    assert isinstance(pieces, list)
    starts = place_tokens(text, pieces)
    spans: list[dict[str, Any]] = []
    windows: dict[str, dict[str, None]] = {}
    facts: dict[str, dict[str, Any]] = {}
    entries = [entry for entry in raw if not _is_blank(entry)]
    for entry in entries:
        span = _span(entry, text, starts, corpus)
        if span is None:
            continue
        for document in _list(entry.get("documents"))[:MAX_DOCUMENTS_PER_SPAN]:
            match = _match(document, span["text"], corpus)
            if match is not None:
                key = match["document"]
                facts.setdefault(key, _facts(document, key, corpus))
                windows.setdefault(key, {})[_text(document.get("textLong"), MAX_WINDOW) or match["snippet"]] = None
                span["matches"].append(match)
        spans.append(span)
    documents = _scored(windows, facts, f"{prompt} {text}", len(text))
    _rank(spans, {document["id"]: document for document in documents})
    digest = body.get("indexDigest")
    digests = [digest] if isinstance(digest, str) and _DIGEST.fullmatch(digest) else []
    return RemoteAnswer(spans, documents, digests, len(entries) - len(spans))


def counts_requests(words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the bodies that ask a Fairground for the counts of all `words`, each within its limits."""
    bodies: list[dict[str, Any]] = []
    room = 0
    for text in words:
        if not bodies or len(bodies[-1]["texts"]) == MAX_COUNTED or len(text) > room:
            bodies.append({"texts": []})
            room = MAX_COUNTED_CHARACTERS
        bodies[-1]["texts"].append(text)
        room -= len(text)
    return bodies


def read_counts(body: Mapping[str, Any], n_asked: int) -> list[int | None]:
    """Return the counts of an answer; None where it is below a closed corpus's threshold, which may be nought.

    Raises `RemoteIndexError` when its shape is another.
    """
    counts = body.get("counts")
    if not isinstance(counts, list) or len(counts) != n_asked or not all(c == 0 or _is_count(c) for c in counts):
        raise RemoteIndexError("Its counts are not of the shape that was asked for.")
    return [count if isinstance(count, int) else None for count in counts]


def place_tokens(text: str, pieces: Sequence[str]) -> list[int | None]:
    """Return where each token begins in `text`, and the end of the last; None where that is not known.

    A token that is part of a character reads U+FFFD, so its width is not known; the next whole token
    that fits within four characters a broken one finds the place again.
    """
    starts: list[int | None] = []
    place, n_broken = 0, 0
    for piece in pieces:
        if "\ufffd" in piece and not text.startswith(piece, place):
            starts.append(None if n_broken else place)
            n_broken += len(piece)
            continue
        found = text.find(piece, place, place + len(piece) + 4 * n_broken) if n_broken else place
        if found < 0 or not text.startswith(piece, found):
            return starts + [None] * (len(pieces) + 1 - len(starts))
        starts.append(found)
        place, n_broken = found + len(piece), 0
    return [*starts, None if n_broken else place]


def _span(entry: Any, text: str, starts: Sequence[int | None], corpus: str) -> dict[str, Any] | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
        return None
    words, length, count = entry["text"].strip(), entry.get("length"), entry.get("count")
    place = _place(entry, words, text, starts)
    logprob = entry.get("unigramLogprobSum")
    if place is None or not _is_number(length, 1, 10**6) or not _is_count(count):
        return None
    return {
        "start": place,
        "end": place + len(words),
        "text": words,
        "length_tokens": length,
        "unigram_logprob": round(float(logprob), 4) if _is_finite(logprob) else 0.0,
        "relevance": "low",
        "counts": {corpus: count},
        "matches": [],
        "token_start": entry["left"],
    }


def _is_blank(entry: Any) -> bool:
    """Tell whether a span is of white space alone, as OLMoTrace's rules allow: there is nothing to show of it."""
    return isinstance(entry, Mapping) and isinstance(entry.get("text"), str) and entry["text"].isspace()


def _place(entry: Mapping[str, Any], words: str, text: str, starts: Sequence[int | None]) -> int | None:
    """Return the code point at which a span begins, if its words stand there; white space around it is left out."""
    left = entry.get("left")
    if not words or not _is_number(left, 0, len(starts) - 1):
        return None
    begin = starts[left]
    if begin is None:
        return None
    while begin < len(text) and text[begin].isspace():
        begin += 1
    return begin if text.startswith(words, begin) else None


def _match(document: Any, words: str, corpus: str) -> dict[str, Any] | None:
    if not isinstance(document, Mapping) or document.get("blocked") is True:
        return None
    snippet = document.get("textSnippet")
    if not isinstance(snippet, str) or len(snippet) > MAX_SNIPPET:
        return None
    # Its offsets count tokens that are not sent for snippets; the context is as wide on both sides.
    places = [found.start() for found in re.finditer(re.escape(words), snippet)]
    if not places:
        return None
    start = min(places, key=lambda place: abs(2 * place + len(words) - len(snippet)))
    return {
        "document": f"{corpus}/{_key(document)}",
        "corpus": corpus,
        "relevance_score": 0.0,
        "snippet": mask_personal_data(snippet),
        "snippet_start": start,
        "snippet_end": start + len(words),
        "token_start": None,
    }


def _key(document: Mapping[str, Any]) -> str:
    """Return the document's number over there, else a name made of what is known of it."""
    number = document.get("documentIndex")
    if _is_number(number, 0, 2**63 - 1):
        return f"remote-{number}"
    known = json.dumps(document.get("metadata") or document["textSnippet"], sort_keys=True, default=str)
    return f"remote-{hashlib.sha256(known.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _facts(document: Mapping[str, Any], key: str, corpus: str) -> dict[str, Any]:
    metadata = document.get("metadata")
    outer = metadata if isinstance(metadata, Mapping) else {}
    inner = outer.get("metadata") if isinstance(outer.get("metadata"), Mapping) else {}
    known = {**(inner or {}), **{name: value for name, value in outer.items() if name != "metadata"}}
    title, url = (_text(known.pop(name, ""), MAX_FACT) for name in ("title", "url"))
    licence = _text(known.pop("licence", "") or known.pop("license", ""), MAX_FACT)
    kept = {_text(name, 60): value for name, value in known.items() if isinstance(value, str | int | float) and value}
    metadata = {name: _text(value, MAX_FACT) if isinstance(value, str) else value for name, value in kept.items()}
    return {"id": key, "corpus": corpus, "title": title, "licence": licence, "url": url, "metadata": metadata}


def _scored(
    windows: Mapping[str, Mapping[str, None]], facts: Mapping[str, dict[str, Any]], query: str, n_characters: int
) -> list[dict[str, Any]]:
    """Score the documents of this answer among each other, as `tracer.engine.relevance` does."""
    scores = bm25_scores(query, [" ".join(parts) for parts in windows.values()]).tolist()
    return [
        {
            **facts[key],
            "relevance": str(relevance_level(score, n_characters)),
            "relevance_score": round(score, 4),
            "same_text": None,
        }
        for key, score in zip(windows, scores, strict=True)
    ]


def _rank(spans: list[dict[str, Any]], documents: Mapping[str, dict[str, Any]]) -> None:
    for span in spans:
        for match in span["matches"]:
            match["relevance_score"] = documents[match["document"]]["relevance_score"]
        span["matches"].sort(key=lambda match: (-match["relevance_score"], match["document"]))
        if span["matches"]:
            span["relevance"] = documents[span["matches"][0]["document"]]["relevance"]


def _text(value: Any, limit: int) -> str:
    return str(value)[:limit] if isinstance(value, str | int | float) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(piece, str) for piece in value)


def _is_number(value: Any, low: int, high: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value, 1, 10**15) or (isinstance(value, str) and _BLURRED.fullmatch(value) is not None)
