"""Windows of characters against a search of the raw text, in indexes of tokens, of bytes, and of folded bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import CorpusDocument, IndexReader, build_index, vocabulary, window_search
from tracer.engine.tokens import fold_case
from tracer.engine.windows import FoundWindows, find_windows, n_windows

LONG = "The carousel turns and the music plays on while children laugh at the fair until the lights go out."
#: Letters, spaces in runs, and characters of two, three and four bytes.
ALPHABET = st.sampled_from("ab  \n.ßé東🎠")
PIECES = st.lists(st.text(ALPHABET, min_size=1, max_size=12), min_size=1, max_size=6)


def occurrences(texts: list[str], window: str) -> int:
    return sum(text.startswith(window, i) for text in texts for i in range(len(text)))


def places_hold(reader: IndexReader, text: str, hits: FoundWindows) -> None:
    """Read each window at the place that was told, byte by byte."""
    for j in range(hits.n_windows):
        place = hits.place(j)
        if place is None:
            continue
        shard = reader.shards[place.shard]
        window = text[j : j + hits.size].encode()
        first = max(0, place.token - len(window) - 1)
        before = reader.tokenizer.to_bytes(shard.tokens[max(first, _document_begin(shard, place.token)) : place.token])
        _, end = shard.token_range(int(np.searchsorted(shard.offsets, place.token * shard.width, side="right")) - 1)
        after = reader.tokenizer.to_bytes(shard.tokens[place.token : min(end, place.token + 4 * len(text))])
        begin = len(before) + place.skip
        assert (before + after)[begin : begin + len(window)] == window


def _document_begin(shard: object, token: int) -> int:
    offsets, width = shard.offsets, shard.width  # type: ignore[attr-defined]
    document = int(np.searchsorted(offsets, token * width, side="right")) - 1
    return int(offsets[document]) // width + 1


@pytest.fixture(scope="module")
def greedy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary with many ways to cut the same letters, tokens across characters, long and equal tokens."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    merges = [("a", "a"), ("a", "b"), ("b", "a"), ("aa", "aa"), ("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("ĠĠĠĠ", "ĠĠĠĠ"), ("Ġ", "a")]
    merges += [("Ġa", "b"), ("Ã", "©"), ("æ", "Ŀ"), ("ab", "ab"), ("aaaa", "aaaa"), ("abab", "abab"), ("Ċ", "Ċ")]
    merges += [("ð", "Ł"), ("ðŁ", "İ"), (".", "Ġ"), (".Ġ", "a")]
    tokens = [*sorted(alphabet), *("".join(merge) for merge in merges)]
    model = models.BPE(vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges=merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("greedy") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@settings(max_examples=150)
@given(
    pieces=PIECES,
    data=st.data(),
    size=st.integers(1, 9),
    n_shards=st.integers(1, 2),
    kind=st.sampled_from(["tokens", "regex", "bytes", "folded"]),
    needed=st.integers(1, 3),
)
def test_windows_are_those_of_the_raw_text(
    greedy_path: Path,
    tokenizer_path: Path,
    pieces: list[str],
    data: st.DataObject,
    size: int,
    n_shards: int,
    kind: str,
    needed: int,
) -> None:
    draw = st.lists(st.sampled_from(pieces), min_size=1, max_size=8).map("".join)
    texts = data.draw(st.lists(draw, min_size=n_shards, max_size=4))
    text = data.draw(st.lists(st.sampled_from(pieces) | st.text(ALPHABET, max_size=6), max_size=6).map("".join))
    path = {"tokens": greedy_path, "regex": tokenizer_path}.get(kind)
    with tempfile.TemporaryDirectory() as folder:
        documents = [CorpusDocument(str(i), t) for i, t in enumerate(texts)]
        build_index(documents, Path(folder) / "index", path, n_shards=n_shards, folds_case=kind == "folded")
        reader = IndexReader.open(Path(folder) / "index")
        hits = find_windows(reader, text, size=size, needed=np.full(n_windows(text, size), needed))
    if kind == "folded":
        texts, text = [fold_case(t) for t in texts], fold_case(text)
    expected = [occurrences(texts, text[j : j + size]) >= needed for j in range(n_windows(text, size))]
    assert hits.found.tolist() == expected
    assert not hits.undecided.any()
    if needed == 1:
        places_hold(reader, text, hits)
        for j in np.flatnonzero(hits.found & (hits.shards < 0)).tolist():  # inside one token: no boundary to name
            window = text[j : j + size].encode()
            assert any(window in token[1:] for token in reader.tokenizer.token_bytes)


def test_edges_of_other_words_do_not_hide_a_window(make_reader: MakeReader) -> None:
    """The tokens of a copied passage differ at its edges from those of the corpus; its characters do not."""
    for as_bytes in (False, True):
        reader = make_reader((LONG, "Nothing else."), as_bytes=as_bytes)
        for cut in range(20):
            text = "x" + LONG[cut : cut + 61] + "y"
            hits = find_windows(reader, text)
            assert hits.found.tolist() == [False, *[True] * 12, False]
            assert hits.longest_run() == (1, 13)
            places_hold(reader, text, hits)


def test_a_window_over_two_documents_is_none(make_reader: MakeReader) -> None:
    for as_bytes in (False, True):
        hits = find_windows(make_reader((LONG[:50], LONG[50:]), as_bytes=as_bytes), LONG)
        assert (hits.n_windows, hits.n_found) == (len(LONG) - 49, 2 if len(LONG) == 100 else 1)


def test_short_texts_have_no_window_and_lone_surrogates_match_nothing(make_reader: MakeReader) -> None:
    reader = make_reader()
    assert find_windows(reader, "x" * 49).n_windows == 0
    assert find_windows(reader, "").longest_run() == (0, 0)
    hits = find_windows(reader, "\ud800" + TEXTS[0])
    assert hits.found.tolist() == [False, *[True] * (len(TEXTS[0]) - 49)]


def test_a_window_that_would_cost_too_much_is_told_as_undecided(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are counted in compiled code, so the bound is lowered in its Python twin."""
    reader = make_reader((LONG, "Nothing else."))
    monkeypatch.setattr(window_search, "MAX_STEPS", 3)
    for name in ("_reach", "_count_from", "_count_last", "_count_left"):
        monkeypatch.setattr(window_search, name, getattr(window_search, name).py_func)
    monkeypatch.setattr("tracer.engine.windows.count_windows", window_search.count_windows.py_func)
    hits = find_windows(reader, LONG[3:53])
    assert (hits.n_found, hits.undecided.tolist()) == (0, [True])


@settings(max_examples=25)
@given(pieces=PIECES, data=st.data())
def test_compiled_code_reads_nothing_outside_its_arrays(
    greedy_path: Path, pieces: list[str], data: st.DataObject
) -> None:
    """Compiled code checks no bounds, so a mistake would end the process: its Python twin raises instead."""
    texts = data.draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=3))
    text = data.draw(st.lists(st.sampled_from(pieces), max_size=4).map("".join))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        build_index([CorpusDocument(str(i), t) for i, t in enumerate(texts)], Path(folder) / "index", greedy_path)
        reader = IndexReader.open(Path(folder) / "index")
        compiled = find_windows(reader, text, size=3).found.tolist()
        for module in (window_search, vocabulary):
            for name in [n for n in dir(module) if hasattr(getattr(module, n), "py_func")]:
                patch.setattr(module, name, getattr(module, name).py_func)
        patch.setattr("tracer.engine.window_search.child_range", vocabulary.child_range)
        patch.setattr("tracer.engine.windows.count_windows", window_search.count_windows)
        assert find_windows(reader, text, size=3).found.tolist() == compiled
