"""Writes the log as files that the offline verifier reads: leaves, checkpoints, key, verifier."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rfc8785

from webapp.errors import BadInputError
from webapp.transparency import verify
from webapp.transparency.keys import verifier
from webapp.transparency.models import Checkpoint, Entry

VERIFIER = Path(verify.__file__)


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
    leaves = Entry.objects.filter(index__lt=last.tree_size).order_by("index")
    checkpoints = Checkpoint.objects.filter(number__lte=last.number).order_by("number")
    manifest = {
        "format": verify.FORMAT,
        "key": verifier().to_text(),
        "n_leaves": last.tree_size,
        "n_checkpoints": last.number + 1,
        "files": {
            "leaves.jsonl": _write(folder / "leaves.jsonl", map(leaf_record, leaves.iterator(chunk_size=2_000))),
            "checkpoints.jsonl": _write(folder / "checkpoints.jsonl", map(checkpoint_record, checkpoints.iterator())),
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(VERIFIER, folder / VERIFIER.name)
    return last


def leaf_record(entry: Entry) -> dict[str, Any]:
    """Return an entry as a line of leaves.jsonl."""
    return {"index": entry.index, "hash": bytes(entry.leaf_hash).hex(), "leaf": json.loads(entry.leaf)}


def checkpoint_record(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as a line of checkpoints.jsonl."""
    return {"number": checkpoint.number, "tree_size": checkpoint.tree_size, "note": checkpoint.note}


def _write(path: Path, records: Iterator[dict[str, Any]]) -> str:
    """Write canonical JSON lines; return the file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for record in records:
            line = rfc8785.dumps(record) + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()
