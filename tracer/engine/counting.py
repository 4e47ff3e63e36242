"""How often the words of a span stand in corpora whose indexes did not find them as a span of their own.

A span is found by the indexes of one tokenizer, which count it in all of their corpora. The other indexes are
asked for its words, all spans in one search an index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from tracer.engine.corpora import Count, Members, SearchableCorpus, groups_by_tokenizer
from tracer.engine.layout import token_dtype
from tracer.engine.reader import IndexReader, intact
from tracer.engine.results import Span
from tracer.engine.search import Positions

Place = tuple[int, int]


def words_at(text: str, start: int, end: int) -> str:
    """Return a span's words as they are counted: with the one space before them, as tokens carry it."""
    return text[start - 1 : end] if start and text[start - 1] == " " else text[start:end]


def count_words(words: Sequence[str], corpora: Sequence[SearchableCorpus]) -> list[dict[str, Count]]:
    """Return how often each of `words` stands in each corpus, as may be told: of several indexes the largest count."""
    counted: list[dict[str, Count]] = [{} for _ in words]
    with intact([reader for corpus in corpora for reader in corpus.readers]):
        for members in groups_by_tokenizer(corpora):
            for counts, found in zip(counted, _count_in_group(words, members), strict=True):
                counts.update(larger_counts(counts, found))
    return counted


def count_everywhere(
    text: str, spans: Iterable[Span], groups: Sequence[Members], found: Sequence[Collection[Place]]
) -> list[Span]:
    """Return the spans with their counts in the corpora of every group; `found` holds each group's own spans."""
    complete = list(spans)
    for members, own in zip(groups, found, strict=True):
        missing = [i for i, span in enumerate(complete) if (span.start, span.end) not in own]
        words = [words_at(text, complete[i].start, complete[i].end) for i in missing]
        for i, counts in zip(missing, _count_in_group(words, members), strict=True):
            complete[i] = replace(complete[i], counts=larger_counts(complete[i].counts, counts))
    return complete


def larger_counts(one: dict[str, Count], two: dict[str, Count]) -> dict[str, Count]:
    """Return each corpus's larger count; a number says more than "below the threshold", which says more than nought."""
    joined = dict(one)
    for corpus, count in two.items():
        joined[corpus] = max(joined.get(corpus, 0), count, key=_telling)
    return joined


def _telling(count: Count) -> tuple[bool, int]:
    return bool(count), count if isinstance(count, int) else 0


def _count_in_group(words: Sequence[str], members: Members) -> list[dict[str, Count]]:
    counted: list[dict[str, Count]] = [{} for _ in words]
    if not words:
        return counted
    query = _encode(words, members[0][1][0])
    for corpus, readers in members:
        totals = sum(_search(query, reader) for reader in readers)
        for counts, total in zip(counted, np.asarray(totals).tolist(), strict=True):
            counts[corpus.slug] = corpus.shown_count(total)
    return counted


def count_texts(texts: Sequence[str], reader: IndexReader) -> list[int]:
    """Return how often each text, as its tokens, stands in an index."""
    with reader.intact():
        counts: list[int] = _search(_encode(texts, reader), reader).tolist() if texts else []
    return counts


def _encode(texts: Sequence[str], reader: IndexReader) -> tuple[Positions, Positions, Positions]:
    """Return all ids one after another, and where each text's begin and how many they are."""
    encoded = [reader.tokenizer.encode(text).ids for text in texts]
    lengths = np.array([len(ids) for ids in encoded], np.int64)
    return np.concatenate(encoded), np.cumsum(lengths) - lengths, lengths


def _search(query: tuple[Positions, Positions, Positions], reader: IndexReader) -> Positions:
    ids, starts, lengths = query
    ranges = reader.ranges(ids.astype(token_dtype(reader.manifest.token_width)), starts, lengths)
    found: Positions = np.where(lengths > 0, (ranges[..., 1] - ranges[..., 0]).sum(0), 0)
    return found
