"""Reads corpus files: JSON lines, plain, gzip or zstd; one, a folder or a glob; streaming; errors with line numbers.

A line is {"id", "text", "title", "url", "licence", "metadata"}; only `text` is required.
Dolma's {"id", "text", "source", "metadata"} is accepted.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import zstandard

from tracer.engine.errors import CorpusFileError

MAX_LINE_BYTES = 64 * 1024 * 1024
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")


@dataclass(frozen=True)
class CorpusDocument:
    """One document as it stands in a corpus file."""

    id: str
    text: str
    title: str = ""
    url: str = ""
    licence: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusPart:
    """One file of a corpus: `n_bytes` is its length when decompressed, `name` its place in the folder given.

    The lone file of a corpus has no name, so that its documents without an id are called by their line alone.
    """

    path: Path
    name: str
    n_bytes: int


@dataclass(frozen=True)
class _Line:
    number: int
    begin: int  # byte in the decompressed file
    raw: bytes


def find_corpus_files(given: Path) -> list[tuple[Path, str]]:
    """Return (path, name) of a file, of all corpus files under a folder, or of those that a glob fits, sorted.

    Raises `CorpusFileError` when there is none.
    """
    if given.is_file():
        return [(given, "")]
    if given.is_dir():
        root, found = given, [path for path in given.rglob("*") if path.name.endswith(SUFFIXES)]
    else:
        found = [Path(name) for name in glob.glob(str(given), recursive=True)]  # noqa: PTH207 (a whole pattern, also absolute)
        root = Path(os.path.commonpath([path.parent for path in found])) if found else given
    names = sorted((str(path.relative_to(root)), path) for path in found if path.is_file())
    if not names:
        raise CorpusFileError(given, 0, f"no such file, and no folder or pattern with {', '.join(SUFFIXES)}")
    return [(path, name) for name, path in names] if len(names) > 1 else [(names[0][1], "")]


def read_corpus_file(path: Path) -> Iterator[CorpusDocument]:
    """Yield the documents of one file; raise `CorpusFileError` at the first broken line."""
    for line in _lines(path):
        if line.raw.strip():
            yield _parse(path, line.number, line.raw, "")


def read_corpus_part(path: Path, name: str) -> Iterator[tuple[CorpusDocument | None, int]]:
    """Yield each line's document, None for a blank line, with the byte at which the line ends.

    `name` is that of `find_corpus_files`.
    """
    for line in _lines(path):
        document = _parse(path, line.number, line.raw, name) if line.raw.strip() else None
        yield document, line.begin + len(line.raw)


def measure_corpus_file(path: Path) -> int:
    """Return the bytes of a file when decompressed."""
    return sum(len(line.raw) for line in _lines(path))


def read_slice(parts: Sequence[CorpusPart], begin: int, end: int) -> Iterator[tuple[CorpusDocument, int]]:
    """Yield the documents whose line begins in bytes [begin, end) of all parts together, with bytes read since begin.

    Slices that adjoin share no document and leave none out. Only the parts concerned are opened; lines
    before `begin` are read and not parsed. Raises `CorpusFileError` when a part has another length now.
    """
    base = 0
    for part in parts:
        if base < end and base + part.n_bytes > begin:
            length = 0
            for line in _lines(part.path):
                at, length = base + line.begin, line.begin + len(line.raw)
                if at >= end:
                    break
                if at >= begin and line.raw.strip():
                    yield _parse(part.path, line.number, line.raw, part.name), at + len(line.raw) - begin
            else:
                if length != part.n_bytes:
                    reason = f"has {length:,} bytes of text instead of {part.n_bytes:,}: changed since it was added"
                    raise CorpusFileError(part.path, 0, reason)
        base += part.n_bytes


def _lines(path: Path) -> Iterator[_Line]:
    number = at = 0
    with _open(path) as lines:
        try:
            while raw := lines.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise CorpusFileError(path, number, "the line is longer than 64 MiB. Split the document")
                yield _Line(number, at, raw)
                at += len(raw)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise CorpusFileError(path, number + 1, f"cannot be decompressed or read: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if not path.name.endswith(SUFFIXES):
        raise CorpusFileError(path, 0, f"unknown kind of file. Use one of {', '.join(SUFFIXES)}")
    try:
        raw = path.open("rb")
    except OSError as error:
        raise CorpusFileError(path, 0, f"cannot be opened: {error.strerror}") from error
    with raw:
        if path.suffix == ".gz":
            with gzip.open(raw, "rb") as unzipped:
                yield unzipped  # type: ignore[misc]
        elif path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                yield io.BufferedReader(stream)
        else:
            yield raw


def _parse(path: Path, number: int, raw: bytes, name: str) -> CorpusDocument:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CorpusFileError(path, number, f"not valid UTF-8 at byte {error.start}. Convert the file") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusFileError(path, number, f"not valid JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise CorpusFileError(path, number, 'expected an object with a string "text"')
    metadata = value.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise CorpusFileError(path, number, '"metadata" must be an object')
    if "source" in value:
        metadata = {"source": value["source"], **metadata}
    strings = {name: _string(path, number, value, name) for name in ("title", "url", "licence")}
    if not strings["licence"]:
        strings["licence"] = str(value.get("license") or metadata.get("license") or "")
    identifier = value.get("id")
    place = f"{name}:{number - 1}" if name else str(number - 1)
    key = place if identifier is None else str(identifier)
    return CorpusDocument(key, _without_surrogates(value["text"]), metadata=metadata, **strings)


def _string(path: Path, number: int, value: dict[str, Any], name: str) -> str:
    found = value.get(name) or ""
    if not isinstance(found, str):
        raise CorpusFileError(path, number, f'"{name}" must be a string')
    return _without_surrogates(found)


def _without_surrogates(text: str) -> str:
    """JSON may carry lone surrogates, which no encoding can store: they become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
