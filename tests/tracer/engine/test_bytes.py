"""Indexes of bytes: free of tokenizer, case folded if asked, offsets in code points exact, traced beside tokens."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.engine import (
    Boundaries,
    CorpusDocument,
    Disclosure,
    IndexReader,
    SearchableCorpus,
    TraceParameters,
    build_index,
    trace_text,
    validate_index,
)
from tracer.engine.originality import measure_originality
from tracer.engine.relevance import Relevance
from tracer.engine.results import Match, Span
from tracer.engine.tokens import IndexTokenizer, fold_case
from tracer.engine.unions import unite_spans

#: Letters whose case folding changes the number of bytes, or would change the number of code points.
HARD = "ẞßKÅŒœΣςσİıŉǰΐﬁﬀÄäЖж🎠東"
ALL = TraceParameters(boundaries=Boundaries.CONTINUOUS, density=None)


def _reader(folder: Path, texts: list[str], *, folds_case: bool = False, tokenizer: Path | None = None) -> IndexReader:
    documents = [CorpusDocument(f"doc-{i}", text) for i, text in enumerate(texts)]
    build_index(documents, folder, tokenizer, folds_case=folds_case)
    validate_index(folder)
    return IndexReader.open(folder)


@given(st.text(alphabet=st.sampled_from(HARD + "aA bB.") | st.characters(exclude_categories=["Cs"]), max_size=40))
def test_folding_keeps_every_code_point_at_its_place(text: str) -> None:
    folded = fold_case(text)
    assert len(folded) == len(text)
    assert fold_case(folded) == folded
    for before, after in zip(text, folded, strict=True):
        assert after == before or after in (before.casefold(), before.lower())
    tokens = IndexTokenizer(None, folds_case=True).encode(text)
    for place, byte in enumerate(tokens.ids.tolist()):
        start, end = int(tokens.starts[place]), int(tokens.ends[place])
        assert end == start + 1
        assert byte in folded[start:end].encode()
    assert bytes(tokens.ids.tolist()).decode() == folded


def test_upper_and_lower_case_match_by_any_letter_that_folds_alike() -> None:
    for one, two in (("STRASSE", "strasse"), ("ẞ", "ß"), ("K", "k"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ЖУК", "жук")):
        assert fold_case(one) == fold_case(two)


def test_spans_are_exact_in_code_points_where_folding_changes_bytes(tmp_path: Path) -> None:
    document = "Am GROẞEN Karussell misst man 300 K 🎠 im Œuvre des Σίσυφος."
    reader = _reader(tmp_path / "folded", [document, "Else."], folds_case=True)
    found = "am großen karussell misst man 300 K 🎠 im œuvre des σίσυφοσ"
    text = f"🎡🎡 Wir schreiben: {found} und mehr"
    result = trace_text(text, [SearchableCorpus("fair", [reader])], parameters=ALL)
    longest = max(result.spans, key=lambda span: span.end - span.start)
    assert text[longest.start : longest.end] == longest.text == found
    assert longest.counts == {"fair": 1}
    [match] = longest.matches
    shown = match.snippet[match.snippet_start : match.snippet_end]
    assert fold_case(shown) == fold_case(found)
    plain = _reader(tmp_path / "plain", [document, "Else."])
    sensitive = trace_text(text, [SearchableCorpus("fair", [plain])], parameters=ALL)
    assert max(len(span.text) for span in sensitive.spans) < len(found)


@given(texts=st.lists(st.text(alphabet="aAbBßẞ K.🎠", min_size=1, max_size=24), min_size=1, max_size=3), data=st.data())
def test_folded_spans_agree_with_a_search_of_the_folded_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    query = data.draw(st.text(alphabet="aAbBßẞ K.🎠", max_size=24))
    reader = _reader(tmp_path_factory.mktemp("index") / "folded", texts, folds_case=True)
    result = trace_text(query, [SearchableCorpus("fair", [reader])], parameters=ALL)
    for span in result.spans:
        assert span.text == query[span.start : span.end]
        wanted = fold_case(span.text)
        count = sum(fold_case(text).startswith(wanted, i) for text in texts for i in range(len(text)))
        assert 1 <= span.counts["fair"] <= count  # the space around a word is searched with it
    covered = {i for span in result.spans for i in range(span.start, span.end)}
    for place, letter in enumerate(query):  # a word by itself that stands in a text is covered
        alone = (place == 0 or query[place - 1] == " ") and query[place + 1 : place + 2] in ("", " ")
        if alone and letter.isalnum() and any(fold_case(letter) in fold_case(text) for text in texts):
            assert place in covered


@pytest.mark.parametrize("words", ["carousel turns", "music plays on"])
def test_bytes_find_what_another_tokenization_hides(tmp_path: Path, tokenizer_path: Path, words: str) -> None:
    texts = ["The supercarousel turns.", "Amusic plays on and on.", "Nothing."]
    tokens = _reader(tmp_path / "tokens", texts, tokenizer=tokenizer_path)
    plain = _reader(tmp_path / "bytes", texts)
    text = "A carousel turns, music plays on."
    start, end = text.index(words), text.index(words) + len(words)
    assert tokens.count(tokens.tokenizer.encode(f" {words}").ids.tolist()) == 0, "cut into other tokens there"
    by_tokens = trace_text(text, [SearchableCorpus("fair", [tokens])], parameters=ALL)
    assert by_tokens.spans
    assert not any(span.start <= start and end <= span.end for span in by_tokens.spans)
    for readers in ([plain], [tokens, plain]):
        result = trace_text(text, [SearchableCorpus("fair", readers)], parameters=ALL)
        [span] = [span for span in result.spans if (span.start, span.end) == (start, end)]
        assert span.counts == {"fair": sum(each.count(words) for each in texts)}
        [match] = span.matches
        assert match.document == next(f"fair/doc-{n}" for n, each in enumerate(texts) if words in each)
        assert match.snippet[match.snippet_start : match.snippet_end] == words


def test_what_bytes_and_tokens_found_is_told_once_in_tokens(tmp_path: Path, tokenizer_path: Path) -> None:
    texts = ["The carouselwheel turns and the music plays on.", "Nothing."]
    tokens = _reader(tmp_path / "tokens", texts, tokenizer=tokenizer_path)
    plain = _reader(tmp_path / "bytes", texts)
    text = "Here the carouselwheel turns and the music plays on."
    both = trace_text(text, [SearchableCorpus("fair", [tokens, plain])], parameters=ALL)
    alone = trace_text(text, [SearchableCorpus("fair", [plain])], parameters=ALL)
    assert [(s.start, s.end, s.counts) for s in both.spans] == [(s.start, s.end, s.counts) for s in alone.spans]
    assert both.corpora == [{"slug": "fair", "indexes": [tokens.digest, plain.digest]}]
    assert both.n_tokens == len(tokens.tokenizer.encode(text).ids)
    assert len({(span.start, span.end) for span in both.spans}) == len(both.spans)
    tokenized = tokens.tokenizer.encode(text)
    for span in both.spans:
        first, last = span.token_start, span.token_start + span.length_tokens
        assert text[tokenized.starts[first] : tokenized.ends[last - 1]].strip() == span.text
    shown = {match.document for span in both.spans for match in span.matches}
    assert {document.id for document in both.documents} == shown


def test_rarity_is_of_tokens_also_where_bytes_alone_found_the_words(tmp_path: Path, tokenizer_path: Path) -> None:
    texts = ["The supercarousel turns.", "Amusic plays on and on.", "Nothing."]
    tokens = _reader(tmp_path / "tokens", texts, tokenizer=tokenizer_path)
    plain = _reader(tmp_path / "bytes", texts)
    text = "A carousel turns, music plays on."
    by_tokens = trace_text(text, [SearchableCorpus("fair", [tokens])], parameters=ALL).spans
    both = trace_text(text, [SearchableCorpus("fair", [plain]), SearchableCorpus("fete", [tokens])], parameters=ALL)
    alone = {(span.start, span.end) for span in both.spans} - {(span.start, span.end) for span in by_tokens}
    assert {text[start:end] for start, end in alone} & {"carousel turns", "music plays on."}
    tokenized = tokens.tokenizer.encode(text)
    for span in both.spans:
        ids = tokenized.ids[span.token_start : span.token_start + span.length_tokens].tolist()
        rarity = sum(math.log((int(tokens.unigram_counts[i]) or 0.5) / tokens.n_tokens) for i in ids)
        assert span.unigram_logprob == pytest.approx(rarity, abs=1e-3)
    of_bytes = trace_text(text, [SearchableCorpus("fair", [plain])], parameters=ALL).spans
    assert max(span.length_tokens for span in of_bytes) > len(tokenized.ids) / 2, "bytes only where there is no other"


def test_settings_in_tokens_mean_as_much_text_in_bytes(tmp_path: Path) -> None:
    document = "word " * 400 + "needle " + "word " * 400
    reader = _reader(tmp_path / "bytes", [document])
    [span] = trace_text(
        "needle", [SearchableCorpus("fair", [reader])], parameters=TraceParameters(snippet_tokens=40)
    ).spans
    assert 300 <= len(span.matches[0].snippet) <= 2 * 160 + 10
    short = TraceParameters(min_length_tokens=2)
    assert not trace_text("needle", [SearchableCorpus("fair", [reader])], parameters=short).spans[1:]
    assert not trace_text("a word", [SearchableCorpus("fair", [reader])], parameters=short).spans


def test_counts_only_stays_counts_only_in_bytes(tmp_path: Path) -> None:
    reader = _reader(tmp_path / "bytes", ["Closed text of the fair."], folds_case=True)
    closed = SearchableCorpus("fair", [reader], disclosure=Disclosure.COUNTS)
    result = trace_text("CLOSED TEXT", [closed])
    assert [span.counts for span in result.spans] == [{"fair": "<10"}]
    assert result.documents == ()
    assert not any(span.matches for span in result.spans)


def test_originality_is_told_in_tokens_when_there_are_any(tmp_path: Path, tokenizer_path: Path) -> None:
    texts = ["The carousel turns and the music plays on."]
    tokens, plain = _reader(tmp_path / "t", texts, tokenizer=tokenizer_path), _reader(tmp_path / "b", texts)
    assert measure_originality(texts[0], [plain, tokens]) == measure_originality(texts[0], [tokens])


def _span(start: int, end: int, counts: dict[str, int | str], documents: str = "") -> Span:
    matches = tuple(Match(d, "fair", 1.0, "", 0, 0, 0) for d in documents)
    return Span(start, end, "x" * (end - start), 1, -1.0, Relevance.LOW, counts, matches)


def test_equal_spans_are_one_with_the_larger_count_and_all_documents() -> None:
    one, two = _span(0, 5, {"a": 3, "b": "<10"}, "pq"), _span(0, 5, {"a": 4, "b": 12, "c": 1}, "qr")
    [united] = unite_spans([one, two], 10)
    assert united.counts == {"a": 4, "b": 12, "c": 1}
    assert [match.document for match in united.matches] == ["p", "q", "r"]
    assert len(unite_spans([one, two], 2)[0].matches) == 2


_corpora = st.sets(st.sampled_from("abc"), min_size=1)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12), _corpora), max_size=12))
def test_inner_spans_are_left_out_as_by_comparing_all_pairs(values: list[tuple[int, int, set[str]]]) -> None:
    spans = [_span(start, start + length, dict.fromkeys(corpora, 1)) for start, length, corpora in values]
    together: dict[tuple[int, int], set[str]] = {}
    for span in spans:
        together.setdefault((span.start, span.end), set()).update(span.counts)
    expected = {
        (start, end)
        for (start, end), corpora in together.items()
        if not any(
            (s, e) != (start, end) and s <= start and end <= e and corpora <= outer
            for (s, e), outer in together.items()
        )
    }
    assert {(span.start, span.end) for span in unite_spans(spans, 10)} == expected
