"""Whole traces: offsets, documents, disclosure, repeatability."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import (
    Disclosure,
    ParameterError,
    SearchableCorpus,
    TraceCancelledError,
    TraceParameters,
    trace_text,
)
from tracer.engine.privacy import MASK, mask_personal_data
from tracer.engine.relevance import bm25_scores, relevance_level

ALL = TraceParameters(density=None)
HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("\ud800\udfff\0\u202e\u200d👩‍👩‍👧🎉 .\n")), max_size=60)


def test_span_offsets_are_code_points_of_the_text(make_reader: MakeReader) -> None:
    text = "🎉🎉 Ach! The music plays 🎉 on and on. Über den Dächern"
    result = trace_text(text, [SearchableCorpus("fair", [make_reader()])], parameters=ALL)
    assert "The music plays 🎉 on and on." in [span.text for span in result.spans]
    for span in result.spans:
        assert text[span.start : span.end] == span.text
        for match in span.matches:
            assert match.snippet[match.snippet_start : match.snippet_end] == span.text


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(prefix=HOSTILE, suffix=HOSTILE)
def test_hostile_text_keeps_offsets_exact(make_reader: MakeReader, prefix: str, suffix: str) -> None:
    text = f"{prefix}\nThe carousel turns.\n{suffix}"
    reader = _shared(make_reader)
    result = trace_text(text, [SearchableCorpus("fair", [reader])], parameters=ALL)
    assert any(span.text == "The carousel turns." for span in result.spans)
    for span in result.spans:
        assert text[span.start : span.end] == span.text
    assert 0 < result.coverage <= 1


_READERS: dict[int, object] = {}


def _shared(make_reader: MakeReader):  # type: ignore[no-untyped-def]
    """One reader for all examples of a property."""
    if id(make_reader) not in _READERS:
        _READERS.clear()
        _READERS[id(make_reader)] = make_reader()
    return _READERS[id(make_reader)]


def test_same_seed_gives_the_same_trace(make_reader: MakeReader) -> None:
    corpora = [SearchableCorpus("fair", [make_reader(TEXTS * 30)])]
    one, two = (trace_text(TEXTS[0], corpora, parameters=ALL).to_dict() for _ in range(2))
    del one["timings_ms"], two["timings_ms"]
    assert one == two
    other = trace_text(TEXTS[0], corpora, parameters=TraceParameters(density=None, seed=1)).to_dict()
    assert other["documents"] != one["documents"]


def test_documents_per_span_are_bounded_and_distinct(make_reader: MakeReader) -> None:
    corpora = [SearchableCorpus("fair", [make_reader(TEXTS * 30)])]
    result = trace_text(TEXTS[1], corpora, parameters=TraceParameters(max_documents_per_span=4, density=None))
    for span in result.spans:
        keys = [match.document for match in span.matches]
        assert len(keys) == len(set(keys)) <= 4
    assert {m.document for s in result.spans for m in s.matches} == {d.id for d in result.documents}


def test_counts_only_corpus_shows_no_text_and_no_small_count(make_reader: MakeReader) -> None:
    closed = SearchableCorpus("closed", [make_reader()], disclosure=Disclosure.COUNTS)
    result = trace_text("A fair draw is one that anyone can recompute.", [closed], parameters=ALL)
    assert {span.counts["closed"] for span in result.spans} == {"<10"}
    assert result.documents == ()
    assert "doc-" not in json.dumps(result.to_dict())


def test_snippet_corpus_hides_where_in_the_document_the_match_stands(make_reader: MakeReader) -> None:
    corpus = SearchableCorpus("snip", [make_reader()], disclosure=Disclosure.SNIPPET)
    result = trace_text("A fair draw is one that anyone can recompute.", [corpus], parameters=ALL)
    assert {match.token_start for span in result.spans for match in span.matches} == {None}


def test_hidden_document_is_not_shown(make_reader: MakeReader) -> None:
    corpus = SearchableCorpus("fair", [make_reader()], is_hidden={"doc-1"}.__contains__)
    result = trace_text("anyone can recompute", [corpus], parameters=ALL)
    assert result.spans[0].counts == {"fair": 1}
    assert result.documents == ()


def test_personal_data_is_masked_without_moving_text(make_reader: MakeReader) -> None:
    result = trace_text("Write to ringmaster", [SearchableCorpus("fair", [make_reader()])], parameters=ALL)
    [match] = result.spans[0].matches
    for secret in ("ringmaster@fair.example", "010 9999", "192.168.0.17"):
        assert secret not in match.snippet
    assert match.snippet.startswith("Write to " + MASK)
    assert len(mask_personal_data(TEXTS[4])) == len(TEXTS[4])


def test_indexes_of_two_tokenizers_are_traced_together(make_reader: MakeReader) -> None:
    corpora = [
        SearchableCorpus("words", [make_reader()]),
        SearchableCorpus("bytes", [make_reader(("Only here: zanzibar.",), as_bytes=True)]),
    ]
    result = trace_text("The carousel turns. zanzibar", corpora, parameters=ALL)
    assert {slug for span in result.spans for slug in span.counts} == {"words", "bytes"}


def test_coverage_counts_each_character_once(make_reader: MakeReader) -> None:
    text = "The carousel turns."
    result = trace_text(text, [SearchableCorpus("fair", [make_reader()])], parameters=ALL)
    assert result.coverage == 1.0


def test_cancelled_trace_stops(make_reader: MakeReader) -> None:
    with pytest.raises(TraceCancelledError):
        trace_text("The carousel", [SearchableCorpus("fair", [make_reader()])], cancelled=lambda: True)


@pytest.mark.parametrize(
    "bad", [{"density": 2}, {"seed": -1}, {"boundaries": "page"}, {"colour": 1}, {"max_documents_per_span": True}]
)
def test_bad_parameter_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(bad))):
        TraceParameters.from_mapping(bad)


def test_parameters_survive_a_round_trip() -> None:
    parameters = TraceParameters(density=None, seed=9)
    assert TraceParameters.from_mapping(json.loads(json.dumps(parameters.to_dict()))) == parameters


def test_bm25_equals_its_formula_computed_by_hand() -> None:
    texts = ["red red blue", "blue green", "green", "yellow"]
    n_texts, mean = 4, 7 / 4
    idf = np.log((n_texts - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 * 2.5 / (2 + 1.5 * (1 - 0.75 + 0.75 * 3 / mean))
    scores = bm25_scores("Red", texts)
    assert scores[0] == pytest.approx(expected)
    assert scores[1:].tolist() == [0, 0, 0]


def test_relevance_levels_have_the_published_limits() -> None:
    assert [str(relevance_level(0.18 * 100 * share, 100)) for share in (0.71, 0.51, 0.49)] == ["high", "medium", "low"]
