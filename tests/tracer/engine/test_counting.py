"""Each span's count in every corpus, against looking at every place of every document."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tests.tracer.engine.test_search import occurrences
from tracer.engine import (
    Boundaries,
    Disclosure,
    IndexReader,
    SearchableCorpus,
    TraceParameters,
    trace_text,
)
from tracer.engine.boundaries import find_boundaries
from tracer.engine.counting import count_texts, count_words, larger_counts, words_at
from tracer.engine.spans import find_spans

ALL = TraceParameters(density=None)
PIECES = st.lists(
    st.sampled_from([text[i : i + n] for text in TEXTS for i in range(0, len(text), 3) for n in (2, 7, 16)]),
    min_size=1,
    max_size=6,
)
_READERS: dict[Path, list[IndexReader]] = {}


def readers_of(make_reader: MakeReader, tmp_path: Path) -> list[IndexReader]:
    """Return readers of tokens (twice) and of bytes over overlapping texts, made once for all examples."""
    if tmp_path not in _READERS:
        _READERS.clear()
        _READERS[tmp_path] = [
            make_reader(TEXTS[:3], 2),
            make_reader(TEXTS[2:]),
            make_reader((*TEXTS[1:4], *TEXTS[1:2]), as_bytes=True),
        ]
    return _READERS[tmp_path]


def naive_count(words: str, reader: IndexReader) -> int:
    """Count by looking at every place of every document."""
    documents = [document.token_ids.tolist() for document in reader.documents()]
    return occurrences(reader.tokenizer.encode(words).ids.tolist(), documents)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=PIECES)
def test_counts_of_many_texts_are_those_of_looking_at_every_place(
    make_reader: MakeReader, tmp_path: Path, pieces: list[str]
) -> None:
    one, two, raw = readers_of(make_reader, tmp_path)
    for reader in (one, two, raw):
        assert count_texts(pieces, reader) == [naive_count(piece, reader) for piece in pieces]
    corpora = [SearchableCorpus("parts", [one, two]), SearchableCorpus("both", [two, raw])]
    for piece, counts in zip(pieces, count_words(pieces, corpora), strict=True):
        tokens, letters = naive_count(piece, two), naive_count(piece, raw)
        assert counts == {"parts": naive_count(piece, one) + tokens, "both": max(tokens, letters)}


def own_counts(text: str, readers: list[IndexReader], parameters: TraceParameters) -> dict[tuple[int, int], list[int]]:
    """Return the counts in each reader of the spans that these readers find, by their place without outer space."""
    tokens = readers[0].tokenizer.encode(text)
    bounds = find_boundaries(text, tokens, readers[0].tokenizer, parameters.boundaries)
    counts: dict[tuple[int, int], list[int]] = {}
    for span in find_spans(tokens, bounds, readers, parameters):
        words = text[span.start : span.end]
        start = span.start + len(words) - len(words.lstrip())
        place = (start, start + len(words.strip())) if words.strip() else (span.start, span.end)
        if words.strip() or parameters.boundaries is Boundaries.OLMOTRACE:
            counts[place] = [max(pair) for pair in zip(counts.get(place, span.counts), span.counts, strict=True)]
    return counts


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=PIECES, boundaries=st.sampled_from(Boundaries))
def test_every_span_is_counted_in_every_corpus_whatever_index_found_it(
    make_reader: MakeReader, tmp_path: Path, pieces: list[str], boundaries: Boundaries
) -> None:
    one, two, raw = readers_of(make_reader, tmp_path)
    text, parameters = " ".join(pieces), TraceParameters(boundaries=boundaries, density=None)
    corpora = [SearchableCorpus(name, [reader]) for name, reader in (("one", one), ("two", two), ("letters", raw))]
    result = trace_text(text, corpora, parameters=parameters)
    found = own_counts(text, [one, two], parameters), own_counts(text, [raw], parameters)
    for span in result.spans:
        place, words = (span.start, span.end), words_at(text, span.start, span.end)
        by_tokens = found[0].get(place) or [naive_count(words, one), naive_count(words, two)]
        by_letters = found[1].get(place) or [naive_count(words, raw)]
        assert span.counts == dict(zip(("one", "two", "letters"), [*by_tokens, *by_letters], strict=True))
        assert any(span.counts.values())
    covered = {i for span in result.spans if span.counts["letters"] for i in range(span.start, span.end)}
    assert result.coverage_by_corpus["letters"] == pytest.approx(len(covered) / len(text), abs=1e-6)


def test_span_of_one_tokenizer_is_counted_by_the_other_in_one_search(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = make_reader(("The carousel turns.", "The music plays."))
    letters = make_reader(("x carousel", "y carousel", "Else."), as_bytes=True)
    searches: list[int] = []
    search = IndexReader.ranges_steps

    def counted(reader: IndexReader, *asked: object) -> object:
        searches.append(id(reader))
        return search(reader, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(IndexReader, "ranges_steps", counted)
    corpora = [SearchableCorpus("words", [words]), SearchableCorpus("letters", [letters])]
    result = trace_text("The carousel turns. The music plays.", corpora, parameters=ALL)
    assert len(result.spans) > 2
    assert [span.counts for span in result.spans if span.text == "carousel"] == [{"words": 1, "letters": 2}]
    for reader in (words, letters):
        assert searches.count(id(reader)) == 2  # its own spans, then all of the others'


def test_closed_corpus_tells_its_count_of_anothers_span_from_the_threshold_on(make_reader: MakeReader) -> None:
    found = make_reader((" The carousel turns.",))
    for n, shown in ((0, 0), (1, "<3"), (2, "<3"), (3, 3)):
        closed = make_reader(("Else.", *["x The carousel turns."] * n), as_bytes=True)
        corpora = [
            SearchableCorpus("open", [found]),
            SearchableCorpus("closed", [closed], disclosure=Disclosure.COUNTS, minimum_count=3),
        ]
        result = trace_text(" The carousel turns.", corpora, parameters=ALL)
        [span] = [span for span in result.spans if span.text.startswith("The")]
        assert span.counts["closed"] == shown
        assert all(document.corpus == "open" for document in result.documents)


def test_larger_count_is_the_more_telling_one() -> None:
    one: dict[str, int | str] = {"a": 3, "b": "<10", "c": 0, "d": 0, "e": "<10"}
    assert larger_counts(one, {"a": 4, "b": 12, "c": "<10", "d": 0, "e": 0, "f": 1}) == {
        "a": 4,
        "b": 12,
        "c": "<10",
        "d": 0,
        "e": "<10",
        "f": 1,
    }
