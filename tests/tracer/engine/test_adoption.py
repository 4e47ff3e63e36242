"""Index folders built elsewhere: a sound one is taken, each damage is refused by file and reason."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import (
    IndexFileError,
    IndexReader,
    SearchableCorpus,
    TraceParameters,
    adopt_index,
    trace_text,
    validate_index,
)
from tracer.engine.layout import PARTS
from tracer.engine.stock import is_stock_engine_installed

Damage = Callable[[Path], None]


@pytest.fixture
def foreign(make_reader: MakeReader, tmp_path: Path) -> Path:
    """A folder of two shards as the stock indexer leaves it: without manifest, tokenizer and samples."""
    folder = make_reader(TEXTS, 2).folder
    target = tmp_path / "stable" / "tokenized index"
    shutil.copytree(folder, target)
    (target / "manifest.json").unlink()
    (target / "tokenizer.json").unlink()
    for path in target.glob("samples.*"):
        path.unlink()
    return target


def _adopt(source: Path, tokenizer: Path | None, out: Path) -> IndexReader:
    out.mkdir()
    adopt_index(source, out, tokenizer)
    validate_index(out)
    return IndexReader.open(out)


def test_a_sound_folder_is_taken_as_if_built_here(
    foreign: Path, tokenizer_path: Path, tmp_path: Path, make_reader: MakeReader
) -> None:
    adopted, own = _adopt(foreign, tokenizer_path, tmp_path / "adopted"), make_reader(TEXTS, 2)
    assert adopted.digest == own.digest
    assert [d.text for d in adopted.documents()] == [d.text for d in own.documents()]
    assert sorted(p.name for p in foreign.iterdir()) == sorted(f"{part}.{i}" for part in PARTS for i in (0, 1))


def test_what_the_format_leaves_out_is_made(foreign: Path, tokenizer_path: Path, tmp_path: Path) -> None:
    counted = {i: (foreign / f"unigram.{i}").read_text() for i in (0, 1)}
    for part in ("unigram", "metadata", "metaoff"):
        for shard in (0, 1):
            (foreign / f"{part}.{shard}").unlink()
    adopted = _adopt(foreign, tokenizer_path, tmp_path / "adopted")
    assert {i: (tmp_path / "adopted" / f"unigram.{i}").read_text() for i in (0, 1)} == counted
    assert [d.key for d in adopted.documents()] == ["0-0", "0-1", "0-2", "1-0", "1-1"]


def test_an_index_of_bytes_is_taken(make_reader: MakeReader, tmp_path: Path) -> None:
    source = make_reader(TEXTS, as_bytes=True).folder
    (source / "manifest.json").unlink()
    adopted = _adopt(source, None, tmp_path / "adopted")
    assert [d.text for d in adopted.documents()] == list(TEXTS)


def test_stray_names_are_no_part_of_it(foreign: Path, tokenizer_path: Path, tmp_path: Path) -> None:
    for name in ("tokenized.0.bak", "table.99_old", "my offset.0", "unigram.-1"):
        (foreign / name).write_bytes(b"x")
    assert _adopt(foreign, tokenizer_path, tmp_path / "adopted").n_documents == len(TEXTS)


def _cut(name: str, n_bytes: int) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) - n_bytes])

    return damage


def _write(name: str, change: Callable[[bytearray], bytes | bytearray]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change(bytearray((folder / name).read_bytes())))

    return damage


def _u64(content: bytearray, place: int, value: int) -> bytearray:
    content[8 * place : 8 * place + 8] = value.to_bytes(8, "little")
    return content


def _swap_ranks(content: bytearray) -> bytearray:
    middle = len(content) // 4 * 2
    content[:middle], content[middle:] = content[-middle:], content[: len(content) - middle]
    return content


def _repeat_rank(content: bytearray) -> bytearray:
    content[2:4] = content[0:2]
    return content


def _crooked(content: bytearray) -> bytearray:
    content[0] ^= 1
    return content


def _far(content: bytearray) -> bytearray:
    content[0:2] = b"\xff\xff"
    return content


def _other_id(content: bytearray) -> bytearray:
    content[2:4] = (40_000).to_bytes(2, "little")
    return content


def _no_separator(content: bytearray) -> bytearray:
    content[0:2] = content[2:4]
    return content


DAMAGES = [
    (lambda f: (f / "table.1").unlink(), "table.1", "missing"),
    (lambda f: (f / "offset.0").unlink(), "offset.0", "missing"),
    (lambda f: (f / "metaoff.1").unlink(), "metaoff.1", "missing"),
    (lambda f: (f / "metadata.1").unlink(), "metadata.1", "missing"),
    (lambda f: (f / "tokenized.0").rename(f / "tokenized.2"), "tokenized.0", "missing, though there is tokenized.2"),
    (lambda f: [p.unlink() for p in f.glob("tokenized.*")], "tokenized.0", "missing"),
    (_write("tokenized.0", lambda _: b""), "tokenized.0", "is empty"),
    (_write("table.0", lambda _: b""), "table.0", "has 0 bytes"),
    (_cut("table.0", 2), "table.0", "it would be"),
    (_cut("tokenized.1", 2), "table.1", "it would be"),
    (_cut("tokenized.1", 1), "table.1", "it would be"),
    (_write("tokenized.0", _other_id), "tokenized.0", "holds id 40000 at token 1"),
    (_write("tokenized.0", _no_separator), "offset.0", "document 0 does not begin with a separator"),
    (_write("table.0", _crooked), "table.0", "rank 0 is not aligned"),
    (_write("table.0", _far), "table.0", "rank 0 points behind the end"),
    (_write("table.0", _repeat_rank), "table.0", "does not list every token once"),
    (_write("table.0", _swap_ranks), "table.0", "is not in order at rank"),
    (_cut("offset.0", 3), "offset.0", "no whole number of 8-byte entries"),
    (_cut("offset.0", 8), "offset.0", "lists 2 documents, but there are 3 separators"),
    (_write("offset.0", lambda c: _u64(c, 0, 2)), "offset.0", "begins at byte 2"),
    (_write("offset.0", lambda c: _u64(c, 2, 2**40)), "offset.0", "points behind the end"),
    (_write("offset.0", lambda c: _u64(c, 1, 0)), "offset.0", "does not ascend at document 1"),
    (_write("offset.0", lambda c: _u64(c, 1, 3)), "offset.0", "not aligned to tokens at document 1"),
    (_write("offset.0", lambda c: _u64(c, 1, 4)), "offset.0", "document 1 does not begin with a separator"),
    (_cut("metaoff.0", 8), "metaoff.0", "lists 2 documents, offset.0 3"),
    (_write("metaoff.0", lambda c: _u64(c, 1, 5)), "metaoff.0", "document 1 should be at byte"),
    (_cut("metadata.0", 9), "metadata.0", "line 3 is no JSON object"),
    (_write("metadata.0", lambda c: bytes(c).replace(b'{"id"', b'["id"', 1)), "metadata.0", "line 1 is no JSON object"),
    (_write("metadata.0", lambda c: bytes(c) + b"{}\n"), "metadata.0", "more lines than there are documents"),
    (_write("unigram.0", lambda c: bytes(c) + b"3 4\n"), "unigram.0", "counts sum to"),
    (_write("unigram.0", lambda c: bytes(c) + b"three 4\n"), "unigram.0", "is not two numbers"),
    (_write("unigram.0", lambda c: bytes(c) + b"40000 0\n"), "unigram.0", "counts id 40000"),
]


@pytest.mark.parametrize(("damage", "file", "reason"), DAMAGES, ids=[f"{d[1]}-{d[2]}" for d in DAMAGES])
def test_each_damage_is_refused_by_file_and_reason(
    foreign: Path, tokenizer_path: Path, tmp_path: Path, damage: Damage, file: str, reason: str
) -> None:
    damage(foreign)
    with pytest.raises(IndexFileError) as caught:
        _adopt(foreign, tokenizer_path, tmp_path / "adopted")
    assert caught.value.path == foreign / file
    assert reason in str(caught.value)


def test_wrong_unigram_counts_with_the_right_sum_are_refused(
    foreign: Path, tokenizer_path: Path, tmp_path: Path
) -> None:
    lines = [line.split() for line in (foreign / "unigram.1").read_text().splitlines()]
    lines[0][1], lines[1][1] = str(int(lines[0][1]) + 1), str(int(lines[1][1]) - 1)
    (foreign / "unigram.1").write_text("".join(f"{i} {n}\n" for i, n in lines))
    with pytest.raises(IndexFileError, match=rf"unigram.1: says .* of id {lines[0][0]}"):
        _adopt(foreign, tokenizer_path, tmp_path / "adopted")


def test_a_smaller_vocabulary_is_refused(foreign: Path, tokenizer_path: Path, tmp_path: Path) -> None:
    small = json.loads(tokenizer_path.read_text())
    kept = {token: i for token, i in small["model"]["vocab"].items() if i < 300}
    small["model"]["vocab"] = kept
    small["model"]["merges"] = [m for m in small["model"]["merges"] if "".join(m) in kept]
    path = tmp_path / "small.json"
    path.write_text(json.dumps(small))
    with pytest.raises(IndexFileError, match=r"tokenized.0: holds id \d+ .* has 300 ids.*Give the tokenizer"):
        _adopt(foreign, path, tmp_path / "adopted")


def test_a_vocabulary_too_large_for_the_tokens_is_refused(foreign: Path, tokenizer_path: Path, tmp_path: Path) -> None:
    large = Tokenizer.from_file(str(tokenizer_path))
    large.add_tokens([f"<|{i}|>" for i in range(70_000)])
    large.save(str(tmp_path / "large.json"))
    with pytest.raises(IndexFileError, match="2-byte tokens, too small for 70,"):
        _adopt(foreign, tmp_path / "large.json", tmp_path / "adopted")


def test_another_tokenizer_of_the_same_size_is_refused(foreign: Path, tokenizer_path: Path, tmp_path: Path) -> None:
    other = json.loads(tokenizer_path.read_text())
    vocabulary = other["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    shifted = names[:1] + names[101:] + names[1:101]
    other["model"]["vocab"] = {name: i for i, name in enumerate(shifted)}
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    with pytest.raises(IndexFileError, match="come back when their text is tokenized again"):
        _adopt(foreign, path, tmp_path / "adopted")


def test_shards_of_different_widths_are_refused(foreign: Path, tokenizer_path: Path, tmp_path: Path) -> None:
    tokens = np.fromfile(foreign / "tokenized.1", "<u2").astype("<u4")
    tokens[tokens == 0xFFFF] = 0xFFFFFFFF
    tokens.tofile(foreign / "tokenized.1")
    n_bytes = tokens.nbytes
    table = np.fromfile(foreign / "table.1", "<u2")
    (table * 2).astype("<u2").tofile(foreign / "table.1")
    assert n_bytes < 2**16
    with pytest.raises(IndexFileError, match=r"table.1: is of 4-byte tokens, but shard 0 of 2-byte ones"):
        _adopt(foreign, tokenizer_path, tmp_path / "adopted")


def test_order_behind_a_hundred_thousand_equal_bytes_is_left_as_the_stock_indexer_left_it(
    make_reader: MakeReader, tmp_path: Path
) -> None:
    """Two suffixes that agree for longer than the stock indexer's parts overlap may stand in either order."""
    chance = random.Random(5)
    passage = "".join(chance.choices("abcdefgh ", k=120_000))
    source = make_reader((f"{passage}x", f"{passage}y"), as_bytes=True).folder
    table = np.fromfile(source / "table.0", np.uint8).reshape(-1, 3)
    raw = np.fromfile(source / "tokenized.0", np.uint8)
    ranks = [rank for rank in range(len(table) - 1) if _agreement(raw, table, rank) > 100_000]
    assert len(ranks) > 10_000
    for rank in ranks:
        table[[rank, rank + 1]] = table[[rank + 1, rank]]
    table.tofile(source / "table.0")
    (source / "manifest.json").unlink()
    assert _adopt(source, None, tmp_path / "adopted").n_documents == 2


def _agreement(raw: np.ndarray, table: np.ndarray, rank: int) -> int:
    """Return how far two neighbours can agree: only twins, one in each document, agree for long."""
    one, two = (int.from_bytes(table[r].tobytes(), "little") for r in (rank, rank + 1))
    length = min(len(raw) - max(one, two), 110_000)
    return (
        length if abs(one - two) > 100_000 and np.array_equal(raw[one : one + length], raw[two : two + length]) else 0
    )


@pytest.mark.skipif(not is_stock_engine_installed(), reason="needs the stock indexer")
def test_the_stock_indexers_own_folder_is_taken(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    facts = {"title": "T", "license": "CC0"}
    lines = [{"text": text, "id": f"d{i}", "metadata": facts} for i, text in enumerate(TEXTS * 20)]
    (text / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["--data_dir", str(text), "--save_dir", str(tmp_path / "stock"), "--token_dtype", "u8", "--cpus", "1"]
    command += ["--mem", "1", "--ulimit", "1024", "--add_metadata", "--add_unigram"]
    subprocess.run([sys.executable, "-m", "infini_gram.indexing", *command], check=True, capture_output=True)
    adopted = _adopt(tmp_path / "stock", None, tmp_path / "adopted")
    document = adopted.document(1)
    assert (document.key, document.title, document.licence, document.text) == ("d1", "T", "CC0", TEXTS[1])
    every = TraceParameters(density=None)
    result = trace_text(TEXTS[0], [SearchableCorpus("fair", [adopted])], parameters=every)
    assert result.coverage > 0.9
