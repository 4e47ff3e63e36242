"""Reads corpus files: JSON lines, plain, gzip or zstd; streaming; errors with line numbers.

A line is {"id", "text", "title", "url", "licence", "metadata"}; only `text` is required.
Dolma's {"id", "text", "source", "metadata"} is accepted.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
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


def read_corpus_file(path: Path) -> Iterator[CorpusDocument]:
    """Yield the documents of one file; raise `CorpusFileError` at the first broken line."""
    n_lines = 0
    with _open(path) as lines:
        try:
            while raw := lines.readline(MAX_LINE_BYTES + 1):
                n_lines += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise CorpusFileError(path, n_lines, "the line is longer than 64 MiB. Split the document")
                if raw.strip():
                    yield _parse(path, n_lines, raw)
        except (OSError, EOFError, zstandard.ZstdError) as error:
            raise CorpusFileError(path, n_lines + 1, f"cannot be decompressed or read: {error}") from error


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
            with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                yield io.BufferedReader(stream)
        else:
            yield raw


def _parse(path: Path, number: int, raw: bytes) -> CorpusDocument:
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
    key = str(number - 1) if identifier is None else str(identifier)
    return CorpusDocument(key, _without_surrogates(value["text"]), metadata=metadata, **strings)


def _string(path: Path, number: int, value: dict[str, Any], name: str) -> str:
    found = value.get(name) or ""
    if not isinstance(found, str):
        raise CorpusFileError(path, number, f'"{name}" must be a string')
    return _without_surrogates(found)


def _without_surrogates(text: str) -> str:
    """JSON may carry lone surrogates, which no encoding can store: they become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
