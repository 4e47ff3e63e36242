"""The tracing pipeline: tokenize, find spans, choose, sample documents, rank by relevance.

After Liu et al., OLMoTrace, arXiv 2504.07096. What a corpus discloses is decided here, in
`_sampled_matches`: documents of a counts-only corpus are never read.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tracer.engine.boundaries import find_boundaries
from tracer.engine.errors import TraceCancelledError
from tracer.engine.memory import TraceMemory
from tracer.engine.parameters import TraceParameters
from tracer.engine.privacy import mask_personal_data
from tracer.engine.reader import IndexReader, StoredDocument
from tracer.engine.relevance import Relevance, bm25_scores, relevance_level
from tracer.engine.results import FoundDocument, Match, Span, TraceResult
from tracer.engine.spans import TokenSpan, choose_spans, find_spans
from tracer.engine.unions import unite_spans

MAX_TRIES_PER_DOCUMENT = 3


class Disclosure(StrEnum):
    """How much of a corpus a reader may see."""

    FULL = "full"
    SNIPPET = "snippet"
    COUNTS = "counts"


def _is_never_hidden(key: str) -> bool:
    return False


@dataclass(frozen=True)
class SearchableCorpus:
    """A corpus in a trace: its open indexes and what may be shown of it."""

    slug: str
    readers: Sequence[IndexReader]
    is_hidden: Callable[[str], bool] = _is_never_hidden
    disclosure: Disclosure = Disclosure.FULL
    minimum_count: int = 10


@dataclass
class _FoundMatch:
    """A match before relevance is known."""

    match: Match
    document: StoredDocument
    window: str


@dataclass
class _Trace:
    """What the stages of one trace share."""

    text: str
    prompt: str
    parameters: TraceParameters
    cancelled: Callable[[], bool]
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
) -> TraceResult:
    """Find where the words of `text` stand in `corpora`.

    `memory` is what searches of the text's beginnings in the same corpora left; it saves work and
    changes nothing. Raises `IndexFileError` when an index was damaged since it was opened, `TraceCancelledError`
    when `cancelled()` becomes true. The same arguments give the same result, timings apart.
    """
    trace = _Trace(text, prompt, parameters or TraceParameters(), cancelled)
    found: list[tuple[TokenSpan, list[tuple[SearchableCorpus, list[IndexReader]]]]] = []
    n_tokens = 0
    groups = _groups_by_tokenizer(corpora)
    for members in groups:
        spans, n_group_tokens = _spans_of_group(trace, members, memory)
        n_tokens = n_tokens if n_tokens and members[0][1][0].tokenizer.is_bytes else max(n_tokens, n_group_tokens)
        found += [(span, members) for span in spans]
    with trace.stage("documents"):
        drafts = [(span, members, _sampled_matches(trace, span, members)) for span, members in found]
    with trace.stage("relevance"):
        documents, drafts_scored = _score(trace, drafts)
        result_spans = _in_order([_to_span(trace, *draft, documents) for draft in drafts_scored], trace, len(groups))
        if len(groups) > 1:
            shown = {match.document for span in result_spans for match in span.matches}
            documents = {key: document for key, document in documents.items() if key in shown}
    return TraceResult(
        text,
        trace.parameters.to_dict(),
        [{"slug": c.slug, "indexes": [reader.digest for reader in c.readers]} for c in corpora],
        n_tokens,
        _coverage(result_spans, len(text)),
        {c.slug: _coverage([s for s in result_spans if c.slug in s.counts], len(text)) for c in corpora},
        result_spans,
        tuple(sorted(documents.values(), key=lambda d: (-d.relevance_score, d.id))),
        {name: round(value, 3) for name, value in trace.timings_ms.items()},
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
    spans = []
    groups = _groups_by_tokenizer(corpora)
    for members in groups:
        spans += [_to_span(trace, span, members, [], {}) for span in _spans_of_group(trace, members, memory)[0]]
    return _in_order(spans, trace, len(groups))


def _in_order(spans: list[Span], trace: _Trace, n_groups: int) -> tuple[Span, ...]:
    """Return spans in order of their start; what several tokenizers found is united."""
    if n_groups > 1:
        spans = unite_spans(spans, trace.parameters.max_documents_per_span)
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end)))


def _groups_by_tokenizer(
    corpora: Sequence[SearchableCorpus],
) -> list[list[tuple[SearchableCorpus, list[IndexReader]]]]:
    """Group the indexes that can be searched with the same token ids; those of bytes come last."""
    groups: dict[str, list[tuple[SearchableCorpus, list[IndexReader]]]] = defaultdict(list)
    for corpus in corpora:
        by_tokenizer: dict[str, list[IndexReader]] = defaultdict(list)
        for reader in corpus.readers:
            reader.check_files()
            by_tokenizer[reader.tokenizer.digest].append(reader)
        for digest, readers in by_tokenizer.items():
            groups[digest].append((corpus, readers))
    return sorted(groups.values(), key=lambda members: members[0][1][0].tokenizer.is_bytes)


def _spans_of_group(
    trace: _Trace, members: list[tuple[SearchableCorpus, list[IndexReader]]], memory: TraceMemory | None
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
        spans = find_spans(tokens, boundaries, readers, scaled, remembered)
        chosen = choose_spans(spans, math.ceil(len(tokens.ids) / unit), trace.parameters)
    shown = [_without_outer_space(trace.text, span) for span in chosen]
    return [span for span in shown if span is not None], len(tokens.ids)


def _without_outer_space(text: str, span: TokenSpan) -> TokenSpan | None:
    """Tokens carry the space before a word: leave it out. A span of spaces alone is none."""
    piece = text[span.start : span.end]
    left, right = len(piece) - len(piece.lstrip()), len(piece) - len(piece.rstrip())
    if left == len(piece):
        return None
    return replace(span, start=span.start + left, end=span.end - right)


def _sampled_matches(
    trace: _Trace, span: TokenSpan, members: list[tuple[SearchableCorpus, list[IndexReader]]]
) -> list[_FoundMatch]:
    """Return up to `max_documents_per_span` matches at ranks drawn uniformly without replacement.

    Draws depend on the seed and the span's text only. At most three times as many ranks are tried,
    so that a document with many occurrences, or hidden ones, cannot make this long.
    """
    segments: list[tuple[SearchableCorpus, IndexReader, int, int, int]] = []
    position = 0
    for corpus, readers in members:
        for reader in readers:
            for shard, (low, high) in enumerate(span.ranges[position].tolist()):
                if high > low and corpus.disclosure is not Disclosure.COUNTS:
                    segments.append((corpus, reader, shard, low, high))
            position += 1
    total = sum(high - low for *_, low, high in segments)
    limit = trace.parameters.max_documents_per_span
    digest = hashlib.sha256(
        f"{trace.parameters.seed}\n".encode() + trace.text[span.start : span.end].encode("utf-8", "surrogatepass")
    ).digest()
    draws = random.Random(digest).sample(range(total), min(total, limit * MAX_TRIES_PER_DOCUMENT))
    found: dict[str, _FoundMatch] = {}
    for draw in draws:
        if len(found) == limit:
            break
        corpus, reader, shard, rank = _at(segments, draw)
        match = _read_match(trace, span, corpus, reader, shard, rank)
        if match is not None:
            found.setdefault(match.match.document, match)
    return list(found.values())


def _at(
    segments: list[tuple[SearchableCorpus, IndexReader, int, int, int]], draw: int
) -> tuple[SearchableCorpus, IndexReader, int, int]:
    for corpus, reader, shard, low, high in segments:
        if draw < high - low:
            return corpus, reader, shard, low + draw
        draw -= high - low
    raise IndexError(draw)


def _read_match(
    trace: _Trace, span: TokenSpan, corpus: SearchableCorpus, reader: IndexReader, shard_number: int, rank: int
) -> _FoundMatch | None:
    """Read the surroundings of one occurrence; None when its document was taken down."""
    shard = reader.shards[shard_number]
    place = shard.locate(rank)
    facts = shard.facts(place.document)
    number = reader.document_number(shard_number, place.document)
    key = str(facts.get("id", number))
    if corpus.is_hidden(key):
        return None
    begin, end = shard.token_range(place.document)
    needle = begin + place.token_start
    after = needle + span.length_tokens
    read = reader.tokenizer.to_bytes
    unit = reader.tokenizer.units_per_token
    width, wide = trace.parameters.snippet_tokens * unit, trace.parameters.context_tokens * unit
    before_bytes = read(shard.tokens[max(begin, needle - width) : needle])
    needle_bytes = read(shard.tokens[needle:after])
    after_bytes = read(shard.tokens[after : min(end, after + width)])
    before, middle, rest = _decode_parts(before_bytes, needle_bytes, after_bytes)
    window = read(shard.tokens[max(begin, needle - wide) : min(end, after + wide)]).decode("utf-8", "replace")
    left, right = len(middle) - len(middle.lstrip()), len(middle) - len(middle.rstrip())
    match = Match(
        f"{corpus.slug}/{key}",
        corpus.slug,
        0.0,
        mask_personal_data(before + middle + rest),
        len(before) + left,
        len(before) + len(middle) - right,
        place.token_start if corpus.disclosure is Disclosure.FULL else None,
    )
    stored = StoredDocument(
        number,
        key,
        str(facts.get("title", "")),
        str(facts.get("url", "")),
        str(facts.get("licence", "")),
        facts.get("metadata") or {},
        shard.tokens[needle:after],
        "",
    )
    return _FoundMatch(match, stored, window)


def _decode_parts(before: bytes, middle: bytes, after: bytes) -> tuple[str, str, str]:
    """Decode three adjoining parts, leaving out a character's bytes that were cut at the outer ends."""
    while before and before[0] & 0xC0 == 0x80:
        before = before[1:]
    return before.decode("utf-8", "replace"), middle.decode("utf-8", "replace"), after.decode("utf-8", "ignore")


_Draft = tuple[TokenSpan, list[tuple[SearchableCorpus, list[IndexReader]]], list[_FoundMatch]]


def _score(trace: _Trace, drafts: list[_Draft]) -> tuple[dict[str, FoundDocument], list[_Draft]]:
    """Score each document once, on all its windows together, and merge documents that several spans hit."""
    windows: dict[str, dict[str, None]] = defaultdict(dict)
    first: dict[str, _FoundMatch] = {}
    for _, _, matches in drafts:
        for found in matches:
            windows[found.match.document][found.window] = None
            first.setdefault(found.match.document, found)
    texts = [" ".join(parts) for parts in windows.values()]
    scores = bm25_scores(f"{trace.prompt} {trace.text}", texts)
    documents = {}
    for key, score in zip(windows, scores.tolist(), strict=True):
        stored, corpus = first[key].document, first[key].match.corpus
        level = relevance_level(score, len(trace.text))
        documents[key] = FoundDocument(
            key, corpus, stored.title, stored.licence, stored.url, stored.metadata, level, round(score, 4)
        )
    return documents, drafts


def _to_span(
    trace: _Trace,
    span: TokenSpan,
    members: list[tuple[SearchableCorpus, list[IndexReader]]],
    found: list[_FoundMatch],
    documents: dict[str, FoundDocument],
) -> Span:
    counts: dict[str, int | str] = {}
    remaining = iter(span.counts)
    for corpus, readers in members:
        count = sum(next(remaining) for _ in readers)
        if count:
            is_closed = corpus.disclosure is Disclosure.COUNTS and count < corpus.minimum_count
            counts[corpus.slug] = f"<{corpus.minimum_count}" if is_closed else count
    matches = sorted(
        (replace(f.match, relevance_score=documents[f.match.document].relevance_score) for f in found),
        key=lambda match: (-match.relevance_score, match.document),
    )
    best = documents[matches[0].document].relevance if matches else Relevance.LOW
    text = trace.text[span.start : span.end]
    return Span(
        span.start, span.end, text, span.length_tokens, round(span.unigram_logprob, 4), best, counts, tuple(matches)
    )


def _coverage(spans: Sequence[Span], n_characters: int) -> float:
    """Return the share of characters in at least one span."""
    covered, last = 0, 0
    for span in spans:
        covered += max(0, span.end - max(span.start, last))
        last = max(last, span.end)
    return round(covered / n_characters, 6) if n_characters else 0.0
