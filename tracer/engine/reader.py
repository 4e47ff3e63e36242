"""Opens an index for reading: checked files, memory-mapped, documents by number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.engine.errors import IndexFileError
from tracer.engine.layout import SAMPLES, TOKENIZER, Manifest, file_digest, pointer_width, read_manifest, token_dtype
from tracer.engine.pages import MappedFile, Stepwise, run_together
from tracer.engine.privacy import mask_personal_data
from tracer.engine.relevance import bm25_scores
from tracer.engine.samples import OFFSETS_PER_UNIT, check_samples, open_samples
from tracer.engine.search import Positions
from tracer.engine.stepwise import Notes, Search, compile_searches
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
        self.tokens_file = self._map("tokenized", token_dtype(width))
        self.table_file = self._map("table", np.dtype("u1"))
        self.offsets_file = self._map("offset", np.dtype("<u8"))
        self.metadata_offsets_file = self._map("metaoff", np.dtype("<u8"))
        self.metadata_file = self._map("metadata", np.dtype("u1"))
        self.tokens, self.table = self.tokens_file.array, self.table_file.array.reshape(-1, p)
        self.offsets, self.metadata_offsets = self.offsets_file.array, self.metadata_offsets_file.array
        self.metadata = self.metadata_file.array
        self._had_samples = (folder / f"{SAMPLES}.{number}").is_file()
        self.samples = open_samples(folder, number, manifest)
        if len(self.offsets) != len(self.metadata_offsets):
            raise IndexFileError(folder / f"metaoff.{number}", "does not fit offset's number of documents")

    def has_new_samples(self) -> bool:
        """Tell whether samples were made since it was opened without any."""
        return not self._had_samples and (self._folder / f"{SAMPLES}.{self.number}").is_file()

    def _map(self, part: str, dtype: np.dtype[Any]) -> MappedFile:
        try:
            return MappedFile(self._folder / f"{part}.{self.number}", dtype)
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
        document = self.document_at(position)
        return Occurrence(document, (position - int(self.offsets[document])) // self.width - 1)

    def document_at(self, pointer: int) -> int:
        """Return the document (within the shard) in which a byte pointer stands."""
        first, last = self.document_bounds(pointer)
        return first + _n_up_to(self.offsets[first:last], pointer) - 1

    def document_bounds(self, pointer: int) -> tuple[int, int]:
        """Return the half-open range of documents, all in one page of offsets if there are samples, that hold it."""
        if self.samples is None:
            return 0, self.n_documents
        page = _n_up_to(self.samples.offset_guide, pointer) - 1
        return page * OFFSETS_PER_UNIT, min(self.n_documents, (page + 1) * OFFSETS_PER_UNIT)

    def token_range(self, document: int) -> tuple[int, int]:
        """Return the half-open range of a document's tokens, its separator left out."""
        begin = int(self.offsets[document]) // self.width + 1
        end = len(self.tokens) if document + 1 == self.n_documents else int(self.offsets[document + 1]) // self.width
        return begin, end

    def facts_range(self, document: int) -> tuple[int, int]:
        """Return where a document's metadata line stands, in bytes."""
        begin = int(self.metadata_offsets[document])
        last = document + 1 == self.n_documents
        return begin, len(self.metadata) if last else int(self.metadata_offsets[document + 1])

    def facts(self, document: int) -> dict[str, Any]:
        """Return a document's metadata line."""
        begin, end = self.facts_range(document)
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

    @contextmanager
    def intact(self) -> Iterator[None]:
        """Read what is to be trusted: raises `IndexFileError` if a file lost bytes meanwhile, whatever came of that."""
        with intact([self]):
            yield

    def check_files(self) -> None:
        """Raise `IndexFileError` when a file changed its size since it was opened."""
        for shard in self.shards:
            shard.check_sizes()

    def warm_up(self) -> None:
        """Compile what searches of this index need, so that the first one is as fast as others."""
        compile_searches(self.shards[0])
        bm25_scores("warm", [mask_personal_data("up")])

    def longest(self, query: npt.NDArray[Any], starts: Positions, limits: Positions, best: Positions) -> None:
        """Raise `best` to the longest match at each start in any shard."""
        run_together(self.longest_steps(query, starts, limits, best, Notes()))

    def longest_steps(
        self, query: npt.NDArray[Any], starts: Positions, limits: Positions, best: Positions, notes: Notes
    ) -> list[Stepwise]:
        """Return what `longest` does, a search for each shard, to be run together with others."""
        lower = np.zeros(len(starts), np.bool_)
        searches = [notes.add(shard, Search(shard, query, starts, limits, lower)) for shard in self.shards]
        return [search.find_longest(best) for search in searches]

    def ranges(self, query: npt.NDArray[Any], starts: Positions, lengths: Positions) -> npt.NDArray[np.int64]:
        """Return (shards, spans, 2) half-open rank ranges."""
        out = np.zeros((len(self.shards), len(starts), 2), np.int64)
        run_together(self.ranges_steps(query, starts, lengths, out, Notes()))
        return out

    def ranges_steps(
        self, query: npt.NDArray[Any], starts: Positions, lengths: Positions, out: npt.NDArray[np.int64], notes: Notes
    ) -> list[Stepwise]:
        """Return what fills `out` (shards, spans, 2), a search for each shard; `notes` are of the same query."""
        searches = self.range_searches(query, starts, lengths)
        return [_fill_ranges(search, notes.of(shard), out[i]) for i, (shard, search) in enumerate(searches)]

    def range_searches(
        self, query: npt.NDArray[Any], starts: Positions, lengths: Positions
    ) -> list[tuple[Shard, Search]]:
        """Return a search in each shard for (2 · spans,) ranks: where each range begins, then where it ends."""
        n = len(starts)
        both = np.tile(starts, 2), np.tile(lengths, 2), np.arange(2 * n) >= n
        return [(shard, Search(shard, query, *both)) for shard in self.shards]

    def count(self, ids: list[int]) -> int:
        """Return how often a sequence of token ids stands in the index."""
        query = np.array(ids, dtype=token_dtype(self.manifest.token_width))
        with self.intact():
            found = self.ranges(query, np.zeros(1, np.int64), np.array([len(ids)], np.int64))
        return int((found[..., 1] - found[..., 0]).sum())

    def document(self, index: int) -> StoredDocument:
        """Return one document; raises `IndexError` for a number outside 0 … n_documents − 1."""
        if not 0 <= index < self.n_documents:
            raise IndexError(f"document {index} is not in 0 … {self.n_documents - 1}")
        number = int(np.searchsorted(self._first_document, index, side="right")) - 1
        shard, within = self.shards[number], index - int(self._first_document[number])
        with self.intact():
            begin, end = shard.token_range(within)
            ids, facts = shard.tokens[begin:end], shard.facts(within)
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


@contextmanager
def intact(readers: Sequence[IndexReader]) -> Iterator[None]:
    """Check files after what was read of them: a page that a file lost while it was mapped reads as zeros.

    Raises `IndexFileError` instead of what the zeros may have caused.
    """
    try:
        yield
    finally:
        for reader in readers:
            reader.check_files()


def _fill_ranges(search: Search, seen: Search | None, out: npt.NDArray[np.int64]) -> Stepwise:
    yield from search.find_ranks(seen)
    out[:] = search.low.reshape(2, -1).T


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
        check_samples(folder, shard.number, reader.manifest)
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


def _n_up_to(ascending: npt.NDArray[np.uint64], pointer: int) -> int:
    """Return how many do not exceed the pointer, which must be of their type: else all are converted to floats."""
    return int(ascending.searchsorted(np.uint64(pointer), side="right"))
