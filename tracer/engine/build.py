"""Builds an index: a temporary folder, then one rename, so that a half-built one is never taken for whole.

A shard is built by itself (`build_shard`), by any process that sees the files; `assemble_index` joins shards.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from pydivsufsort import divsufsort

from tracer.engine.corpus_files import CorpusDocument
from tracer.engine.errors import DiskFullError, EngineError
from tracer.engine.layout import (
    FORMAT,
    MANIFEST,
    PARTS,
    SAMPLES,
    TOKENIZER,
    FileEntry,
    Manifest,
    file_digest,
    pointer_width,
    token_dtype,
)
from tracer.engine.samples import write_samples
from tracer.engine.tokens import IndexTokenizer

BATCH, BATCH_CHARACTERS = 256, 4_000_000
BLOCK = 1 << 22
PULSE_S = 1.0
SUMMARY = "shard.json"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Stage(StrEnum):
    """What a shard's build does."""

    READING = "reading"  # and tokenizing
    SORTING = "sorting"  # the suffix array, then digests


@dataclass(frozen=True)
class ShardProgress:
    """Where a shard stands; `n_bytes` of its text are read."""

    n_bytes: int
    n_documents: int
    stage: Stage


@dataclass(frozen=True)
class ShardSummary:
    """What a finished shard holds; stands in shard.json beside its files."""

    token_width: int
    n_tokens: int
    n_documents: int
    files: dict[str, FileEntry]


Progress = Callable[[ShardProgress], None]


def _no_progress(progress: ShardProgress) -> None:
    pass


def build_index(
    documents: Iterable[CorpusDocument],
    out: Path,
    tokenizer_path: Path | None,
    *,
    n_shards: int = 1,
    folds_case: bool = False,
) -> Manifest:
    """Write an index of `documents` to the new folder `out` and return its manifest.

    Documents go to shards in turn. Without a tokenizer the index is of UTF-8 bytes.
    Raises `EngineError` when `out` exists or there is no document; nothing stays behind then.
    """
    if out.exists():
        raise EngineError(f"{out} exists. An index is immutable: build into a new folder.")
    check_shards(n_shards)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".building-", dir=out.parent))
    tokenizer = IndexTokenizer(tokenizer_path, folds_case=folds_case)
    try:
        with _as_disk_full(folder):
            n_documents = _write_in_turn(documents, folder, tokenizer, n_shards)
        if n_documents < n_shards:
            raise EngineError(f"{n_documents} documents cannot fill {n_shards} shards. Give more text or fewer shards.")
        for shard in range(n_shards):
            _complete_shard(folder / str(shard), shard, tokenizer, lambda: None)
        return assemble_index(folder, [folder / str(shard) for shard in range(n_shards)], tokenizer, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_shards(n_shards: int) -> None:
    """Raise `EngineError` for a number of shards out of bounds."""
    if not 1 <= n_shards <= 1024:
        raise EngineError(f"{n_shards} shards: give a number from 1 to 1024.")


def build_shard(
    documents: Iterable[tuple[CorpusDocument, int]],
    folder: Path,
    shard: int,
    tokenizer: IndexTokenizer,
    progress: Progress = _no_progress,
) -> None:
    """Write one shard's files and their summary to the new folder `folder`, in a temporary one beside it first.

    `documents` come with the bytes read so far. `progress` is called once a second at least, and may raise
    to stop. Text is streamed; memory is 5 bytes for each byte of tokens. Raises `DiskFullError`, and
    `EngineError` when there is no document; nothing stays behind then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    state = ShardProgress(0, 0, Stage.READING)
    try:
        with _as_disk_full(folder.parent):
            writer = _ShardWriter(partial, shard, tokenizer.stored_width)
            try:
                for batch in _batched(documents):
                    ids = tokenizer.encode_batch([document.text for document, _ in batch])
                    for (document, _), own in zip(batch, ids, strict=True):
                        writer.add(document, own)
                    state = ShardProgress(batch[-1][1], state.n_documents + len(batch), Stage.READING)
                    progress(state)
            finally:
                writer.close()
        if not state.n_documents:
            raise EngineError(f"There is no document for shard {shard}. Give more text or fewer shards.")
        sorting = ShardProgress(state.n_bytes, state.n_documents, Stage.SORTING)
        _complete_shard(partial, shard, tokenizer, lambda: progress(sorting))
        if not folder.exists():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def assemble_index(building: Path, shards: Sequence[Path], tokenizer: IndexTokenizer, out: Path) -> Manifest:
    """Move the files of finished shards into the new folder `out`; may be called again after an interruption."""
    joined = building / "joined"
    joined.mkdir(exist_ok=True)
    summaries = []
    for number, folder in enumerate(shards):
        kept = joined / f"{SUMMARY}.{number}"
        if not kept.exists():
            for part in PARTS:
                if not (joined / f"{part}.{number}").exists():
                    (folder / f"{part}.{number}").rename(joined / f"{part}.{number}")
            if (folder / f"{SAMPLES}.{number}").exists():
                (folder / f"{SAMPLES}.{number}").rename(joined / f"{SAMPLES}.{number}")
            (folder / SUMMARY).rename(kept)
        summaries.append(read_summary(kept))
    files = {name: entry for summary in summaries for name, entry in summary.files.items()}
    with _as_disk_full(building):
        if tokenizer.path is not None:
            path = joined / TOKENIZER
            shutil.copyfile(tokenizer.path, path)
            files[TOKENIZER] = FileEntry(path.stat().st_size, file_digest(path))
        manifest = Manifest(
            FORMAT,
            tokenizer.stored_width,
            len(shards),
            sum(summary.n_tokens for summary in summaries),
            sum(summary.n_documents for summary in summaries),
            tokenizer.digest,
            files,
        )
        (joined / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        _sync(joined)
    for number in range(len(shards)):
        (joined / f"{SUMMARY}.{number}").unlink()
    joined.rename(out)
    return manifest


def read_summary(path: Path) -> ShardSummary:
    """Return what shard.json says."""
    value = json.loads(path.read_text(encoding="utf-8"))
    files = {name: FileEntry(**entry) for name, entry in value.pop("files").items()}
    return ShardSummary(files=files, **value)


@contextmanager
def _as_disk_full(folder: Path) -> Iterator[None]:
    """Turn a failed write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DiskFullError(folder, error) from error
        raise


def _write_in_turn(documents: Iterable[CorpusDocument], folder: Path, tokenizer: IndexTokenizer, n_shards: int) -> int:
    for shard in range(n_shards):
        (folder / str(shard)).mkdir()
    writers = [_ShardWriter(folder / str(shard), shard, tokenizer.stored_width) for shard in range(n_shards)]
    n_documents = 0
    try:
        for batch in _batched((document, 0) for document in documents):
            for (document, _), ids in zip(batch, tokenizer.encode_batch([d.text for d, _ in batch]), strict=True):
                writers[n_documents % n_shards].add(document, ids)
                n_documents += 1
    finally:
        for writer in writers:
            writer.close()
    return n_documents


def _batched(documents: Iterable[tuple[CorpusDocument, int]]) -> Iterator[list[tuple[CorpusDocument, int]]]:
    """Yield lists of at most `BATCH` documents and about `BATCH_CHARACTERS` characters."""
    batch: list[tuple[CorpusDocument, int]] = []
    n_characters = 0
    for pair in documents:
        batch.append(pair)
        n_characters += len(pair[0].text)
        if len(batch) == BATCH or n_characters >= BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


class _ShardWriter:
    """Appends documents to one shard's files."""

    def __init__(self, folder: Path, shard: int, width: int) -> None:
        self.shard = shard
        self._dtype = token_dtype(width)
        self._separator = np.array([np.iinfo(self._dtype).max], self._dtype).tobytes()
        self._files: dict[str, IO[bytes]] = {
            part: (folder / f"{part}.{shard}").open("wb") for part in ("tokenized", "offset", "metadata", "metaoff")
        }

    def add(self, document: CorpusDocument, ids: list[int]) -> None:
        files = self._files
        files["offset"].write(files["tokenized"].tell().to_bytes(8, "little"))
        files["tokenized"].write(self._separator + np.array(ids, dtype=self._dtype).tobytes())
        files["metaoff"].write(files["metadata"].tell().to_bytes(8, "little"))
        facts = {
            "id": document.id,
            "title": document.title,
            "url": document.url,
            "licence": document.licence,
            "metadata": document.metadata,
        }
        files["metadata"].write(json.dumps(facts, ensure_ascii=True).encode() + b"\n")

    def close(self) -> None:
        with ExitStack() as stack:  # what cannot be flushed must not leave the others open
            for file in self._files.values():
                stack.callback(file.close)


def _complete_shard(folder: Path, shard: int, tokenizer: IndexTokenizer, pulse: Callable[[], None]) -> None:
    """Sort a shard whose documents are written, and write its summary; `pulse` is called every second meanwhile."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with _as_disk_full(folder.parent):
                n_tokens, n_documents = sort_shard(folder, shard, tokenizer)
                names = [f"{part}.{shard}" for part in PARTS]
                files = {name: FileEntry((folder / name).stat().st_size, file_digest(folder / name)) for name in names}
                digests = {name: entry.sha256 for name, entry in files.items()}
                write_samples(folder, shard, tokenizer.stored_width, digests)
                summary = ShardSummary(tokenizer.stored_width, n_tokens, n_documents, files)
                _write(folder / SUMMARY, json.dumps(asdict(summary)).encode())
                _sync(folder)
        except BaseException as error:
            failure.append(error)

    worker = threading.Thread(target=work, name=f"sort-shard-{shard}", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(PULSE_S)
        pulse()
    if failure:
        raise failure[0]


def sort_shard(folder: Path, shard: int, tokenizer: IndexTokenizer) -> tuple[int, int]:
    """Write table.i and unigram.i of one shard; return its numbers of tokens and documents."""
    width = tokenizer.stored_width
    raw = np.fromfile(folder / f"tokenized.{shard}", dtype=np.uint8)
    suffixes = divsufsort(raw)
    p = pointer_width(len(raw))
    with (folder / f"table.{shard}").open("wb") as file:
        for begin in range(0, len(suffixes), BLOCK):
            block = suffixes[begin : begin + BLOCK]
            aligned = block[block % width == 0].astype("<u8")
            file.write(np.ascontiguousarray(aligned.view(np.uint8).reshape(-1, 8)[:, :p]).data)
    del suffixes
    counts = _count(raw.view(token_dtype(width)), tokenizer.vocabulary_size)
    lines = "".join(f"{identifier} {count}\n" for identifier, count in counts)
    _write(folder / f"unigram.{shard}", lines.encode("ascii"))
    return len(raw) // width, (folder / f"offset.{shard}").stat().st_size // 8


def _count(tokens: npt.NDArray[np.unsignedinteger], vocabulary_size: int) -> list[tuple[int, int]]:
    """Return (id, count) of all ids that occur, in ascending order; the separator is the last."""
    separator = int(np.iinfo(tokens.dtype).max)
    counts = np.zeros(vocabulary_size + 1, np.int64)
    for begin in range(0, len(tokens), BLOCK):
        block = tokens[begin : begin + BLOCK].astype(np.int64)
        counts += np.bincount(np.where(block == separator, vocabulary_size, block), minlength=len(counts))
    pairs = [(i, int(counts[i])) for i in np.flatnonzero(counts[:-1]).tolist()]
    return [*pairs, (separator, int(counts[-1]))]


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def _sync(folder: Path) -> None:
    """Flush every file, so that after a crash a renamed folder is whole."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
