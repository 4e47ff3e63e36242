"""Writes exports as somebody could who changes them: an outsider, or the host itself with its key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785

from webapp.transparency import merkle
from webapp.transparency.keys import signer
from webapp.transparency.notes import checkpoint_text


def read_lines(path: Path) -> list[bytes]:
    """Return a file's lines without their line feeds."""
    return path.read_bytes().split(b"\n")[:-1]


def write_lines(path: Path, lines: list[bytes]) -> None:
    """Write lines and mend the digest in the manifest, so that only the records are wrong."""
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(content)
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["files"][path.name] = hashlib.sha256(content).hexdigest()
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the leaves of an export."""
    return [json.loads(line)["leaf"] for line in read_lines(folder / "leaves.jsonl")]


def record(index: int, leaf: dict[str, Any]) -> bytes:
    """Return a leaf's line, with the hash that belongs to it."""
    leaf_hash = merkle.leaf_hash(rfc8785.dumps(leaf)).hex()
    return bytes(rfc8785.dumps({"index": index, "hash": leaf_hash, "leaf": leaf}))


def rewrite_log(folder: Path, leaves: list[dict[str, Any]]) -> None:
    """Replace the export's leaves and sign a checkpoint of them, as only the host can."""
    frontier = merkle.Frontier()
    lines = [record(index, leaf) for index, leaf in enumerate(leaves)]
    for leaf in leaves:
        list(frontier.append(merkle.leaf_hash(rfc8785.dumps(leaf))))
    key = signer()
    note = key.sign(checkpoint_text(key.verifier.name, len(leaves), frontier.root()))
    write_lines(folder / "leaves.jsonl", lines)
    checkpoint = {"number": 0, "tree_size": len(leaves), "note": note}
    write_lines(folder / "checkpoints.jsonl", [rfc8785.dumps(checkpoint)])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"n_leaves": len(leaves), "n_checkpoints": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
