"""The tracing pipeline: tokenize, find spans, choose, sample documents, rank by relevance.

After Liu et al., OLMoTrace, arXiv 2504.07096. What of a corpus is read is decided in `matching`.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from tracer.engine.boundaries import find_boundaries
from tracer.engine.corpora import Count, Members, SearchableCorpus, groups_by_tokenizer
from tracer.engine.counting import Place, count_everywhere
from tracer.engine.errors import TraceCancelledError
from tracer.engine.matching import DrawnDocument, inner_text, sample_matches
from tracer.engine.memory import TraceMemory
from tracer.engine.originality import LENGTHS, Originality, main_tokenizer, measure_originality, originality_of
from tracer.engine.parameters import Boundaries, TraceParameters
from tracer.engine.reader import intact
from tracer.engine.relevance import Relevance, bm25_scores, relevance_level
from tracer.engine.results import FoundDocument, Match, Span, TraceResult
from tracer.engine.spans import EveryMatch, TokenSpan, find_chosen_spans, log_probability
from tracer.engine.unions import unite_spans


@dataclass
class _Trace:
    """What the stages of one trace share."""

    text: str
    prompt: str
    parameters: TraceParameters
    cancelled: Callable[[], bool]
    measures_originality: bool = False
    timings_ms: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.cancelled():
            raise TraceCancelledError("the trace was cancelled")
        begin = time.perf_counter()
        yield
        self.timings_ms[name] += (time.perf_counter() - begin) * 1000


def trace_text(
    text: str,
    corpora: Sequence[SearchableCorpus],
    *,
    prompt: str = "",
    parameters: TraceParameters | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    memory: TraceMemory | None = None,
    measures_originality: bool = False,
) -> TraceResult:
    """Find where the words of `text` stand in `corpora`.

    `memory` is what searches of the text's beginnings in the same corpora left; it saves work and changes
    nothing. `measures_originality` fills `creativity`, by the same search unless there is a memory. Raises
    `IndexFileError` when an index was damaged since it was opened, `TraceCancelledError` when `cancelled()`
    becomes true. The same arguments give the same result, timings apart.
    """
    trace = _Trace(text, prompt, parameters or TraceParameters(), cancelled, measures_originality)
    with intact([reader for corpus in corpora for reader in corpus.readers]):
        return _result_of(trace, corpora, memory)


def _result_of(trace: _Trace, corpora: Sequence[SearchableCorpus], memory: TraceMemory | None) -> TraceResult:
    found: list[tuple[TokenSpan, Members]] = []
    places: list[set[Place]] = []
    n_tokens = 0
    groups = groups_by_tokenizer(corpora)
    readers = [reader for corpus in corpora for reader in corpus.readers]
    main = main_tokenizer(readers) if trace.measures_originality and readers else None
    creativity: Originality | None = None
    for members in groups:
        is_main = members[0][1][0].tokenizer.digest == main
        every = EveryMatch(LENGTHS[-1]) if is_main and memory is None else None
        spans, n_group_tokens = _spans_of_group(trace, members, memory, every)
        if is_main:
            creativity = measure_originality(trace.text, readers) if every is None else originality_of(every.longest)
        n_tokens = n_tokens if n_tokens and members[0][1][0].tokenizer.is_bytes else max(n_tokens, n_group_tokens)
        found += [(span, members) for span in spans]
        places.append({(span.start, span.end) for span in spans})
    with trace.stage("documents"):
        matches, drawn = sample_matches(trace.text, trace.parameters, found)
    with trace.stage("relevance"):
        documents = _score(trace, drawn)
        spans_found = [_to_span(trace, *pair, own, documents) for pair, own in zip(found, matches, strict=True)]
    with trace.stage("counts"):
        result_spans = _in_order(spans_found, trace, groups, places)
        if len(result_spans) < len(spans_found):
            shown = {match.document for span in result_spans for match in span.matches}
            documents = {key: document for key, document in documents.items() if key in shown}
    return TraceResult(
        trace.text,
        trace.parameters.to_dict(),
        [{"slug": c.slug, "indexes": [reader.digest for reader in c.readers]} for c in corpora],
        n_tokens,
        _coverage(result_spans, len(trace.text)),
        {c.slug: _coverage([s for s in result_spans if s.counts.get(c.slug)], len(trace.text)) for c in corpora},
        result_spans,
        tuple(sorted(documents.values(), key=lambda d: (-d.relevance_score, d.id))),
        {name: round(value, 3) for name, value in trace.timings_ms.items()},
        creativity,
    )


def preview_spans(
    text: str,
    corpora: Sequence[SearchableCorpus],
    *,
    parameters: TraceParameters | None = None,
    memory: TraceMemory | None = None,
) -> tuple[Span, ...]:
    """Return the spans that `trace_text` would, without their documents, so without matches and relevance."""
    trace = _Trace(text, "", parameters or TraceParameters(), lambda: False)
    spans: list[Span] = []
    places: list[set[Place]] = []
    with intact([reader for corpus in corpora for reader in corpus.readers]):
        groups = groups_by_tokenizer(corpora)
        for members in groups:
            own = _spans_of_group(trace, members, memory)[0]
            spans += [_to_span(trace, span, members, [], {}) for span in own]
            places.append({(span.start, span.end) for span in own})
        return _in_order(spans, trace, groups, places)


def _in_order(
    spans: list[Span], trace: _Trace, groups: Sequence[Members], places: Sequence[set[Place]]
) -> tuple[Span, ...]:
    """Return spans in order of their start: equal ones as one, each counted by the indexes of every tokenizer.

    Two of one tokenizer are equal where they differed in outer space; OLMoTrace tells both.
    """
    if len(groups) > 1 or trace.parameters.boundaries is not Boundaries.OLMOTRACE:
        united = unite_spans(spans, trace.parameters.max_documents_per_span)
        spans = count_everywhere(trace.text, united, groups, places)
        if len(groups) > 1:
            spans = _in_tokens(trace.text, spans, groups, places)
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end)))


def _in_tokens(text: str, spans: Sequence[Span], groups: Sequence[Members], places: Sequence[set[Place]]) -> list[Span]:
    """Return spans with place, length and rarity in the tokens of the first tokenizer, whoever found them.

    So they can be compared: sums over bytes or over another tokenizer's tokens are other numbers.
    """
    readers = [reader for _, own in groups[0] for reader in own]
    tokens = readers[0].tokenizer.encode(text)
    told = []
    for span in spans:
        if (span.start, span.end) not in places[0]:
            first = int(np.searchsorted(tokens.ends, span.start, side="right"))
            last = int(np.searchsorted(tokens.starts, span.end, side="left"))
            logprob = round(log_probability(tokens.ids[first:last], readers), 4)
            span = replace(span, token_start=first, length_tokens=last - first, unigram_logprob=logprob)
        told.append(span)
    return told


def _spans_of_group(
    trace: _Trace, members: Members, memory: TraceMemory | None, every: EveryMatch | None = None
) -> tuple[list[TokenSpan], int]:
    readers = [reader for _, own in members for reader in own]
    tokenizer = readers[0].tokenizer
    with trace.stage("tokenize"):
        tokens = tokenizer.encode(trace.text)
    with trace.stage("search"):
        boundaries = find_boundaries(trace.text, tokens, tokenizer, trace.parameters.boundaries)
        remembered = memory.of(tokenizer.digest) if memory is not None else None
        unit = tokenizer.units_per_token
        scaled = replace(trace.parameters, min_length_tokens=trace.parameters.min_length_tokens * unit)
        if trace.parameters.min_length_tokens == 1:
            scaled = trace.parameters  # no bound, in whatever unit
        n_tokens = math.ceil(len(tokens.ids) / unit)
        chosen = find_chosen_spans(tokens, boundaries, readers, scaled, n_tokens, remembered, every)
    if trace.parameters.boundaries is not Boundaries.OLMOTRACE:  # which tells spans of white space, too
        chosen = [span for span in chosen if trace.text[span.start : span.end].strip()]
    return [_without_outer_space(trace.text, span) for span in chosen], len(tokens.ids)


def _without_outer_space(text: str, span: TokenSpan) -> TokenSpan:
    """Tokens carry the space before a word: leave it out, unless there is nothing else."""
    left, right = inner_text(text[span.start : span.end])
    return replace(span, start=span.start + left, end=span.start + right)


def _score(trace: _Trace, drawn: dict[str, DrawnDocument]) -> dict[str, FoundDocument]:
    """Score each document once, on its text around all of its matches."""
    scores = bm25_scores(f"{trace.prompt} {trace.text}", [document.windows for document in drawn.values()])
    documents = {}
    for (key, document), score in zip(drawn.items(), scores.tolist(), strict=True):
        title, url, licence = (str(document.facts.get(name, "")) for name in ("title", "url", "licence"))
        metadata, level = document.facts.get("metadata") or {}, relevance_level(score, len(trace.text))
        documents[key] = FoundDocument(
            key, document.corpus, title, licence, url, metadata, level, round(score, 4), document.same_text
        )
    return documents


def _to_span(
    trace: _Trace,
    span: TokenSpan,
    members: Members,
    found: list[Match],
    documents: dict[str, FoundDocument],
) -> Span:
    remaining = iter(span.counts)
    counts: dict[str, Count] = {
        corpus.slug: corpus.shown_count(sum(next(remaining) for _ in readers)) for corpus, readers in members
    }
    matches = sorted(
        (match.scored(documents[match.document].relevance_score) for match in found),
        key=lambda match: (-match.relevance_score, match.document),
    )
    best = documents[matches[0].document].relevance if matches else Relevance.LOW
    text = trace.text[span.start : span.end]
    return Span(
        span.start,
        span.end,
        text,
        span.length_tokens,
        round(span.unigram_logprob, 4),
        best,
        counts,
        tuple(matches),
        span.token_start,
    )


def _coverage(spans: Sequence[Span], n_characters: int) -> float:
    """Return the share of characters in at least one span."""
    return round(covered_characters(spans) / n_characters, 6) if n_characters else 0.0


def covered_characters(spans: Sequence[Span]) -> int:
    """Return how many characters lie in at least one span; spans: in order of their start."""
    covered, last = 0, 0
    for span in spans:
        covered += max(0, span.end - max(span.start, last))
        last = max(last, span.end)
    return covered
