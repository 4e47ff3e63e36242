"""What a trace finds, as frozen values and as the JSON of the interface."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tracer.engine.originality import Originality
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

    def scored(self, score: float) -> Match:
        """Return the match with its document's relevance; `dataclasses.replace` takes three times as long."""
        places = self.snippet_start, self.snippet_end, self.token_start
        return Match(self.document, self.corpus, score, self.snippet, *places)


@dataclass(frozen=True)
class Span:
    """Half-open code points of the traced text that stand word for word in a corpus.

    `counts` has every corpus searched, 0 where the words do not stand; a closed corpus's below its threshold
    reads "<k". `relevance` is the best of its documents'.
    `token_start`, `length_tokens` and `unigram_logprob` are in the tokens of one tokenizer for all of a trace's spans:
    that of its first index of tokens, bytes only where there is none. A token that the span cuts counts whole;
    `token_start` may be of white space before it.
    """

    start: int
    end: int
    text: str
    length_tokens: int
    unigram_logprob: float
    relevance: Relevance
    counts: dict[str, int | str]
    matches: tuple[Match, ...]
    token_start: int = 0


@dataclass(frozen=True)
class FoundDocument:
    """A document with at least one match, told once however many spans hit it.

    `same_text` is a number that documents of one trace share which have the same text, None where no other has it.
    """

    id: str
    corpus: str
    title: str
    licence: str
    url: str
    metadata: dict[str, Any]
    relevance: Relevance
    relevance_score: float
    same_text: int | None = None


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
    creativity: Originality | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `dataclasses.asdict` would copy every leaf, a fifth of a trace's time."""
        return {
            **vars(self),
            "creativity": None if self.creativity is None else asdict(self.creativity),
            "spans": [{**vars(span), "matches": [dict(vars(match)) for match in span.matches]} for span in self.spans],
            "documents": [dict(vars(document)) for document in self.documents],
        }
