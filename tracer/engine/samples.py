"""The side file samples.i of a shard: every 16th rank's first 16 bytes, so that a search reads few other pages.

Derived from the index and no part of it: it may be missing, and names the digests of the files it was made of.
Its layout, in pages: a header (JSON); the keys, sorted as they are, `KEYS_PER_PAGE` a page; and the guide: the
first key of each page of keys, then the first offset of each page of the offset file. The guide is held in memory:
a 256th of the keys, 1 MB for 250 million tokens. A search goes from the guide to one page of keys to
one page of the table.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tracer.engine.errors import IndexFileError
from tracer.engine.layout import SAMPLES, Manifest, pointer_width, token_dtype
from tracer.engine.pages import MappedFile, unchanged

EVERY, KEY_BYTES, UNIT = 16, 16, 4096
KEYS_PER_UNIT, OFFSETS_PER_UNIT = UNIT // KEY_BYTES, UNIT // 8
FORMAT = 1
ORIGIN = ("tokenized", "table", "offset")
BLOCK = 1 << 20
REMEDY = "Remove it and run manage.py sample_indexes, which makes it anew."


class Samples:
    """An open side file. `keys` (S, m) stand on disk; `guide` (G, m) and `offset_guide` (D,) in memory."""

    def __init__(self, folder: Path, number: int, manifest: Manifest) -> None:
        """Open and check sizes and origin; raises `IndexFileError`."""
        self.path = folder / f"{SAMPLES}.{number}"
        header = read_header(self.path)
        if header["made_of"] != _origin(manifest, number):
            raise IndexFileError(self.path, "is of another index", REMEDY)
        try:
            self.file = MappedFile(self.path, np.dtype("u1"))
        except (OSError, ValueError) as error:
            raise IndexFileError(self.path, f"cannot be mapped ({error})", REMEDY) from error
        n_tokens = manifest.files[f"tokenized.{number}"].size // manifest.token_width
        n_documents = manifest.files[f"offset.{number}"].size // 8
        n_keys, n_units = _ceil(n_tokens, EVERY), _ceil(_ceil(n_tokens, EVERY), KEYS_PER_UNIT)
        n_blocks = _ceil(n_documents, OFFSETS_PER_UNIT)
        guide = UNIT * (1 + n_units)
        if self.file.size != guide + n_units * KEY_BYTES + n_blocks * 8:
            raise IndexFileError(self.path, f"has {self.file.size} bytes: truncated or replaced", REMEDY)
        dtype = token_dtype(manifest.token_width)
        raw = self.file.array
        self.keys = raw[UNIT : UNIT + n_keys * KEY_BYTES].view(dtype).reshape(n_keys, -1)
        ends = guide + n_units * KEY_BYTES
        self.guide = _kept(raw[guide:ends].view(dtype).reshape(n_units, -1))
        self.offset_guide = _kept(raw[ends:].view("<u8"))


def _kept(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def open_samples(folder: Path, number: int, manifest: Manifest) -> Samples | None:
    """Return a shard's samples, None where there are none or those that are there are of no use."""
    if not (folder / f"{SAMPLES}.{number}").is_file():
        return None
    try:
        return Samples(folder, number, manifest)
    except IndexFileError:
        return None


def read_header(path: Path) -> dict[str, Any]:
    """Return the header; raises `IndexFileError`."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(UNIT))
        if (header["format"], header["every"], header["key_bytes"]) != (FORMAT, EVERY, KEY_BYTES):
            raise IndexFileError(path, "is of another format", REMEDY)
        return {"made_of": header["made_of"], "sha256": header["sha256"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IndexFileError(path, f"not readable ({error})", REMEDY) from error


def check_samples(folder: Path, number: int, manifest: Manifest) -> None:
    """Check origin, size and digest of a shard's samples, if there are any; raises `IndexFileError`."""
    path = folder / f"{SAMPLES}.{number}"
    if not path.is_file():
        return
    Samples(folder, number, manifest)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(UNIT)
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != read_header(path)["sha256"]:
        raise IndexFileError(path, "differs from what was built", REMEDY)


def write_samples(folder: Path, number: int, width: int, digests: dict[str, str]) -> None:
    """Make samples.i of a shard whose files and their digests are there; it appears by one rename.

    Reads the table once, in blocks, and the tokens at the sampled places, in their order. Memory is bounded. Raises
    `IndexFileError` when a file changes its size meanwhile.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{SAMPLES}.{number}-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(bytes(UNIT))
            digest = hashlib.sha256()
            with unchanged(folder / f"{part}.{number}" for part in ORIGIN):
                for block in _content(folder, number, width):
                    digest.update(block)
                    file.write(block)
            header = {"format": FORMAT, "every": EVERY, "key_bytes": KEY_BYTES, "sha256": digest.hexdigest()}
            made_of = {part: digests[f"{part}.{number}"] for part in ORIGIN}
            _write_header(file, {**header, "made_of": made_of})
        Path(name).chmod(0o644)
        Path(name).rename(folder / f"{SAMPLES}.{number}")
    finally:
        Path(name).unlink(missing_ok=True)


def add_samples(folder: Path, manifest: Manifest) -> int:
    """Make the samples of an index's shards that have none that are of use; return how many were made."""
    n_made = 0
    for number in range(manifest.n_shards):
        if open_samples(folder, number, manifest) is None:
            digests = {name: entry.sha256 for name, entry in manifest.files.items()}
            write_samples(folder, number, manifest.token_width, digests)
            n_made += 1
    return n_made


def _write_header(file: IO[bytes], header: dict[str, Any]) -> None:
    file.seek(0)
    file.write(json.dumps(header, sort_keys=True).encode().ljust(UNIT, b" "))
    file.flush()
    os.fsync(file.fileno())


def _content(folder: Path, number: int, width: int) -> Iterator[bytes]:
    """Yield everything behind the header."""
    guide = []
    n_keys = 0
    for keys in _key_blocks(folder, number, width):
        guide.append(keys[::KEYS_PER_UNIT].tobytes())
        n_keys += len(keys)
        yield keys.tobytes()
    yield bytes(-n_keys % KEYS_PER_UNIT * KEY_BYTES)
    yield from guide
    yield MappedFile(folder / f"offset.{number}", np.dtype("<u8")).array[::OFFSETS_PER_UNIT].tobytes()


def _key_blocks(folder: Path, number: int, width: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield (k, KEY_BYTES) keys, k a multiple of `KEYS_PER_UNIT` but for the last."""
    raw = MappedFile(folder / f"tokenized.{number}", np.dtype("u1"), reads_ahead=True).array
    p = pointer_width(len(raw))
    table = MappedFile(folder / f"table.{number}", np.dtype("u1"), reads_ahead=True).array.reshape(-1, p)
    n_keys = _ceil(len(raw) // width, EVERY)
    columns = np.arange(KEY_BYTES)
    for begin in range(0, n_keys, BLOCK):
        rows = table[begin * EVERY : min(begin + BLOCK, n_keys) * EVERY : EVERY]
        wide = np.zeros((len(rows), 8), np.uint8)
        wide[:, :p] = rows
        pointers = wide.view("<i8")[:, 0]
        order = np.argsort(pointers)
        keys = np.empty((len(rows), KEY_BYTES), np.uint8)
        for part in np.array_split(order, max(1, len(order) // 65536)):
            places = pointers[part, None] + columns
            keys[part] = np.where(places < len(raw), raw[np.minimum(places, len(raw) - 1)], 0)
        yield keys


def _origin(manifest: Manifest, number: int) -> dict[str, str]:
    return {part: manifest.files[f"{part}.{number}"].sha256 for part in ORIGIN}


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)
