"""Opens an index for reading: checked files, memory-mapped, documents by number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.engine.errors import IndexFileError
from tracer.engine.layout import TOKENIZER, Manifest, file_digest, pointer_width, read_manifest, token_dtype
from tracer.engine.search import Positions, longest_matches, rank_ranges
from tracer.engine.tokens import FOLDED_BYTES, IndexTokenizer, load_tokenizer


class Verification(StrEnum):
    """How much is checked at opening."""

    SIZES = "sizes"
    FULL = "full"  # every digest, too


@dataclass(frozen=True)
class StoredDocument:
    """One document of an index. `key` names it within its corpus."""

    index: int
    key: str
    title: str
    url: str
    licence: str
    metadata: dict[str, Any]
    token_ids: npt.NDArray[np.unsignedinteger]
    text: str


@dataclass(frozen=True)
class Occurrence:
    """Where a rank points: document and token position within it."""

    document: int
    token_start: int


class Shard:
    """One shard's files, memory-mapped."""

    def __init__(self, folder: Path, number: int, manifest: Manifest) -> None:
        self.number, self._folder = number, folder
        self.sizes = {name: e.size for name, e in manifest.files.items() if name.endswith(f".{number}")}
        self.check_sizes()
        width = manifest.token_width
        n_bytes = self.sizes[f"tokenized.{number}"]
        p = pointer_width(n_bytes)
        if n_bytes == 0 or n_bytes % width or self.sizes[f"table.{number}"] != n_bytes // width * p:
            raise IndexFileError(folder / f"table.{number}", "size does not fit tokenized's")
        self.width = width
        self.tokens = self._map("tokenized", token_dtype(width))
        self.table = self._map("table", np.dtype("u1")).reshape(-1, p)
        self.offsets = self._map("offset", np.dtype("<u8"))
        self.metadata_offsets = self._map("metaoff", np.dtype("<u8"))
        self.metadata = self._map("metadata", np.dtype("u1"))
        if len(self.offsets) != len(self.metadata_offsets):
            raise IndexFileError(folder / f"metaoff.{number}", "does not fit offset's number of documents")

    def _map(self, part: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        try:
            return np.asarray(np.memmap(self._folder / f"{part}.{self.number}", dtype=dtype, mode="r"))
        except (OSError, ValueError) as error:
            raise IndexFileError(self._folder / f"{part}.{self.number}", f"cannot be mapped ({error})") from error

    def check_sizes(self) -> None:
        """Raise `IndexFileError` when a file is gone or has another size than at building."""
        for name, size in self.sizes.items():
            path = self._folder / name
            try:
                found = path.stat().st_size
            except OSError:
                raise IndexFileError(path, "missing") from None
            if found != size:
                raise IndexFileError(path, f"has {found} bytes instead of {size}: truncated or replaced")

    @property
    def n_documents(self) -> int:
        return len(self.offsets)

    def locate(self, rank: int) -> Occurrence:
        """Return the document (within the shard) and token position that a rank points to."""
        position = int.from_bytes(self.table[rank].tobytes(), "little")
        document = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return Occurrence(document, (position - int(self.offsets[document])) // self.width - 1)

    def token_range(self, document: int) -> tuple[int, int]:
        """Return the half-open range of a document's tokens, its separator left out."""
        begin = int(self.offsets[document]) // self.width + 1
        end = len(self.tokens) if document + 1 == self.n_documents else int(self.offsets[document + 1]) // self.width
        return begin, end

    def facts(self, document: int) -> dict[str, Any]:
        """Return a document's metadata line."""
        begin = int(self.metadata_offsets[document])
        last = document + 1 == self.n_documents
        end = len(self.metadata) if last else int(self.metadata_offsets[document + 1])
        try:
            value = json.loads(self.metadata[begin:end].tobytes())
        except ValueError as error:
            raise IndexFileError(self._folder / f"metadata.{self.number}", f"line {document + 1} is damaged") from error
        return _as_ours(value) if isinstance(value, dict) else {}


def _as_ours(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a metadata line in our names; the stock indexer writes {path, linenum, metadata}."""
    stored = facts.get("metadata")
    if "id" in facts or "linenum" not in facts or not isinstance(stored, dict):
        return facts
    inner = stored.get("metadata")
    names = {**stored, **inner} if isinstance(inner, dict) else stored
    named = {name: str(names.get(name) or "") for name in ("title", "url")}
    licence = str(names.get("licence") or names.get("license") or "")
    key = stored.get("id")
    key = f"{facts.get('path')}:{facts['linenum']}" if key is None else str(key)
    return {"id": key, "licence": licence, "metadata": stored, **named}


class IndexReader:
    """One open index. Safe for threads: nothing changes after opening."""

    def __init__(self, folder: Path, manifest: Manifest, tokenizer: IndexTokenizer, shards: list[Shard]) -> None:
        self.folder, self.manifest, self.tokenizer, self.shards = folder, manifest, tokenizer, shards
        self.digest = manifest.digest
        self.n_tokens, self.n_documents = manifest.n_tokens, manifest.n_documents
        self.unigram_counts = self._read_unigrams()
        self._first_document = np.cumsum([0, *(shard.n_documents for shard in shards)])

    @classmethod
    def open(cls, folder: Path, *, verify: Verification = Verification.SIZES) -> IndexReader:
        """Open and check an index; raises `IndexFileError` naming the file and the reason."""
        manifest = read_manifest(folder)
        if verify is Verification.FULL:
            _check_digests(folder, manifest)
        path = folder / TOKENIZER
        if TOKENIZER in manifest.files and not path.is_file():
            raise IndexFileError(path, "missing")
        folds_case = manifest.tokenizer_digest == FOLDED_BYTES
        tokenizer = load_tokenizer(path if TOKENIZER in manifest.files else None, folds_case=folds_case)
        if tokenizer.digest != manifest.tokenizer_digest:
            raise IndexFileError(path, "is not the tokenizer with which the index was built")
        shards = [Shard(folder, number, manifest) for number in range(manifest.n_shards)]
        return cls(folder, manifest, tokenizer, shards)

    def check_files(self) -> None:
        """Raise `IndexFileError` when a file changed its size since it was opened."""
        for shard in self.shards:
            shard.check_sizes()

    def longest(self, query: npt.NDArray[Any], starts: Positions, limits: Positions, best: Positions) -> None:
        """Raise `best` to the longest match at each start in any shard."""
        for shard in self.shards:
            longest_matches(shard.tokens, shard.table, shard.width, query, starts, limits, best)

    def ranges(self, query: npt.NDArray[Any], starts: Positions, lengths: Positions) -> npt.NDArray[np.int64]:
        """Return (shards, spans, 2) half-open rank ranges."""
        out = np.zeros((len(self.shards), len(starts), 2), np.int64)
        for number, shard in enumerate(self.shards):
            rank_ranges(shard.tokens, shard.table, shard.width, query, starts, lengths, out[number])
        return out

    def count(self, ids: list[int]) -> int:
        """Return how often a sequence of token ids stands in the index."""
        query = np.array(ids, dtype=token_dtype(self.manifest.token_width))
        found = self.ranges(query, np.zeros(1, np.int64), np.array([len(ids)], np.int64))
        return int((found[..., 1] - found[..., 0]).sum())

    def document(self, index: int) -> StoredDocument:
        """Return one document; raises `IndexError` for a number outside 0 … n_documents − 1."""
        if not 0 <= index < self.n_documents:
            raise IndexError(f"document {index} is not in 0 … {self.n_documents - 1}")
        number = int(np.searchsorted(self._first_document, index, side="right")) - 1
        shard, within = self.shards[number], index - int(self._first_document[number])
        begin, end = shard.token_range(within)
        ids = shard.tokens[begin:end]
        facts = shard.facts(within)
        return StoredDocument(
            index,
            str(facts.get("id", index)),
            str(facts.get("title", "")),
            str(facts.get("url", "")),
            str(facts.get("licence", "")),
            facts.get("metadata") or {},
            ids,
            self.tokenizer.to_bytes(ids).decode("utf-8", "replace"),
        )

    def document_number(self, shard: int, within: int) -> int:
        """Return the number in the index of a shard's document."""
        return int(self._first_document[shard]) + within

    def documents(self) -> Iterator[StoredDocument]:
        """Yield all documents in order."""
        for index in range(self.n_documents):
            yield self.document(index)

    def _read_unigrams(self) -> npt.NDArray[np.int64]:
        """Return the counts (vocabulary,) of all ids, the separator left out."""
        counts = np.zeros(self.tokenizer.vocabulary_size, np.int64)
        for shard in self.shards:
            path = self.folder / f"unigram.{shard.number}"
            try:
                pairs = np.array(path.read_text(encoding="ascii").split(), dtype=np.int64).reshape(-1, 2)
            except (ValueError, OSError) as error:
                raise IndexFileError(path, f"not readable ({error})") from error
            if pairs[:, 1].sum() != len(shard.tokens):
                raise IndexFileError(path, "counts do not add up to the number of tokens")
            known = pairs[pairs[:, 0] < len(counts)]
            counts[known[:, 0]] += known[:, 1]
        return counts


def _check_digests(folder: Path, manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise IndexFileError(path, "missing")
        if file_digest(path) != entry.sha256:
            raise IndexFileError(path, "differs from what was built")


def validate_index(folder: Path) -> Manifest:
    """Check every digest and a sample of the suffix array's order; return the manifest."""
    reader = IndexReader.open(folder, verify=Verification.FULL)
    for shard in reader.shards:
        _check_order(folder, shard)
    return reader.manifest


def _check_order(folder: Path, shard: Shard, n_samples: int = 1000, length: int = 64) -> None:
    raw = shard.tokens.view(np.uint8)
    n = len(shard.table)
    for rank in np.unique(np.linspace(0, max(n - 2, 0), min(n_samples, n)).astype(int)).tolist():
        if rank + 1 >= n:
            continue
        one, two = (int.from_bytes(shard.table[r].tobytes(), "little") for r in (rank, rank + 1))
        if max(one, two) >= len(raw) or one % shard.width or two % shard.width:
            raise IndexFileError(folder / f"table.{shard.number}", f"rank {rank} points outside the tokens")
        if raw[one : one + length].tobytes() > raw[two : two + length].tobytes():
            raise IndexFileError(folder / f"table.{shard.number}", f"not in order at rank {rank}")
