"""Takes over an infini-gram v4 folder that was built elsewhere: checks every file, writes our manifest beside links.

The folder itself is only read. What the format leaves out when it was built without (unigram counts,
metadata) is made. See Liu et al., Infini-gram, arXiv 2401.17377.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.engine.errors import IndexFileError
from tracer.engine.layout import PARTS, pointer_width, token_dtype, write_manifest
from tracer.engine.pages import MappedFile, unchanged
from tracer.engine.samples import add_samples
from tracer.engine.tokens import IndexTokenizer, load_tokenizer

BLOCK = 1 << 22
#: The stock indexer sorts parts that overlap by 100,000 bytes: behind that its order is by chance, and harmless.
N_ORDER_SAMPLES, MAX_COMPARED_BYTES = 2000, 1 << 16
N_DECODED, DECODED_TOKENS, MIN_SAME = 40, 200, 0.5
REPAIR = "Copy it again from where it was built, or build the index anew."
OTHER_TOKENIZER = "Give the tokenizer.json with which the index was built."
Counts = npt.NDArray[np.int64]


def adopt_index(source: Path, folder: Path, tokenizer_path: Path | None) -> None:
    """Check the index in `source` and fill the empty `folder` with links to its files and a manifest.

    Without a tokenizer the index is of UTF-8 bytes. Raises `IndexFileError` that names the file, the
    reason and what to do. Reads every file once, in blocks.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    n_shards = _count_shards(source)
    with unchanged(source / f"{part}.{number}" for number in range(n_shards) for part in PARTS):
        _adopt(source, folder, tokenizer, n_shards)


def _adopt(source: Path, folder: Path, tokenizer: IndexTokenizer, n_shards: int) -> None:
    shards = [_ForeignShard(source, number, tokenizer) for number in range(n_shards)]
    for shard in shards[1:]:
        if shard.width != shards[0].width:
            raise shard.damage("table", f"is of {shard.width}-byte tokens, but shard 0 of {shards[0].width}-byte ones")
    counts = [shard.check() for shard in shards]
    _check_decodes(source, shards, tokenizer)
    for shard, own in zip(shards, counts, strict=True):
        shard.link(folder, own)
    if tokenizer.path is not None:
        shutil.copyfile(tokenizer.path, folder / "tokenizer.json")
    n_tokens = sum(len(shard.tokens) for shard in shards)
    n_documents = sum(len(shard.offsets) for shard in shards)
    manifest = write_manifest(folder, tokenizer.digest, shards[0].width, n_shards, n_tokens, n_documents)
    add_samples(folder, manifest)


def _count_shards(source: Path) -> int:
    """Return the number of shards; other names in the folder, such as tokenized.0.bak, are not the index's."""
    if not source.is_dir():
        raise IndexFileError(source, "no folder", "Give the folder that holds tokenized.0, table.0 and offset.0.")
    found = {int(m[1]) for p in source.iterdir() if (m := re.fullmatch(r"tokenized\.(0|[1-9]\d{0,5})", p.name))}
    if not found:
        raise IndexFileError(source / "tokenized.0", "missing", "Give the folder that holds it.")
    gap = next((number for number in range(max(found)) if number not in found), None)
    if gap is not None:
        raise IndexFileError(source / f"tokenized.{gap}", f"missing, though there is tokenized.{max(found)}", REPAIR)
    return len(found)


class _ForeignShard:
    """One shard of a folder that has no manifest. `width` follows from the files' sizes."""

    def __init__(self, folder: Path, number: int, tokenizer: IndexTokenizer) -> None:
        self.number, self._folder, self._tokenizer = number, folder, tokenizer
        for part in ("table", "offset"):
            if not self._path(part).is_file():
                raise self.damage(part, "missing")
        self.has_metadata = self._path("metadata").is_file() or self._path("metaoff").is_file()
        self.width = self._find_width()
        self._check_vocabulary_fits()
        self.tokens = self._map("tokenized", token_dtype(self.width))
        self.separator = int(np.iinfo(self.tokens.dtype).max)
        self._p = pointer_width(self._size("tokenized"))
        self.table = self._map("table", np.dtype("u1")).reshape(-1, self._p)
        self.offsets = self._map("offset", np.dtype("<u8"))

    def damage(self, part: str, reason: str, remedy: str = REPAIR) -> IndexFileError:
        """Return the error that names one of the shard's files."""
        return IndexFileError(self._path(part), reason, remedy)

    def check(self) -> Counts:
        """Check all files; return the counts (vocabulary + 1,) of the ids, the separator's last."""
        self._check_offsets()
        counts = self._count_tokens()
        self._check_table()
        self._check_order()
        if self.has_metadata:
            self._check_metadata()
        if self._path("unigram").is_file():
            self._check_unigrams(counts)
        return counts

    def link(self, folder: Path, counts: Counts) -> None:
        """Link the files into `folder`; write unigram counts and metadata where there are none."""
        made = set() if self.has_metadata else {"metadata", "metaoff"}
        if not self._path("unigram").is_file():
            made.add("unigram")
            ids = np.append(np.arange(len(counts) - 1), self.separator)
            pairs = zip(ids[counts > 0].tolist(), counts[counts > 0].tolist(), strict=True)
            lines = "".join(f"{identifier} {count}\n" for identifier, count in pairs)
            (folder / f"unigram.{self.number}").write_text(lines, encoding="ascii")
        if not self.has_metadata:
            self._write_metadata(folder)
        for part in PARTS:
            if part not in made:
                (folder / f"{part}.{self.number}").symlink_to(self._path(part).resolve())

    def _path(self, part: str) -> Path:
        return self._folder / f"{part}.{self.number}"

    def _size(self, part: str) -> int:
        return self._path(part).stat().st_size

    def _map(self, part: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        size = self._size(part)
        if size == 0 or size % dtype.itemsize:
            raise self.damage(part, f"has {size} bytes, no whole number of {dtype.itemsize}-byte entries")
        try:
            return MappedFile(self._path(part), dtype, reads_ahead=True).array
        except (OSError, ValueError) as error:
            raise self.damage(part, f"cannot be mapped ({error})") from error

    def _find_width(self) -> int:
        """Return the bytes of a token: the one width for which the table has an entry for each token."""
        n_bytes, n_table = self._size("tokenized"), self._size("table")
        if n_bytes == 0:
            raise self.damage("tokenized", "is empty")
        p = pointer_width(n_bytes)
        for width in (1, 2, 4):
            if n_bytes % width == 0 and n_table == n_bytes // width * p:
                return width
        wanted = ", ".join(f"{n_bytes // w * p:,} (u{8 * w})" for w in (1, 2, 4) if n_bytes % w == 0)
        raise self.damage(
            "table",
            f"has {n_table:,} bytes; for tokenized.{self.number} of {n_bytes:,} bytes it would be {wanted}",
        )

    def _check_vocabulary_fits(self) -> None:
        is_bytes = self._tokenizer.path is None
        if is_bytes and self.width != 1:
            raise self.damage("tokenized", f"is of {self.width}-byte tokens, not of bytes", "Give --tokenizer.")
        if not is_bytes and self._tokenizer.vocabulary_size >= 2 ** (8 * self.width):
            raise self.damage(
                "tokenized",
                f"is of {self.width}-byte tokens, too small for {self._tokenizer.vocabulary_size:,} ids",
                OTHER_TOKENIZER,
            )

    def _check_offsets(self) -> None:
        """Each offset is the byte at which a separator stands, in ascending order from 0."""
        offsets, n_bytes = self.offsets, self._size("tokenized")
        if offsets[0] != 0:
            raise self.damage("offset", f"begins at byte {offsets[0]} instead of 0")
        for begin in range(0, len(offsets), BLOCK):
            block = offsets[max(0, begin - 1) : begin + BLOCK]
            number = max(0, begin - 1)
            if (falling := np.flatnonzero(block[1:] <= block[:-1])).size:
                raise self.damage("offset", f"does not ascend at document {number + int(falling[0]) + 1}")
            if block[-1] >= n_bytes:
                raise self.damage("offset", f"points behind the end of tokenized.{self.number} ({n_bytes:,} bytes)")
            if (crooked := np.flatnonzero(block % self.width)).size:
                raise self.damage("offset", f"is not aligned to tokens at document {number + int(crooked[0])}")
            heads = self.tokens[block // self.width]
            if (wrong := np.flatnonzero(heads != self.separator)).size:
                raise self.damage("offset", f"document {number + int(wrong[0])} does not begin with a separator")

    def _count_tokens(self) -> Counts:
        """Count every id; one that the tokenizer does not know is an error."""
        size = self._tokenizer.vocabulary_size
        counts = np.zeros(size + 1, np.int64)
        for begin in range(0, len(self.tokens), BLOCK):
            block = self.tokens[begin : begin + BLOCK].astype(np.int64)
            is_separator = block == self.separator
            if (unknown := np.flatnonzero((block >= size) & ~is_separator)).size:
                place = int(unknown[0])
                raise self.damage(
                    "tokenized",
                    f"holds id {block[place]} at token {begin + place}, but the tokenizer has {size:,} ids",
                    OTHER_TOKENIZER,
                )
            counts += np.bincount(np.where(is_separator, size, block), minlength=size + 1)
        if counts[size] != len(self.offsets):
            raise self.damage(
                "offset", f"lists {len(self.offsets):,} documents, but there are {counts[size]:,} separators"
            )
        return counts

    def _check_table(self) -> None:
        """Every entry points to a token; together they can be all of them, each once (by sum and exclusive or)."""
        n, n_bytes = len(self.table), self._size("tokenized")
        total, mixed = np.uint64(0), np.uint64(0)
        expected_total, expected_mixed = np.uint64(0), np.uint64(0)
        for begin in range(0, n, BLOCK):
            block = self.table[begin : begin + BLOCK]
            pointers = _pointers(block)
            if (outside := np.flatnonzero(pointers >= n_bytes)).size:
                raise self.damage("table", f"rank {begin + int(outside[0])} points behind the end of the tokens")
            if (crooked := np.flatnonzero(pointers % self.width)).size:
                raise self.damage("table", f"rank {begin + int(crooked[0])} is not aligned to a token")
            places = np.arange(begin, begin + len(block), dtype=np.uint64) * np.uint64(self.width)
            total, mixed = total + pointers.sum(), mixed ^ np.bitwise_xor.reduce(pointers)
            expected_total += places.sum()
            expected_mixed ^= np.bitwise_xor.reduce(places)
        if total != expected_total or mixed != expected_mixed:
            raise self.damage("table", "does not list every token once")

    def _check_order(self) -> None:
        """Neighbours, at sampled ranks, are in the order of their bytes."""
        n = len(self.table)
        raw = self.tokens.view(np.uint8)
        for rank in np.unique(np.linspace(0, n - 2, min(N_ORDER_SAMPLES, n - 1)).astype(np.int64)).tolist():
            one, two = (int(v) for v in _pointers(self.table[rank : rank + 2]))
            if not _is_below(raw, one, two):
                raise self.damage("table", f"is not in order at rank {rank}")

    def _check_metadata(self) -> None:
        """One JSON object a document, at the byte that metaoff tells."""
        for part in ("metadata", "metaoff"):
            if not self._path(part).is_file():
                raise self.damage(part, "missing")
        places = self._map("metaoff", np.dtype("<u8"))
        if len(places) != len(self.offsets):
            raise self.damage("metaoff", f"lists {len(places):,} documents, offset.{self.number} {len(self.offsets):,}")
        at = 0
        with self._path("metadata").open("rb") as file:
            for number, place in enumerate(_blockwise(places)):
                if place != at:
                    raise self.damage("metaoff", f"document {number} should be at byte {at}, not {place}")
                line = file.readline()
                at += len(line)
                if not _is_object(line):
                    raise self.damage("metadata", f"line {number + 1} is no JSON object")
            if file.read(1):
                raise self.damage("metadata", f"has more lines than there are documents ({len(self.offsets):,})")

    def _check_unigrams(self, counts: Counts) -> None:
        """The lines "id count" say exactly what was counted."""
        said = np.zeros_like(counts)
        with self._path("unigram").open(encoding="ascii", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                pair = re.fullmatch(r"(\d{1,10}) (\d{1,18})\n?", line)
                if pair is None:
                    raise self.damage("unigram", f"line {number} is not two numbers")
                identifier, count = int(pair[1]), int(pair[2])
                place = len(counts) - 1 if identifier == self.separator else identifier
                if place >= len(counts) or (place == len(counts) - 1 and identifier != self.separator):
                    raise self.damage("unigram", f"line {number} counts id {identifier}, which does not occur")
                said[place] += count
        if said.sum() != len(self.tokens):
            raise self.damage("unigram", f"counts sum to {said.sum():,} instead of {len(self.tokens):,} tokens")
        if (wrong := np.flatnonzero(said != counts)).size:
            place = int(wrong[0])
            name = self.separator if place == len(counts) - 1 else place
            raise self.damage("unigram", f"says {said[place]:,} of id {name}; there are {counts[place]:,}")

    def _write_metadata(self, folder: Path) -> None:
        """Name each document by shard and number, which is all that is known of it."""
        with (
            (folder / f"metadata.{self.number}").open("wb") as lines,
            (folder / f"metaoff.{self.number}").open("wb") as places,
        ):
            for number in range(len(self.offsets)):
                places.write(lines.tell().to_bytes(8, "little"))
                lines.write(json.dumps({"id": f"{self.number}-{number}"}).encode() + b"\n")


def _pointers(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return (n,) byte pointers of (n, p) little-endian table rows."""
    wide = np.zeros((len(rows), 8), np.uint8)
    wide[:, : rows.shape[1]] = rows
    return wide.view("<u8")[:, 0]


def _is_below(raw: npt.NDArray[np.uint8], one: int, two: int) -> bool:
    """Tell whether the suffix at `one` sorts before the one at `two`, as far as `MAX_COMPARED_BYTES` tell."""
    for length in (64, 1024, MAX_COMPARED_BYTES):
        left, right = raw[one : one + length].tobytes(), raw[two : two + length].tobytes()
        if left != right:
            return left < right
    return True


def _blockwise(values: npt.NDArray[np.uint64]) -> Iterator[int]:
    for begin in range(0, len(values), BLOCK):
        yield from values[begin : begin + BLOCK].tolist()


def _is_object(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _check_decodes(source: Path, shards: list[_ForeignShard], tokenizer: IndexTokenizer) -> None:
    """Decode sampled documents and tokenize them again: another tokenizer gives other ids."""
    if tokenizer.path is None:
        return
    same, total = 0, 0
    for shard in shards:
        numbers = np.unique(np.linspace(0, len(shard.offsets) - 1, N_DECODED).astype(np.int64)).tolist()
        for number in numbers:
            begin = int(shard.offsets[number]) // shard.width + 1
            last = number + 1 == len(shard.offsets)
            end = len(shard.tokens) if last else int(shard.offsets[number + 1]) // shard.width
            ids = shard.tokens[begin : min(end, begin + DECODED_TOKENS)]
            again = tokenizer.encode(tokenizer.to_bytes(ids).decode("utf-8", "replace")).ids.tolist()
            same += sum(x == y for x, y in itertools.zip_longest(ids.tolist(), again))
            total += len(ids)
    if same < MIN_SAME * total:
        raise IndexFileError(
            source / "tokenized.0",
            f"of {total:,} sampled tokens only {same:,} come back when their text is tokenized again",
            OTHER_TOKENIZER,
        )
