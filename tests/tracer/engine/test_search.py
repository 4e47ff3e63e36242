"""Spans against a naive scan, counts and suffix order against their definitions."""

from __future__ import annotations

import functools
import math
import operator
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import MakeReader
from tracer.engine import Boundaries, CorpusDocument, IndexReader, RankBy, TraceParameters, build_index
from tracer.engine.boundaries import TextBoundaries, find_boundaries
from tracer.engine.spans import TokenSpan, find_chosen_spans, find_spans
from tracer.engine.tokens import TokenizedText

Naive = list[tuple[int, int, int]]
ALPHABET = st.sampled_from("ab .\n")
TEXTS = st.lists(st.text(ALPHABET, min_size=1, max_size=30), min_size=1, max_size=5)


def occurrences(needle: list[int], documents: list[list[int]]) -> int:
    """Count a sequence in documents by looking at every place."""
    n = len(needle)
    return sum(document[i : i + n] == needle for document in documents for i in range(len(document) - n + 1))


def naive_spans(ids: list[int], documents: list[list[int]], bounds: TextBoundaries, minimum: int, cap: int) -> Naive:
    """Return (start, end, count) of maximal spans by trying every end of every start."""
    found: Naive = []
    last_end = 0
    for start in range(len(ids)):
        if not bounds.may_begin[start]:
            continue
        ends = [
            end for end in range(start + 1, int(bounds.limits[start]) + 1) if occurrences(ids[start:end], documents)
        ]
        reach = max(ends, default=start)
        allowed = [end for end in range(start + 1, reach + 1) if bounds.may_end[end]]
        if not allowed or allowed[-1] - start < minimum or allowed[-1] <= last_end:
            continue
        count = occurrences(ids[start : allowed[-1]], documents)
        if count <= cap:
            found.append((start, allowed[-1], count))
            last_end = allowed[-1]
    return found


def choose_by_sorting(spans: list[TokenSpan], n_tokens: int, parameters: TraceParameters) -> list[TokenSpan]:
    """Return the ceil(density · L) rarest or longest spans, in order of their start."""
    assert parameters.density is not None
    if parameters.rank_by is RankBy.RARITY:
        ranked = sorted(spans, key=lambda span: (span.unigram_logprob, span.token_start))
    else:
        ranked = sorted(spans, key=lambda span: (-span.length_tokens, span.token_start))
    return sorted(ranked[: math.ceil(parameters.density * n_tokens)], key=lambda span: span.token_start)


def facts_of(span: TokenSpan) -> tuple[object, ...]:
    """Return all of a span as values that compare."""
    return (*list(vars(span).values())[:-1], [own.tolist() for own in span.ranges])


@settings(max_examples=150)
@given(
    texts=TEXTS,
    query=st.text(ALPHABET, min_size=1, max_size=40),
    kind=st.sampled_from(Boundaries),
    n_shards=st.integers(1, 2),
    minimum=st.integers(1, 3),
    cap=st.sampled_from([1, 3, 1_000_000]),
)
def test_find_spans_equals_naive_scan(
    texts: list[str], query: str, kind: Boundaries, n_shards: int, minimum: int, cap: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = [CorpusDocument(str(i), text) for i, text in enumerate(texts)]
        out = Path(folder) / "index"
        build_index(documents, out, None, n_shards=min(n_shards, len(texts)))
        reader = IndexReader.open(out)
        tokens = reader.tokenizer.encode(query)
        bounds = find_boundaries(query, tokens, reader.tokenizer, kind)
        parameters = TraceParameters(boundaries=kind, min_length_tokens=minimum, max_frequency=cap)
        spans = find_spans(tokens, bounds, [reader], parameters)
        fast = [(s.token_start, s.token_end, sum(s.counts)) for s in spans]
        encoded = [list(text.encode()) for text in texts]
        assert fast == naive_spans(tokens.ids.tolist(), encoded, bounds, minimum, cap)
        for chosen in (replace(parameters, density=0.1), replace(parameters, density=0.3, rank_by=RankBy.LENGTH)):
            expected = choose_by_sorting(spans, len(tokens.ids), chosen)
            found = find_chosen_spans(tokens, bounds, [reader], chosen, len(tokens.ids))
            assert [facts_of(span) for span in found] == [facts_of(span) for span in expected]


def test_rarity_is_the_sum_of_unigram_log_probabilities(make_reader: MakeReader) -> None:
    reader = make_reader(("aab", "b"), as_bytes=True)
    tokens = reader.tokenizer.encode("ab")
    bounds = TextBoundaries(np.ones(2, bool), np.ones(3, bool), np.array([2, 2]))
    [span] = find_spans(tokens, bounds, [reader], TraceParameters())
    assert math.isclose(span.unigram_logprob, math.log(2 / 6) + math.log(2 / 6))


def test_rarity_is_the_same_number_for_the_same_words(make_reader: MakeReader) -> None:
    reader = make_reader(("abcdefgh", "hgfe", "cab"), as_bytes=True)
    tokens = reader.tokenizer.encode("abcdefgh.abcdefgh.cab.abcdefgh")
    bounds = find_boundaries("", tokens, reader.tokenizer, Boundaries.OLMOTRACE)
    everywhere = TextBoundaries(np.ones(len(tokens.ids), bool), bounds.may_end | True, bounds.limits)
    spans = find_spans(tokens, everywhere, [reader], TraceParameters())
    rarities = [span.unigram_logprob for span in spans if span.length_tokens == 8]
    logs = [math.log(int(reader.unigram_counts[i])) - math.log(reader.n_tokens) for i in b"abcdefgh"]
    assert rarities == [functools.reduce(operator.add, logs)] * 3


def test_counts_add_up_over_readers_and_shards(make_reader: MakeReader) -> None:
    one, two = make_reader(("abc", "abc", "abd"), 3, as_bytes=True), make_reader(("xabc",), as_bytes=True)
    tokens = TokenizedText(np.array(list(b"abc")), np.arange(3), np.arange(1, 4))
    bounds = TextBoundaries(np.ones(3, bool), np.ones(4, bool), np.full(3, 3))
    [span] = find_spans(tokens, bounds, [one, two], TraceParameters())
    assert span.counts == [2, 1]


def test_keeps_the_rarest_or_longest_in_text_order(make_reader: MakeReader) -> None:
    reader = make_reader(("the cat", "quixotic zebra", "the", "the", "a long common phrase of the cat"), as_bytes=True)
    text = "zebra the cat a long common phrase"
    tokens = reader.tokenizer.encode(text)
    bounds = find_boundaries(text, tokens, reader.tokenizer, Boundaries.CONTINUOUS)
    spans = find_spans(tokens, bounds, [reader], TraceParameters())
    n = len(tokens.ids)
    n_kept = math.ceil(0.05 * n)
    rarest = find_chosen_spans(tokens, bounds, [reader], TraceParameters(density=0.05), n)
    by_length = TraceParameters(density=0.05, rank_by=RankBy.LENGTH)
    longest = find_chosen_spans(tokens, bounds, [reader], by_length, n)
    assert len(rarest) == len(longest) == min(n_kept, len(spans))
    assert min(s.unigram_logprob for s in spans) in {s.unigram_logprob for s in rarest}
    assert max(s.length_tokens for s in spans) in {s.length_tokens for s in longest}
    assert [s.token_start for s in rarest] == sorted(s.token_start for s in rarest)


def test_sentence_ends_even_when_a_token_holds_more_than_the_full_stop(make_reader: MakeReader) -> None:
    reader = make_reader(("one two.\n\nthree four",), as_bytes=True)
    text = "one two.\n\nthree four"
    tokens = reader.tokenizer.encode(text)
    bounds = find_boundaries(text, tokens, reader.tokenizer, Boundaries.SENTENCE)
    spans = find_spans(tokens, bounds, [reader], TraceParameters())
    words = [text[s.start : s.end].strip() for s in spans]
    assert "one two." in words
    assert "three four" in words
