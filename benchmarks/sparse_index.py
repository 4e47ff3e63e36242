"""An index as large as wanted whose files are mostly holes: for how long opening takes, not for searching."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from tracer.engine.layout import MANIFEST, FileEntry, Manifest, pointer_width, read_manifest


def grow_index(folder: Path, n_bytes: int) -> Manifest:
    """Stretch the first shard's tokens, suffix array and metadata to `n_bytes` in all; write the new manifest.

    Tokens and suffix array get their true proportion, as of an index of so many tokens. Digests of the stretched
    files are left as they were: opening does not compare them, since that would read everything.
    """
    manifest = read_manifest(folder)
    width = manifest.token_width
    n_tokens = n_bytes // 2 // (width + pointer_width(n_bytes // 4))
    sizes = {"tokenized.0": n_tokens * width, "table.0": n_tokens * pointer_width(n_tokens * width)}
    sizes["metadata.0"] = n_bytes - sum(sizes.values())
    files = {name: entry for name, entry in manifest.files.items() if not name.startswith("samples")}
    for name, size in sizes.items():
        os.truncate(folder / name, size)
        files[name] = FileEntry(size, files[name].sha256)
    counted = [line.split() for line in (folder / "unigram.0").read_text(encoding="ascii").splitlines()]
    counted[0][1] = str(int(counted[0][1]) + n_tokens - sum(int(n) for _, n in counted))
    (folder / "unigram.0").write_text("".join(f"{token} {n}\n" for token, n in counted), encoding="ascii")
    files["unigram.0"] = FileEntry((folder / "unigram.0").stat().st_size, files["unigram.0"].sha256)
    for left in folder.glob("samples*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    grown = replace(manifest, files=files, n_tokens=n_tokens)
    (folder / MANIFEST).write_text(grown.to_json(), encoding="utf-8")
    return grown
