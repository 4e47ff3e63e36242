"""The stock engine behind its supervisor: right answers, and no death of it is ours."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import (
    IndexFileError,
    IndexReader,
    StockBusyError,
    StockCrashError,
    StockEngine,
    StockMissingError,
    StockRefusedError,
)

HAS_WHEEL = find_spec("infini_gram") is not None
needs_wheel = pytest.mark.skipif(not HAS_WHEEL, reason="infini-gram has no wheel for this machine")


@pytest.fixture
def stock() -> Iterator[StockEngine]:
    engine = StockEngine()
    yield engine
    engine.close()


def ids_of(reader: IndexReader, text: str) -> list[int]:
    ids: list[int] = reader.tokenizer.encode(text).ids.tolist()
    return ids


def following(reader: IndexReader, ids: list[int]) -> Counter[int]:
    """Count, the slow way, the token after each occurrence; the separator is all ones."""
    found: Counter[int] = Counter()
    for shard in reader.shards:
        tokens = shard.tokens.tolist()
        for i in range(len(tokens) - len(ids)):
            if tokens[i : i + len(ids)] == ids:
                found[tokens[i + len(ids)]] += 1
    return found


@needs_wheel
@pytest.mark.parametrize("n_shards", [1, 3])
@pytest.mark.parametrize("phrase", [" the", "The carousel", " music plays"])
def test_distribution_counts_what_follows_in_the_tokens(
    make_reader: MakeReader, stock: StockEngine, phrase: str, n_shards: int
) -> None:
    reader = make_reader(n_shards=n_shards)
    ids = ids_of(reader, phrase)
    found = stock.ask(reader, "ntd", prompt_ids=ids, max_support=1000)
    assert {token: count for token, count, _ in found["next"]} == dict(following(reader, ids))
    assert sum(p for _, _, p in found["next"]) == pytest.approx(1)


@needs_wheel
def test_probability_backs_off_to_the_longest_suffix_that_occurs(make_reader: MakeReader, stock: StockEngine) -> None:
    reader = make_reader()
    ids = ids_of(reader, "zebra The carousel turns")
    found = stock.ask(reader, "infgram_prob", prompt_ids=ids[:-1], cont_id=ids[-1])
    prompt = ids[:-1]
    longest = max(n for n in range(len(prompt) + 1) if n == 0 or reader.count(prompt[-n:]))
    assert 0 < found["suffix_len"] == longest < len(prompt)
    assert found["prob"] == found["cont_cnt"] / found["prompt_cnt"]


@needs_wheel
def test_opens_an_index_whose_folder_has_an_unlucky_name(make_reader: MakeReader, stock: StockEngine) -> None:
    made = make_reader(TEXTS * 3, n_shards=12)
    folder = made.folder.rename(made.folder.with_name("stable-offset"))
    (folder / "table.bak").write_bytes(b"stray")
    reader = IndexReader.open(folder)
    ids = ids_of(reader, " the")
    assert stock.ask(reader, "count", input_ids=ids)["count"] == reader.count(ids)


@pytest.mark.skipif(not HAS_WHEEL, reason="without the wheel no child is started")
def test_says_why_when_the_child_dies_during_a_query(make_reader: MakeReader) -> None:
    dies = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)"
    mortal = StockEngine(command=[sys.executable, "-I", "-c", dies])
    reader = make_reader()
    with pytest.raises(StockCrashError, match="SIGSEGV"):
        mortal.ask(reader, "count", input_ids=[70])
    assert mortal.child_pid is not None  # the next one waits already
    mortal.close()


@needs_wheel
def test_answers_again_when_the_child_was_killed(make_reader: MakeReader, stock: StockEngine) -> None:
    reader = make_reader()
    ids = ids_of(reader, " the")
    stock.ask(reader, "count", input_ids=ids)
    first = stock.child_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert stock.ask(reader, "count", input_ids=ids)["count"] == reader.count(ids)
    assert stock.child_pid != first


@pytest.mark.skipif(not HAS_WHEEL, reason="without the wheel no child is started")
def test_ends_a_child_that_gives_no_answer_in_time(make_reader: MakeReader) -> None:
    sleeper = StockEngine(timeout_s=0.3, command=[sys.executable, "-I", "-c", "import signal; signal.pause()"])
    with pytest.raises(StockBusyError, match="in time"):
        sleeper.ask(make_reader(), "count", input_ids=[1])
    sleeper.close()


@needs_wheel
def test_names_the_file_when_the_index_was_truncated(make_reader: MakeReader, stock: StockEngine) -> None:
    reader = make_reader()
    stock.ask(reader, "count", input_ids=[70])
    os.truncate(reader.folder / "table.0", 3)
    with pytest.raises(IndexFileError, match=r"table\.0"):
        stock.ask(reader, "count", input_ids=[70])


@needs_wheel
def test_passes_on_what_the_engine_refuses(make_reader: MakeReader, stock: StockEngine) -> None:
    reader = make_reader()
    with pytest.raises(StockRefusedError, match="max_support"):
        stock.ask(reader, "ntd", prompt_ids=[70], max_support=0)
    with pytest.raises(StockRefusedError, match="unknown operation"):
        stock.ask(reader, "load", path=str(Path.home()))


def test_says_what_is_missing_when_there_is_no_wheel(
    make_reader: MakeReader, stock: StockEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracer.engine.stock.find_spec", lambda name: None)
    with pytest.raises(StockMissingError, match="infini-gram"):
        stock.ask(make_reader(), "count", input_ids=[70])


@needs_wheel
def test_answers_when_more_files_are_open_than_select_can_name(make_reader: MakeReader, stock: StockEngine) -> None:
    reader = make_reader()
    ids = ids_of(reader, " the")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert stock.ask(reader, "ntd", prompt_ids=ids, max_support=10)["next"]
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
