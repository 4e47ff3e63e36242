"""The files of corpora: checked line by line when they are added, read in slices when an index is built.

Text is streamed: no file is ever held in memory, and a document is remembered by eight bytes of its id's hash.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import uuid
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from tracer.engine import CorpusFileError, CorpusPart, EngineError, find_corpus_files
from tracer.engine.build import check_shards
from tracer.engine.corpus_files import measure_corpus_file, read_corpus_part
from tracer.engine.layout import file_digest
from tracer.models import Corpus
from webapp.errors import BadInputError

BYTES_PER_SHARD = 256 * 1024 * 1024


@dataclass(frozen=True)
class StoredFiles:
    """What a corpus's row says of its files."""

    file: str
    files: list[dict[str, Any]]
    digest: str
    n_documents: int


@contextmanager
def stored_files(slug: str, given: Path, *, in_place: bool) -> Iterator[StoredFiles]:
    """Check a file, a folder or a glob and copy it into the data folder; an error inside the block removes the copy.

    Raises `BadInputError` that names file and line.
    """
    try:
        found = find_corpus_files(given)
        n_documents, lengths = _check_documents(found)
    except CorpusFileError as error:
        raise BadInputError(str(error)) from error
    digests = [file_digest(path) for path, _ in found]
    data_dir = Path(settings.DATA_DIR)
    is_folder = len(found) > 1
    root = Path("corpora") / (slug if is_folder else f"{slug}{_suffix(found[0][0])}")
    kept = [
        path.resolve() if in_place else root / f"{number:05d}-{path.name}" if is_folder else root
        for number, (path, _) in enumerate(found)
    ]
    files = [
        {"path": str(place), "name": name, "size": path.stat().st_size, "n_bytes": n_bytes}
        for place, (path, name), n_bytes in zip(kept, found, lengths, strict=True)
    ]
    digest = digests[0]
    if is_folder:
        named = [[name, own] for (_, name), own in zip(found, digests, strict=True)]
        digest = hashlib.sha256(json.dumps(named, separators=(",", ":")).encode()).hexdigest()
    stored = StoredFiles(str(kept[0] if in_place else root), files, digest, n_documents)
    if in_place:
        yield stored
        return
    target = data_dir / root
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        if is_folder:
            partial.mkdir()
        for place, (path, _), own in zip(kept, found, digests, strict=True):
            copy = partial / place.name if is_folder else partial
            shutil.copyfile(path, copy)
            if file_digest(copy) != own:
                raise BadInputError(f"{path} changed while it was copied. Add it when nothing writes to it.")
        if is_folder and target.exists():
            shutil.rmtree(target)  # of a corpus that was never registered
        partial.replace(target)
        yield stored
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


def corpus_parts(corpus: Corpus) -> list[CorpusPart]:
    """Return the files of a corpus. Raises `BadInputError` when it has none here or one has changed."""
    data_dir = Path(settings.DATA_DIR)
    if not corpus.file:
        raise BadInputError(f"The text of corpus {corpus.slug!r} is not here, only an index or the address of one.")
    if not corpus.files:  # added before files were listed
        path = data_dir / corpus.file
        try:
            return [CorpusPart(path, "", measure_corpus_file(path))]
        except CorpusFileError as error:
            raise BadInputError(str(error)) from error
    parts = [CorpusPart(data_dir / entry["path"], entry["name"], entry["n_bytes"]) for entry in corpus.files]
    for part, entry in zip(parts, corpus.files, strict=True):
        if not part.path.is_file() or part.path.stat().st_size != entry["size"]:
            raise BadInputError(f"{part.path} is gone or has changed since corpus {corpus.slug!r} was added.")
    return parts


def split(parts: Sequence[CorpusPart], n_shards: int) -> list[tuple[int, int]]:
    """Return the half-open byte ranges of the shards, equal to one byte; raise `BadInputError` for a bad number."""
    try:
        check_shards(n_shards)
    except EngineError as error:
        raise BadInputError(str(error), field="shards") from error
    n_bytes = sum(part.n_bytes for part in parts)
    edges = [n_bytes * shard // n_shards for shard in range(n_shards + 1)]
    return list(itertools.pairwise(edges))


def default_shards(parts: Sequence[CorpusPart]) -> int:
    """Return one shard for each 256 MiB of text, so that sorting one stays below 2 GiB of memory."""
    return min(1024, max(1, -(-sum(part.n_bytes for part in parts) // BYTES_PER_SHARD)))


def _suffix(file: Path) -> str:
    return "".join(s for s in file.suffixes[-2:] if s in {".jsonl", ".json", ".gz", ".zst"})


def _check_documents(found: Sequence[tuple[Path, str]]) -> tuple[int, list[int]]:
    """Return the number of documents and each file's decompressed bytes; a broken or repeated document is an error."""
    hashes = array("Q")
    lengths = []
    for path, name in found:
        length = 0
        for document, length in read_corpus_part(path, name):  # noqa: B007 (the last one is the whole file's)
            if document is not None:
                hashes.append(_hash(document.id))
        lengths.append(length)
    if not hashes:
        raise BadInputError(f"{found[0][0].name} has no document. Give at least one line.")
    ordered = np.sort(np.frombuffer(hashes, np.uint64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if repeated:
        _refuse_repeated(found, repeated)
    return len(hashes), lengths


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _refuse_repeated(found: Sequence[tuple[Path, str]], repeated: set[int]) -> None:
    """Name the id that stands twice; equal hashes of two ids are no error."""
    seen: set[str] = set()
    for path, name in found:
        for document, _ in read_corpus_part(path, name):
            if document is not None and _hash(document.id) in repeated:
                if document.id in seen:
                    raise BadInputError(f"{path.name}: the id {document.id!r} stands twice. Ids must be unique.")
                seen.add(document.id)
