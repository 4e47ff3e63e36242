"""Searches of files on disk: equal to those in memory and to a slow twin, with few reads; an index's samples."""

from __future__ import annotations

import bisect
import random
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import MakeReader
from tracer.engine import (
    CorpusDocument,
    IndexFileError,
    IndexReader,
    SearchableCorpus,
    TraceParameters,
    adopt_index,
    build_index,
    search,
    stepwise,
    trace_text,
    validate_index,
)
from tracer.engine.pages import PAGE, Asked, MappedFile, PageRequests, run_together
from tracer.engine.samples import EVERY, KEYS_PER_UNIT, add_samples
from tracer.engine.stepwise import Search, middle_ranks

Residency = Callable[[MappedFile, object], bool]
RESIDENCIES: dict[str, Residency] = {
    "cold": lambda file, pages: False,
    "warm": lambda file, pages: True,
    "mixed": lambda file, pages: random.random() < 0.5,
}
N_TOKENS = 2 * EVERY * KEYS_PER_UNIT + 5  # three pages of keys, the last one nearly empty


@pytest.fixture(scope="module", params=["\x00ab", "ab", "abcdefgh .\n"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> IndexReader:
    """An index of bytes over few letters (noughts among them), and phrases that recur."""
    choose = random.Random(request.param)
    phrases = ["".join(choose.choices(request.param, k=choose.randrange(1, 60))) for _ in range(20)]
    text = ""
    while len(text) < N_TOKENS:
        text += choose.choice(phrases) if choose.random() < 0.5 else choose.choice(request.param)
    folder = tmp_path_factory.mktemp("large") / "index"
    documents = [CorpusDocument("a", text[: N_TOKENS // 3]), CorpusDocument("b", text[N_TOKENS // 3 :] + "\x00\x00")]
    build_index(documents, folder, None)
    return IndexReader.open(folder)


def sorted_suffixes(reader: IndexReader, length: int) -> list[bytes]:
    """Return the beginnings of all suffixes in order, by sorting them."""
    raw = reader.shards[0].tokens.tobytes()
    return sorted(raw[i : i + length] for i in range(len(raw)))


def queries(reader: IndexReader, seed: int) -> list[bytes]:
    """Return pieces of the index, some with a byte changed, and pieces of nothing."""
    raw, choose = reader.shards[0].tokens.tobytes(), random.Random(seed)
    found = []
    for _ in range(60):
        start, length = choose.randrange(len(raw)), choose.choice([1, 2, 5, 15, 16, 17, 40])
        piece = bytearray(raw[start : start + length])
        if choose.random() < 0.3:
            piece[choose.randrange(len(piece))] = choose.choice([0, 97, 98, 255])
        found.append(bytes(piece))
    return [*found, raw[-1:], raw[-3:], raw[-3:] + b"\x00", b"\xfe", b"\x00", b"\x00" * 20]


@pytest.mark.parametrize("residency", RESIDENCIES)
@pytest.mark.parametrize("has_samples", [True, False])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6))
def test_ranks_and_longest_matches_equal_the_slow_twins(
    large: IndexReader, monkeypatch: pytest.MonkeyPatch, residency: str, has_samples: bool, seed: int
) -> None:
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES[residency])
    [shard] = large.shards
    monkeypatch.setattr(shard, "samples", shard.samples if has_samples else None)
    asked = queries(large, seed)
    text = np.frombuffer(b"".join(asked), np.uint8)
    lengths = np.array([len(query) for query in asked])
    starts = np.cumsum(lengths) - lengths
    best = np.zeros(len(asked), np.int64)
    large.longest(text, starts, lengths, best)
    [ranges] = large.ranges(text, starts, lengths)
    raw = shard.tokens.tobytes()
    suffixes = sorted_suffixes(large, 41)
    for query, (low, high), longest in zip(asked, ranges.tolist(), best.tolist(), strict=True):
        assert low == bisect.bisect_left(suffixes, query)
        assert high == bisect.bisect_left(suffixes, True, key=lambda suffix, q=query: suffix[: len(q)] > q)
        assert longest == max(k for k in range(len(query) + 1) if query[:k] in raw)


@pytest.mark.parametrize("residency", RESIDENCIES)
def test_tokens_of_two_bytes_in_several_shards_equal_a_count_by_looking(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch, residency: str
) -> None:
    choose = random.Random(3)
    words = ["the", "carousel", "turns", "music", "plays", "on", "a", "fair", "draw", "東京", "naïve"]
    texts = tuple(" ".join(choose.choices(words, k=2000)) for _ in range(12))
    reader = make_reader(texts, 3)
    assert all(shard.samples is not None for shard in reader.shards)
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES[residency])
    ids = [reader.document(i).token_ids.tolist() for i in range(len(texts))]
    for _ in range(20):
        query = " ".join(choose.choices(words, k=choose.randrange(1, 4)))
        wanted = reader.tokenizer.encode(query).ids.tolist()
        n = len(wanted)
        assert reader.count(wanted) == sum(own[i : i + n] == wanted for own in ids for i in range(len(own) - n + 1))


def test_a_search_reads_few_pages_and_no_page_twice(large: IndexReader, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[MappedFile, int]] = []
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES["cold"])
    monkeypatch.setattr(
        MappedFile, "start_reading", lambda self, pages: asked.extend((self, page) for page in pages.tolist())
    )
    query = np.frombuffer(b"".join(queries(large, 1)), np.uint8)
    starts = np.arange(len(query) - 40)
    best = np.zeros(len(starts), np.int64)
    large.longest(query, starts, np.full(len(starts), 40), best)
    assert len(asked) == len(set(asked))
    one: list[tuple[MappedFile, int]] = []
    monkeypatch.setattr(
        MappedFile, "start_reading", lambda self, pages: one.extend((self, page) for page in pages.tolist())
    )
    large.longest(query, starts[:1], np.full(1, 3), best[:1])
    assert len(one) <= 1 + 2 + EVERY + 2  # keys, table, the tokens between two samples and two neighbours
    monkeypatch.setattr(stepwise, "AHEAD", 0)
    one.clear()
    large.longest(query, starts[:1], np.full(1, 3), best[:1])
    assert len(one) <= 1 + 2 + 2 * 6  # keys, table, the tokens of log2(16) steps and two neighbours


@settings(max_examples=200)
@given(low=st.integers(0, 50), width=st.integers(0, 40), n_steps=st.integers(1, 5), seed=st.integers(0, 999))
def test_pages_ahead_are_those_of_every_way_that_a_search_may_go(low: int, width: int, n_steps: int, seed: int) -> None:
    ahead = middle_ranks(np.array([low, 7]), np.array([low + width, 7]), n_steps).tolist()
    assert len(ahead) == len(set(ahead)) <= 2**n_steps - 1
    choose, begin, end = random.Random(seed), low, low + width
    for _ in range(n_steps):
        if begin < end:
            middle = (begin + end) >> 1
            assert middle in ahead
            begin, end = (middle + 1, end) if choose.random() < 0.5 else (begin, middle)


@pytest.mark.parametrize("ahead", [0, 3, 48])
def test_few_searches_need_few_batches(large: IndexReader, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES["cold"])
    monkeypatch.setattr(stepwise, "AHEAD", ahead)
    query = np.frombuffer(large.shards[0].tokens[1000:1012].tobytes(), np.uint8)
    search = Search(large.shards[0], query, np.zeros(1, np.int64), np.full(1, 12), np.zeros(1, np.bool_))
    n_batches = sum(1 for _ in search.find_longest(np.zeros(1, np.int64)))
    most = {0: 2 + EVERY.bit_length() + 4, 3: 2 + 3 + 4, 48: 2 + 2 + 4}[ahead]  # keys and table, tokens, neighbours
    assert n_batches <= most


def test_all_searches_ask_before_any_touches(make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = make_reader(("abcabcabd" * 50, "xabc" * 50), 2, as_bytes=True)
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES["cold"])
    rounds: list[str] = []
    for shard in reader.shards:
        monkeypatch.setattr(
            shard.tokens_file,
            "start_reading",
            lambda pages, name=str(shard.number): rounds.append(name),
        )
    query = np.frombuffer(b"abcabd", np.uint8)
    lower = np.zeros(1, np.bool_)
    searches = [Search(s, query, np.zeros(1, np.int64), np.full(1, 6), lower) for s in reader.shards]
    run_together(search.find_ranks() for search in searches)
    assert set(rounds[:2]) == {"0", "1"}


def test_pages_are_really_read_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (PAGE // 256) * 64)
    file = MappedFile(path, np.dtype("u1"))
    requests = PageRequests()
    with monkeypatch.context() as patch:
        patch.setattr(MappedFile, "is_resident", RESIDENCIES["cold"])
        assert requests.ask(file, np.arange(0, file.size, PAGE), 2) is Asked.READING
        assert requests.ask(file, np.arange(0, file.size, PAGE), PAGE) is Asked.NOTHING_NEW
    assert int(file.array[::PAGE].sum()) == 0
    assert file.is_resident(np.arange(64))
    assert PageRequests().ask(file, np.array([file.size - 1]), 100) is Asked.NOTHING_NEW
    assert PageRequests().ask(file, np.arange(0, file.size, PAGE), PAGE) is Asked.RESIDENT


def test_a_file_found_in_memory_is_not_asked_about_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(PAGE * 64))
    file, requests = MappedFile(path, np.dtype("u1")), PageRequests()
    looks: list[int] = []
    monkeypatch.setattr(MappedFile, "is_resident", lambda file, pages: looks.append(len(pages)) or True)
    answers = {requests.ask(file, np.arange(begin, file.size, 2 * PAGE), 2) for begin in (0, PAGE, 0)}
    assert answers == {Asked.RESIDENT}
    assert len(looks) == 1


@pytest.mark.parametrize("has_samples", [True, False])
@pytest.mark.parametrize("residency", RESIDENCIES)
def test_traces_are_the_same_whatever_is_in_memory(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch, residency: str, has_samples: bool
) -> None:
    choose = random.Random(5)
    words = ["carousel", "turns", "music", "plays", "on", "fair", "draw", "東京", "naïve", "🎉", "."]
    reader = make_reader(tuple(" ".join(choose.choices(words, k=40)) for _ in range(700)), 2)
    corpora = [SearchableCorpus("fair", [reader])]
    text = " ".join(choose.choices(words, k=120))
    parameters = TraceParameters(density=None)
    expected = replace(trace_text(text, corpora, parameters=parameters), timings_ms={})
    assert sum(len(span.matches) for span in expected.spans) > 20
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES[residency])
    for shard in reader.shards:
        assert shard.n_documents < 512 or shard.samples is None or len(shard.samples.offset_guide) > 1
        monkeypatch.setattr(shard, "samples", shard.samples if has_samples else None)
    assert replace(trace_text(text, corpora, parameters=parameters), timings_ms={}) == expected


def test_documents_are_found_by_the_guide_as_by_all_offsets(make_reader: MakeReader) -> None:
    [shard] = make_reader(tuple("ab" * (i % 3 + 1) for i in range(1200)), as_bytes=True).shards
    assert shard.samples is not None
    assert len(shard.samples.offset_guide) == 3
    pointers = range(len(shard.tokens))
    expected = np.searchsorted(shard.offsets, pointers, side="right") - 1
    assert [shard.document_at(pointer) for pointer in pointers] == expected.tolist()


@pytest.mark.parametrize("residency", RESIDENCIES)
def test_no_allocation_grows_with_how_often_a_span_occurs(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch, residency: str
) -> None:
    reader = make_reader(("ab " * 200_000, "c"), as_bytes=True)
    monkeypatch.setattr(MappedFile, "is_resident", RESIDENCIES[residency])
    corpora = [SearchableCorpus("fair", [reader])]
    trace_text("ab c", corpora)
    tracemalloc.start()
    result = trace_text("ab", corpora)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.spans[0].counts == {"fair": 200_000}
    assert peak < 500_000  # bytes; two for each occurrence would be more


@pytest.mark.parametrize("as_bytes", [True, False])
def test_nothing_is_compiled_after_warming_up(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch, as_bytes: bool
) -> None:
    compiled = [search.halve, search.search_to_end, search.raise_to_common, search.count_keys]
    compiled += [search.read_positions, search.narrow_by_probes, search.bound_runs]
    choose = random.Random(5)
    words = ["carousel", "turns", "music", "plays", "on", "fair", "draw", "."]
    reader = make_reader(tuple(" ".join(choose.choices(words, k=300)) for _ in range(100)), as_bytes=as_bytes)
    reader.warm_up()
    known = [function.signatures for function in compiled]
    for residency in RESIDENCIES.values():
        monkeypatch.setattr(MappedFile, "is_resident", residency)
        trace_text(" ".join(choose.choices(words, k=120)), [SearchableCorpus("fair", [reader])])
    assert [function.signatures for function in compiled] == known
    assert all(known)


def test_samples_of_the_builder_are_those_made_afterwards_or_at_adoption(large: IndexReader, tmp_path: Path) -> None:
    built = (large.folder / "samples.0").read_bytes()
    copy = tmp_path / "copy"
    shutil.copytree(large.folder, copy)
    (copy / "samples.0").unlink()
    reader = IndexReader.open(copy)
    assert reader.shards[0].samples is None
    assert add_samples(copy, reader.manifest) == 1
    assert add_samples(copy, reader.manifest) == 0
    assert (copy / "samples.0").read_bytes() == built
    (copy / "samples.0").unlink()
    (copy / "manifest.json").unlink()
    adopted = tmp_path / "adopted"
    adopted.mkdir()
    adopt_index(copy, adopted, None)
    assert (adopted / "samples.0").read_bytes() == built
    assert not (copy / "samples.0").exists()


@pytest.mark.parametrize("damage", ["truncated", "of another index", "empty", "no header"])
def test_samples_that_do_not_fit_are_left_aside(large: IndexReader, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(large.folder, copy)
    path = copy / "samples.0"
    if damage == "of another index":
        build_index([CorpusDocument("x", "other text")], tmp_path / "other", None)
        shutil.copyfile(tmp_path / "other" / "samples.0", path)
    else:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[:-9], "empty": b"", "no header": bytes(len(content))}[damage])
    reader = IndexReader.open(copy)
    assert reader.shards[0].samples is None
    assert reader.count([97]) == large.count([97])
    with pytest.raises(IndexFileError, match=r"samples\.0.*sample_indexes"):
        validate_index(copy)


def test_full_validation_finds_a_changed_key(large: IndexReader, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(large.folder, copy)
    validate_index(copy)
    content = bytearray((copy / "samples.0").read_bytes())
    content[5000] ^= 1
    (copy / "samples.0").write_bytes(content)
    with pytest.raises(IndexFileError, match=r"samples\.0: differs"):
        validate_index(copy)
