"""Writes the log as files that the offline verifier reads: leaves, checkpoints, key, verifier."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import rfc8785

from webapp.errors import BadInputError
from webapp.transparency import verify
from webapp.transparency.keys import verifier
from webapp.transparency.models import Checkpoint, Entry

VERIFIER = Path(verify.__file__)
_ROWS = 2_000


class LogFile:
    """Canonical JSON lines of a file; `digest` is their SHA-256 once all were read."""

    def __init__(self, name: str, records: Iterable[dict[str, Any]]) -> None:
        self.name = name
        self._records = records
        self._sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for record in self._records:
            line = rfc8785.dumps(record) + b"\n"
            self._sha256.update(line)
            yield line

    @property
    def digest(self) -> str:
        """Return the digest of the lines read so far, in hexadecimal."""
        return self._sha256.hexdigest()


def log_files(last: Checkpoint) -> tuple[LogFile, LogFile]:
    """Return leaves and checkpoints up to a checkpoint, to be read once."""
    return (
        LogFile("leaves.jsonl", map(leaf_record, _leaves(last.tree_size))),
        LogFile("checkpoints.jsonl", map(checkpoint_record, _checkpoints(last.number + 1))),
    )


def _leaves(n: int) -> Iterator[Entry]:
    """Yield the first `n` leaves by queries that end: no connection stays busy while a slow reader reads."""
    for start in range(0, n, _ROWS):
        yield from Entry.objects.filter(index__gte=start, index__lt=min(start + _ROWS, n)).order_by("index")


def _checkpoints(n: int) -> Iterator[Checkpoint]:
    for start in range(0, n, _ROWS):
        yield from Checkpoint.objects.filter(number__gte=start, number__lt=min(start + _ROWS, n)).order_by("number")


def manifest_of(last: Checkpoint, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of an export; digests: SHA-256 by file name."""
    return {
        "format": verify.FORMAT,
        "key": verifier().to_text(),
        "n_leaves": last.tree_size,
        "n_checkpoints": last.number + 1,
        "files": dict(digests),
    }


def write_export(folder: Path) -> Checkpoint:
    """Write the log up to its newest checkpoint into `folder`; return that checkpoint.

    An earlier export in the folder is replaced, file by file. Raise `BadInputError` when the
    folder holds something else, or there is no checkpoint yet.
    """
    last = Checkpoint.objects.order_by("number").last()
    if last is None:
        raise BadInputError("The log has no checkpoint yet. Try again when it has an entry.")
    expected = {*verify.FILES, "manifest.json", VERIFIER.name}
    if folder.exists() and (not folder.is_dir() or not {p.name for p in folder.iterdir()} <= expected):
        raise BadInputError(f"{folder} holds something else than an export. Give a new or empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for file in log_files(last):
        with (folder / file.name).open("wb") as target:
            target.writelines(file)
        digests[file.name] = file.digest
    (folder / "manifest.json").write_text(json.dumps(manifest_of(last, digests), indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(VERIFIER, folder / VERIFIER.name)
    return last


def verifier_digest() -> str:
    """Return SHA-256 of the offline verifier in hexadecimal: of the file that is served and put into exports."""
    return hashlib.sha256(VERIFIER.read_bytes()).hexdigest()


def leaf_record(entry: Entry) -> dict[str, Any]:
    """Return an entry as a line of leaves.jsonl."""
    return {"index": entry.index, "hash": bytes(entry.leaf_hash).hex(), "leaf": json.loads(entry.leaf)}


def checkpoint_record(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as a line of checkpoints.jsonl."""
    return {"number": checkpoint.number, "tree_size": checkpoint.tree_size, "note": checkpoint.note}
