"""What a trace finds, as frozen values and as the JSON of the interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracer.engine.relevance import Relevance


@dataclass(frozen=True)
class Match:
    """One occurrence of a span. Offsets are code points of `snippet`; `token_start` counts in the document."""

    document: str
    corpus: str
    relevance_score: float
    snippet: str
    snippet_start: int
    snippet_end: int
    token_start: int | None


@dataclass(frozen=True)
class Span:
    """Half-open code points of the traced text that stand word for word in a corpus.

    A count below a closed corpus's threshold reads "<k". `relevance` is the best of its documents'.
    """

    start: int
    end: int
    text: str
    length_tokens: int
    unigram_logprob: float
    relevance: Relevance
    counts: dict[str, int | str]
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class FoundDocument:
    """A document with at least one match, told once however many spans hit it."""

    id: str
    corpus: str
    title: str
    licence: str
    url: str
    metadata: dict[str, Any]
    relevance: Relevance
    relevance_score: float
    n_copies: int = 0


@dataclass(frozen=True)
class TraceResult:
    """All of a trace; `coverage` is the share of the text's characters inside spans."""

    text: str
    parameters: dict[str, Any]
    corpora: list[dict[str, Any]]
    n_tokens: int
    coverage: float
    coverage_by_corpus: dict[str, float]
    spans: tuple[Span, ...]
    documents: tuple[FoundDocument, ...]
    timings_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `dataclasses.asdict` would copy every leaf, a fifth of a trace's time."""
        return {
            **vars(self),
            "spans": [{**vars(span), "matches": [dict(vars(match)) for match in span.matches]} for span in self.spans],
            "documents": [dict(vars(document)) for document in self.documents],
        }
