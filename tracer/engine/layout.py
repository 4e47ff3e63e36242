"""The infini-gram v4 layout on disk and the manifest that we add to it.

Shard i has tokenized.i, table.i, offset.i, metadata.i, metaoff.i and unigram.i.
See Liu et al., Infini-gram, arXiv 2401.17377.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracer.engine.errors import IndexFileError

MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
SAMPLES = "samples"
PARTS = ("tokenized", "table", "offset", "metadata", "metaoff", "unigram")
FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an index holds; its digest names the index."""

    format: int
    token_width: int
    n_shards: int
    n_tokens: int
    n_documents: int
    tokenizer_digest: str
    files: dict[str, FileEntry]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical manifest, which covers every byte of the index."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return the canonical text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json; raises `IndexFileError`."""
    path = folder / MANIFEST
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileEntry(**entry) for name, entry in value.pop("files").items()}
        manifest = Manifest(files=files, **value)
    except FileNotFoundError:
        raise IndexFileError(path, "missing, so the index is not complete") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexFileError(path, f"not readable ({error})") from error
    if manifest.format != FORMAT or manifest.token_width not in (1, 2, 4) or manifest.n_shards < 1:
        raise IndexFileError(path, "of another format")
    expected = {f"{part}.{shard}" for shard in range(manifest.n_shards) for part in PARTS}
    if missing := expected - set(files):
        raise IndexFileError(path, f"does not list {sorted(missing)[0]}")
    return manifest


def write_manifest(
    folder: Path, tokenizer_digest: str, width: int, n_shards: int, n_tokens: int, n_documents: int
) -> Manifest:
    """Write manifest.json over the files in `folder`, each read once for its digest."""
    names = [f"{part}.{shard}" for shard in range(n_shards) for part in PARTS]
    if (folder / TOKENIZER).is_file():
        names.append(TOKENIZER)
    files = {name: FileEntry((folder / name).stat().st_size, file_digest(folder / name)) for name in names}
    manifest = Manifest(FORMAT, width, n_shards, n_tokens, n_documents, tokenizer_digest, files)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def pointer_width(n_bytes: int) -> int:
    """Return the bytes of one table entry: ceil(log2(n_bytes) / 8), at least 1."""
    return max(1, ((n_bytes - 1).bit_length() + 7) // 8)


def token_width(vocabulary_size: int, *, is_bytes: bool) -> int:
    """Return the bytes of one stored token; the all-ones value is the separator and no id."""
    if is_bytes:
        return 1
    return 2 if vocabulary_size < 2**16 else 4


def token_dtype(width: int) -> np.dtype[Any]:
    """Return the little-endian dtype of stored tokens."""
    return np.dtype({1: "<u1", 2: "<u2", 4: "<u4"}[width])


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
