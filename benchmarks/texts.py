"""Text for large indexes, nothing of it synthetic: what documentation and source packages hold, tags taken out."""

from __future__ import annotations

import gzip
import html
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tracer.engine import CorpusDocument

_SUFFIXES = r"\.(html?|txt|md|rst|pod|py|pl|c|h|cpp|hpp|ly|gz|json|xml|ipynb)"
MIN_CHARACTERS, MAX_BYTES = 200, 4_000_000
_DROPPED = re.compile(r"<(script|style|head|nav)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_BLANK = re.compile(r"[ \t]*\n\s*\n\s*")


def folder_text(folders: Iterable[Path], n_bytes: int) -> Iterator[CorpusDocument]:
    """Yield the text of files below `folders` in a random order, always the same, until `n_bytes` are reached."""
    paths = sorted(path for folder in folders for path in folder.rglob("*") if re.fullmatch(_SUFFIXES, path.suffix))
    random.Random(7).shuffle(paths)
    total = 0
    for path in paths:
        text = _read(path)
        if len(text) >= MIN_CHARACTERS:
            total += len(text.encode())
            yield CorpusDocument(str(path), text, title=path.name)
        if total >= n_bytes:
            return


def _read(path: Path) -> str:
    """Return a file's text, empty where it holds none."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content[:MAX_BYTES].decode("utf-8")
    except (OSError, EOFError, ValueError):
        return ""
    if path.suffix in {".html", ".htm"}:
        text = html.unescape(_DROPPED.sub("", text))
    return _BLANK.sub("\n\n", text).strip()
