"""Numbers on an answer, against counting character by character and match by match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.engine.conftest import TEXTS, MakeReader
from tests.tracer.engine.conftest import make_reader as make_reader
from tests.tracer.engine.test_memory import PIECES, corpora_of
from tests.tracer.test_trace_api import traced
from tracer.engine import Boundaries, TraceParameters, trace_text
from tracer.engine.originality import LENGTHS, l_uniqueness, measure_originality
from tracer.numbers import bars, covered_share, summarize_spans

longest_matches = st.lists(st.integers(0, 9), max_size=30).map(
    lambda lengths: [min(length, len(lengths) - i) for i, length in enumerate(lengths)]
)


@given(longest_matches, st.integers(1, 9))
def test_uniqueness_is_the_share_of_tokens_in_no_long_match(longest: list[int], length: int) -> None:
    covered = {i + k for i, n in enumerate(longest) if n >= length for k in range(n)}
    expected = 1 - len(covered) / len(longest) if longest else 1.0
    assert l_uniqueness(np.array(longest, np.int64), length) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.sampled_from([*TEXTS, "xyzzy plugh", "The carousel turns. The music plays"]), max_size=3))
def test_creativity_agrees_with_looking_up_every_run(make_reader: MakeReader, pieces: list[str]) -> None:
    readers, text = [make_reader(TEXTS, 2)], " ".join(pieces)
    found = measure_originality(text, readers)
    ids = readers[0].tokenizer.encode(text).ids.tolist()
    for length, share in zip(found.lengths, found.uniqueness, strict=True):
        runs = [i for i in range(len(ids) - length + 1) if readers[0].count(ids[i : i + length])]
        covered = {i + k for i in runs for k in range(length)}
        assert share == pytest.approx(1 - len(covered) / len(ids) if ids else 1.0, abs=1e-6)
    assert found.creativity_index == pytest.approx(sum(found.uniqueness), abs=1e-5)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=PIECES, boundaries=st.sampled_from(Boundaries), density=st.sampled_from([None, 0.1]))
def test_a_trace_measures_originality_by_its_own_search(
    make_reader: MakeReader, pieces: list[str], boundaries: Boundaries, density: float | None
) -> None:
    corpora, text = corpora_of(make_reader), "".join(pieces)
    readers = [reader for corpus in corpora for reader in corpus.readers]
    parameters = TraceParameters(boundaries=boundaries, density=density)
    for chosen in (corpora, corpora[:1], corpora[1:]):
        measured = trace_text(text, chosen, parameters=parameters, measures_originality=True)
        plain = trace_text(text, chosen, parameters=parameters)
        own = [reader for corpus in chosen for reader in corpus.readers]
        assert measured.creativity == measure_originality(text, own)
        assert replace(measured, timings_ms={}, creativity=None) == replace(plain, timings_ms={})
    assert measure_originality(text, readers) == measure_originality(text, readers[:2])


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), max_size=6))
def test_covered_share_counts_each_character_once(places: list[list[int]]) -> None:
    spans = [{"start": start, "end": end} for start, end in places]
    covered = {i for start, end in places for i in range(start, end)}
    assert covered_share(spans, 20) == pytest.approx(len(covered) / 20, abs=1e-6)


def test_summary_shares_characters_by_licence_of_the_corpora() -> None:
    span = {"start": 0, "end": 4, "length_tokens": 2, "unigram_logprob": -8.0, "counts": {"a": 1, "b": 2}}
    other = {"start": 6, "end": 10, "length_tokens": 1, "unigram_logprob": -9.0, "counts": {"b": "<10"}}
    found = summarize_spans([span, other], 10, {"a": "CC0-1.0", "b": "MIT"})
    assert found["coverage_by_licence"] == {"CC0-1.0": 0.4, "MIT": 0.8}
    assert (found["longest_span"], found["rarest_span"]) == (0, 1)
    assert found["span_lengths"] == {1: 1, 2: 1}
    assert found["mean_token_logprob"] == round(-17 / 3, 4)


def test_bars_fill_the_drawing() -> None:
    low, high = bars({"5": 0.5, "6": 1.0}, top=1.0)
    assert (low.height, low.y, high.height, high.y) == (50, 50, 100, 0)
    assert high.x + high.width <= 320


def test_trace_carries_its_numbers_and_the_page_draws_them(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    shown = traced(client, text=f"{SENTENCE} xyzzy", parameters={"density": None})
    creativity = shown["numbers"]["creativity"]
    assert creativity["lengths"] == list(LENGTHS)
    assert 0 < creativity["creativity_index"] < len(LENGTHS)
    assert shown["numbers"]["coverage_by_licence"] == {"CC0-1.0": shown["coverage"]}
    page = client.get(f"/traces/{shown['id']}/").content.decode()
    assert page.count("<svg") == 2
    assert page.count("As a table") == 2
    assert "Creativity index" in page
