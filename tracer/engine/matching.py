"""Matches of spans: occurrences drawn by rank, their documents and the text around them.

What a corpus discloses is decided here, in `_draw`: documents of a counts-only corpus are never read.
Nothing grows with how often a span occurs.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracer.engine.copies import DocumentPlace, number_copies
from tracer.engine.corpora import Disclosure, Members, SearchableCorpus
from tracer.engine.pages import Asked, PageRequests, Stepwise, run_together
from tracer.engine.parameters import TraceParameters
from tracer.engine.passages import Interval, Passage, joined, read_passages
from tracer.engine.reader import IndexReader, Shard
from tracer.engine.results import Match
from tracer.engine.search import read_positions
from tracer.engine.spans import TokenSpan

MAX_TRIES_PER_DOCUMENT = 3
MAX_FACTS_BYTES = 1 << 16
#: Tokens beyond a snippet that are scanned for personal data with it.
SCANNED_BEYOND = 32


class _Draw(NamedTuple):
    """One occurrence of a span."""

    corpus: SearchableCorpus
    reader: IndexReader
    shard: int
    rank: int


@dataclass(frozen=True)
class DrawnDocument:
    """A document with at least one match, told once however many spans hit it.

    `windows` is its text around all of its matches, for relevance. `same_text` is a number that documents of one
    trace share which have the same text, None where no other has it.
    """

    corpus: str
    facts: Mapping[str, Any]
    windows: str
    same_text: int | None


@dataclass(frozen=True)
class _Occurrence:
    """A draw's document, its tokens [begin, end) in the shard, and those of the match, [needle, after).

    `id` names the document everywhere.
    """

    corpus: SearchableCorpus
    place: DocumentPlace
    id: str
    begin: int
    end: int
    needle: int
    after: int


def sample_matches(
    text: str, parameters: TraceParameters, found: Sequence[tuple[TokenSpan, Members]]
) -> tuple[list[list[Match]], dict[str, DrawnDocument]]:
    """Return up to `max_documents_per_span` matches of each span, at ranks drawn uniformly, and their documents by id.

    The pages of all of them are read in a few batches first.
    """
    drawn = [_draw(text, parameters, span, members) for span, members in found]
    run_together(_fetches(parameters, [(span, draws) for (span, _), draws in zip(found, drawn, strict=True)]))
    facts: dict[DocumentPlace, dict[str, Any]] = {}
    occurrences = [_locate(parameters, span, draws, facts) for (span, _), draws in zip(found, drawn, strict=True)]
    passages = _read_passages(parameters, occurrences)
    matches = [[_match(parameters, one, passages[one.place]) for one in own] for own in occurrences]
    return matches, _documents(parameters, occurrences, passages, facts)


def _draw(text: str, parameters: TraceParameters, span: TokenSpan, members: Members) -> list[_Draw]:
    """Draw occurrences; draws depend on the seed and the span's text only.

    At most three times as many as documents are wanted, so that a document with many occurrences, or hidden
    ones, cannot make this long.
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
    n_tried = min(total, parameters.max_documents_per_span * MAX_TRIES_PER_DOCUMENT)
    digest = hashlib.sha256(
        f"{parameters.seed}\n".encode() + text[span.start : span.end].encode("utf-8", "surrogatepass")
    ).digest()
    return [_at(segments, draw) for draw in random.Random(digest).sample(range(total), n_tried)]


def _at(segments: list[tuple[SearchableCorpus, IndexReader, int, int, int]], draw: int) -> _Draw:
    for corpus, reader, shard, low, high in segments:
        if draw < high - low:
            return _Draw(corpus, reader, shard, low + draw)
        draw -= high - low
    raise IndexError(draw)


def _fetches(parameters: TraceParameters, drawn: Iterable[tuple[TokenSpan, list[_Draw]]]) -> list[Stepwise]:
    """Return what asks for the pages of as many draws as documents are wanted, a search for each shard."""
    by_shard: dict[Shard, list[tuple[int, int]]] = defaultdict(list)
    context: dict[Shard, int] = {}
    for span, draws in drawn:
        for draw in draws[: parameters.max_documents_per_span]:
            shard = draw.reader.shards[draw.shard]
            by_shard[shard].append((draw.rank, span.length_tokens))
            context[shard] = parameters.context_tokens * draw.reader.tokenizer.units_per_token
    return [_fetch(shard, np.array(places, np.int64), context[shard]) for shard, places in by_shard.items()]


def _fetch(shard: Shard, places: npt.NDArray[np.int64], context: int) -> Stepwise:
    """Ask for the pages of occurrences (k, 2), each a rank and a length in tokens; stops where they are in memory."""
    requests = PageRequests()
    ranks, lengths = places.T
    p = shard.table.shape[1]
    in_table = requests.ask(shard.table_file, ranks * p, p)
    if in_table is Asked.READING:
        yield
    pointers = np.empty(len(ranks), np.int64)
    read_positions(shard.table, 1, np.ascontiguousarray(ranks), pointers)
    begins = np.maximum(pointers - context * shard.width, 0)
    in_tokens = requests.ask(shard.tokens_file, begins, pointers - begins + (lengths + context) * shard.width)
    if in_table is in_tokens is Asked.RESIDENT:
        return
    first, last = np.array([shard.document_bounds(pointer) for pointer in pointers.tolist()]).T
    yield from requests.wait(shard.offsets_file, first * 8, (last - first + 1) * 8)
    documents = np.array([shard.document_at(pointer) for pointer in pointers.tolist()])
    yield from requests.wait(shard.metadata_offsets_file, documents * 8, 16)
    lines = np.array([shard.facts_range(document) for document in documents.tolist()])
    sizes = np.clip(lines[:, 1] - lines[:, 0], 1, MAX_FACTS_BYTES)
    yield from requests.wait(shard.metadata_file, lines[:, 0], sizes)


def _locate(
    parameters: TraceParameters, span: TokenSpan, draws: list[_Draw], facts: dict[DocumentPlace, dict[str, Any]]
) -> list[_Occurrence]:
    """Return the occurrences at draws, one a document that was not taken down, until there are enough."""
    found: dict[str, _Occurrence] = {}
    for corpus, reader, number, rank in draws:
        if len(found) == parameters.max_documents_per_span:
            break
        shard = reader.shards[number]
        at = shard.locate(rank)
        place = DocumentPlace(reader, number, at.document)
        if place not in facts:
            facts[place] = shard.facts(at.document)
        key = str(facts[place].get("id", reader.document_number(number, at.document)))
        if not corpus.is_hidden(key):
            begin, end = shard.token_range(at.document)
            needle = begin + at.token_start
            one = _Occurrence(corpus, place, f"{corpus.slug}/{key}", begin, end, needle, needle + span.length_tokens)
            found.setdefault(one.id, one)
    return list(found.values())


def _read_passages(
    parameters: TraceParameters, occurrences: Iterable[Iterable[_Occurrence]]
) -> dict[DocumentPlace, list[Passage]]:
    """Return each document's passages that hold all that is looked at around its matches."""
    around = max(parameters.context_tokens, parameters.snippet_tokens + SCANNED_BEYOND)
    wanted: dict[DocumentPlace, list[Interval]] = defaultdict(list)
    for one in chain.from_iterable(occurrences):
        wanted[one.place].append(_around(one, around))
    return {
        place: read_passages(place.reader.shards[place.shard], place.reader.tokenizer, intervals)
        for place, intervals in wanted.items()
    }


def _around(one: _Occurrence, n_tokens: int) -> Interval:
    """Return the tokens of a match with `n_tokens` more on either side, within its document."""
    n = n_tokens * one.place.reader.tokenizer.units_per_token
    return max(one.begin, one.needle - n), min(one.end, one.after + n)


def _match(parameters: TraceParameters, one: _Occurrence, passages: Sequence[Passage]) -> Match:
    passage = next(p for p in passages if p.first <= one.needle <= p.last)
    first, last = _around(one, parameters.snippet_tokens)
    begin, end = passage.begin_of(first), passage.end_of(last)
    needle, after = passage.begin_of(one.needle), passage.begin_of(one.after)
    left, right = inner_text(passage.text[needle:after])
    return Match(
        one.id,
        one.corpus.slug,
        0.0,
        passage.masked[begin : max(end, after)],
        needle + left - begin,
        needle + right - begin,
        one.needle - one.begin if one.corpus.disclosure is Disclosure.FULL else None,
    )


def _documents(
    parameters: TraceParameters,
    occurrences: Iterable[Iterable[_Occurrence]],
    passages: Mapping[DocumentPlace, Sequence[Passage]],
    facts: Mapping[DocumentPlace, Mapping[str, Any]],
) -> dict[str, DrawnDocument]:
    """Return the documents by id, in the order in which spans hit them."""
    windows: dict[str, dict[DocumentPlace, list[Interval]]] = defaultdict(lambda: defaultdict(list))
    corpora: dict[str, str] = {}
    for one in chain.from_iterable(occurrences):
        windows[one.id][one.place].append(_around(one, parameters.context_tokens))
        corpora[one.id] = one.corpus.slug
    same = number_copies({id: next(iter(own)) for id, own in windows.items()})
    return {
        id: DrawnDocument(
            corpora[id],
            facts[next(iter(own))],
            " ".join(text for place, wanted in own.items() for text in _texts(passages[place], wanted)),
            same.get(id),
        )
        for id, own in windows.items()
    }


def _texts(passages: Sequence[Passage], wanted: Iterable[Interval]) -> Iterator[str]:
    for first, last in joined(wanted):
        passage = next(p for p in passages if p.first <= first and last <= p.last)
        yield passage.text[passage.begin_of(first) : passage.end_of(last)]


def inner_text(piece: str) -> tuple[int, int]:
    """Return where a piece of text begins and ends without outer white space; white space alone stays whole."""
    if not piece.strip():
        return 0, len(piece)
    return len(piece) - len(piece.lstrip()), len(piece.rstrip())
