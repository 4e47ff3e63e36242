"""Builds an index: a temporary folder, then one rename, so that a half-built one is never taken for whole."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from pydivsufsort import divsufsort

from tracer.engine.corpus_files import CorpusDocument
from tracer.engine.errors import EngineError
from tracer.engine.layout import (
    TOKENIZER,
    Manifest,
    pointer_width,
    token_dtype,
    token_width,
    write_manifest,
)
from tracer.engine.tokens import IndexTokenizer, load_tokenizer

BATCH = 256


@dataclass(frozen=True)
class BuildProgress:
    """Where a build stands: documents tokenized, shards sorted."""

    n_documents: int
    n_shards_done: int
    n_shards: int


Progress = Callable[[BuildProgress], None]


def build_index(
    documents: Iterable[CorpusDocument],
    out: Path,
    tokenizer_path: Path | None,
    *,
    n_shards: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Write an index of `documents` to the new folder `out` and return its manifest.

    Documents go to shards in turn. Without a tokenizer the index is of UTF-8 bytes.
    Raises `EngineError` when `out` exists or there is no document; nothing stays behind then.
    """
    if out.exists():
        raise EngineError(f"{out} exists. An index is immutable: build into a new folder.")
    if not 1 <= n_shards <= 1024:
        raise EngineError(f"{n_shards} shards: give a number from 1 to 1024.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".building-", dir=out.parent))
    try:
        manifest = _build(documents, folder, load_tokenizer(tokenizer_path), n_shards, progress or (lambda _: None))
        _sync(folder)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return manifest


def _build(
    documents: Iterable[CorpusDocument], folder: Path, tokenizer: IndexTokenizer, n_shards: int, progress: Progress
) -> Manifest:
    width = token_width(tokenizer.vocabulary_size, is_bytes=tokenizer.path is None)
    writers = [_ShardWriter(folder, shard, width) for shard in range(n_shards)]
    n_documents = 0
    try:
        for batch in _batched(documents):
            for document, ids in zip(batch, tokenizer.encode_batch([d.text for d in batch]), strict=True):
                writers[n_documents % n_shards].add(document, ids)
                n_documents += 1
            progress(BuildProgress(n_documents, 0, n_shards))
    finally:
        for writer in writers:
            writer.close()
    if n_documents < n_shards:
        raise EngineError(f"{n_documents} documents cannot fill {n_shards} shards. Give more text or fewer shards.")
    n_tokens = 0
    for done, writer in enumerate(writers, start=1):
        n_tokens += _sort_shard(folder, writer.shard, width)
        progress(BuildProgress(n_documents, done, n_shards))
    if tokenizer.path is not None:
        shutil.copyfile(tokenizer.path, folder / TOKENIZER)
    return write_manifest(folder, tokenizer.digest, width, n_shards, n_tokens, n_documents)


def _batched(documents: Iterable[CorpusDocument]) -> Iterator[list[CorpusDocument]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, BATCH)):
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
        for file in self._files.values():
            file.close()


def _sort_shard(folder: Path, shard: int, width: int) -> int:
    """Write table.i and unigram.i of one shard; return its number of tokens."""
    raw = np.fromfile(folder / f"tokenized.{shard}", dtype=np.uint8)
    suffixes = divsufsort(raw)
    if width > 1:
        suffixes = suffixes[suffixes % width == 0]
    p = pointer_width(len(raw))
    pointers = suffixes.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :p]
    np.ascontiguousarray(pointers).tofile(folder / f"table.{shard}")
    values, counts = np.unique(raw.view(token_dtype(width)), return_counts=True)
    lines = "".join(f"{value} {count}\n" for value, count in zip(values.tolist(), counts.tolist(), strict=True))
    (folder / f"unigram.{shard}").write_text(lines, encoding="ascii")
    return len(raw) // width


def _sync(folder: Path) -> None:
    """Flush every file, so that after a crash a renamed folder is whole."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
