"""Building, opening and refusing: nothing half-written is taken for an index, nothing damaged is read."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import (
    CorpusDocument,
    CorpusFileError,
    EngineError,
    IndexFileError,
    IndexReader,
    SearchableCorpus,
    Verification,
    build_index,
    read_corpus_file,
    trace_text,
    validate_index,
)


def test_documents_come_back_word_for_word(make_reader: MakeReader) -> None:
    reader = make_reader(n_shards=2)
    stored = {document.key: document for document in reader.documents()}
    assert {key: document.text for key, document in stored.items()} == {f"doc-{i}": t for i, t in enumerate(TEXTS)}
    assert stored["doc-1"].title == "Title 1"
    validate_index(reader.folder)


def test_table_is_the_sorted_list_of_suffixes(make_reader: MakeReader) -> None:
    reader = make_reader()
    [shard] = reader.shards
    raw = shard.tokens.tobytes()
    pointers = [int.from_bytes(row.tobytes(), "little") for row in shard.table]
    assert pointers == sorted(range(0, len(raw), shard.width), key=lambda at: raw[at:])


def test_same_documents_give_the_same_digest(tmp_path: Path, tokenizer_path: Path) -> None:
    documents = [CorpusDocument(str(i), text) for i, text in enumerate(TEXTS)]
    one = build_index(documents, tmp_path / "one", tokenizer_path, n_shards=2)
    two = build_index(iter(documents), tmp_path / "two", tokenizer_path, n_shards=2)
    assert one.digest == two.digest


def test_interrupted_build_leaves_nothing(tmp_path: Path, tokenizer_path: Path) -> None:
    def failing() -> Iterator[CorpusDocument]:
        yield CorpusDocument("1", "text")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(failing(), tmp_path / "out" / "index", tokenizer_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_build_refuses_an_existing_folder_and_an_empty_corpus(tmp_path: Path, tokenizer_path: Path) -> None:
    with pytest.raises(EngineError, match="exists"):
        build_index([CorpusDocument("1", "a")], tmp_path, tokenizer_path)
    with pytest.raises(EngineError, match="cannot fill"):
        build_index([], tmp_path / "index", tokenizer_path)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", ["tokenized.0", "table.0", "offset.0", "metadata.0", "metaoff.0", "unigram.0"])
def test_open_refuses_a_truncated_file(make_reader: MakeReader, name: str) -> None:
    folder = make_reader().folder
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    with pytest.raises(IndexFileError, match=name.split(".", maxsplit=1)[0]):
        IndexReader.open(folder)


@pytest.mark.parametrize("name", ["tokenized.0", "table.0", "manifest.json", "tokenizer.json"])
def test_open_refuses_a_missing_file(make_reader: MakeReader, name: str) -> None:
    folder = make_reader().folder
    (folder / name).unlink()
    with pytest.raises(IndexFileError, match="missing"):
        IndexReader.open(folder)


def test_full_verification_finds_one_changed_byte(make_reader: MakeReader) -> None:
    folder = make_reader().folder
    content = bytearray((folder / "tokenized.0").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "tokenized.0").write_bytes(content)
    with pytest.raises(IndexFileError, match="differs"):
        IndexReader.open(folder, verify=Verification.FULL)


def test_trace_refuses_a_file_truncated_while_open(make_reader: MakeReader) -> None:
    reader = make_reader()
    os.truncate(reader.folder / "table.0", 8)
    with pytest.raises(IndexFileError, match="truncated or replaced"):
        trace_text("The carousel turns.", [SearchableCorpus("fair", [reader])])


def test_a_folder_named_like_a_file_is_no_trouble(tmp_path: Path, tokenizer_path: Path) -> None:
    build_index([CorpusDocument("1", "stable table offset")], tmp_path / "stable" / "tokenized.0", tokenizer_path)
    assert IndexReader.open(tmp_path / "stable" / "tokenized.0").n_documents == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_corpus_file_is_read_plain_and_compressed(tmp_path: Path, suffix: str) -> None:
    lines = "".join(json.dumps(d) + "\n" for d in ({"text": "one"}, {"id": 7, "text": "two", "source": "here"}))
    pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}[suffix]
    path = tmp_path / f"corpus{suffix}"
    path.write_bytes(pack(lines.encode()))
    one, two = read_corpus_file(path)
    assert (one.id, one.text) == ("0", "one")
    assert (two.id, two.metadata) == ("7", {"source": "here"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "caf\xe9"}', "UTF-8"),
        (b'{"text": ', "not valid JSON"),
        (b'["text"]', "expected an object"),
        (b'{"text": 3}', "expected an object"),
        (b'{"text": "a", "metadata": 1}', "metadata"),
    ],
)
def test_broken_line_is_named_by_its_number(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(CorpusFileError, match=rf"line 3.*{reason}"):
        list(read_corpus_file(path))


def test_truncated_compression_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a long enough text"}\n' * 100)[:-20])
    with pytest.raises(CorpusFileError, match="cannot be decompressed"):
        list(read_corpus_file(path))
