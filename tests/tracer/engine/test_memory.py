"""Searching a text while it grows gives what searching it once does, and looks up only what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tests.tracer.engine.test_pipeline import HOSTILE
from tracer.engine import (
    Boundaries,
    IndexReader,
    SearchableCorpus,
    TraceMemory,
    TraceParameters,
    preview_spans,
    trace_text,
)

PIECES = st.lists(
    st.sampled_from([text[i : i + n] for text in TEXTS for i in range(0, len(text), 5) for n in (1, 4, 11, 30)])
    | HOSTILE,
    max_size=8,
)
_READERS: dict[int, list[IndexReader]] = {}


def corpora_of(make_reader: MakeReader) -> list[SearchableCorpus]:
    """Three indexes of two tokenizers, made once for all examples of a property."""
    if id(make_reader) not in _READERS:
        _READERS.clear()
        _READERS[id(make_reader)] = [
            make_reader(n_shards=2),
            make_reader(texts=TEXTS[1:4]),
            make_reader(as_bytes=True),
        ]
    first, second, third = _READERS[id(make_reader)]
    return [SearchableCorpus("fair", [first, second]), SearchableCorpus("bytes", [third])]


@pytest.mark.parametrize("boundaries", list(Boundaries))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=PIECES, density=st.sampled_from([None, 0.1]), cut=st.integers(0, 10))
def test_growing_text_ends_with_the_trace_of_the_whole(
    make_reader: MakeReader, boundaries: Boundaries, pieces: list[str], density: float | None, cut: int
) -> None:
    corpora, memory, text = corpora_of(make_reader), TraceMemory(), ""
    parameters = TraceParameters(boundaries=boundaries, density=density, min_length_tokens=1 + cut % 2)
    for number, piece in enumerate(pieces):
        text += piece
        if number == cut:  # an answer that starts over after its worker was lost begins anew
            text = text[: len(text) // 2]
        seen = preview_spans(text, corpora, parameters=parameters, memory=memory)
        assert seen == preview_spans(text, corpora, parameters=parameters)
    whole = trace_text(text, corpora, prompt="fair", parameters=parameters)
    grown = trace_text(text, corpora, prompt="fair", parameters=parameters, memory=memory)
    assert replace(grown, timings_ms={}) == replace(whole, timings_ms={})
    previewed = preview_spans(text, corpora, parameters=parameters, memory=memory)
    assert [(s.start, s.end, s.counts) for s in previewed] == [(s.start, s.end, s.counts) for s in whole.spans]


def test_looks_up_only_what_the_new_words_may_change(make_reader: MakeReader) -> None:
    corpora, memory = [SearchableCorpus("fair", [make_reader()])], TraceMemory()
    text = " ".join(f"word{i} carousel" for i in range(200))
    preview_spans(text, corpora, memory=memory)
    n_first = memory.n_searched

    preview_spans(f"{text} and on", corpora, memory=memory)

    assert n_first >= 400
    assert memory.n_searched <= 8
