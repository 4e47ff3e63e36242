"""How much of a benchmark's item stands in an index, and what that makes of it.

After Xu et al., Infini-gram mini, arXiv 2506.12229, section 5: the share of an item's 50-character windows that
a corpus has makes it clean (below 20 %), suspicious (from 20 %) or dirty (from 80 %). Here a window begins at
every character. An item shorter than one window is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from tracer.engine.occurrences import document_at
from tracer.engine.privacy import mask_personal_data
from tracer.engine.reader import IndexReader
from tracer.engine.windows import WINDOW_CHARACTERS, FoundWindows, WindowPlace, as_searched, find_windows

SUSPICIOUS_FROM_PERCENT, DIRTY_FROM_PERCENT = 20, 80
CONTEXT_TOKENS, MAX_TRIES = 40, 10


class ItemLevel(StrEnum):
    """What a share of windows makes of an item."""

    CLEAN = "clean"
    SUSPICIOUS = "suspicious"
    DIRTY = "dirty"
    SHORT = "short"  # without a window


def level_of(n_found: int, n_windows: int) -> ItemLevel:
    """Return the level of an item with so many windows found."""
    if n_windows == 0:
        return ItemLevel.SHORT
    if 100 * n_found >= DIRTY_FROM_PERCENT * n_windows:
        return ItemLevel.DIRTY
    return ItemLevel.SUSPICIOUS if 100 * n_found >= SUSPICIOUS_FROM_PERCENT * n_windows else ItemLevel.CLEAN


def measure_item(
    reader: IndexReader, text: str, hidden: Sequence[str] = (), *, size: int = WINDOW_CHARACTERS
) -> FoundWindows:
    """Search all windows of an item; what stands only in `hidden`, texts of documents taken down, is not found."""
    hits = find_windows(reader, text, size=size)
    if not hidden or not hits.n_found:
        return hits
    searched = as_searched(text, reader.tokenizer)
    needed = np.ones(hits.n_windows, np.int64)
    for window in np.flatnonzero(hits.found).tolist():
        piece = searched[window : window + size]
        needed[window] += sum(_n_occurrences(document, piece) for document in hidden)
    return find_windows(reader, text, size=size, needed=needed) if needed.max() > 1 else hits


def hidden_texts(reader: IndexReader, numbers: Sequence[int]) -> list[str]:
    """Return the texts of documents, as the index has them."""
    return [reader.document(number).text for number in numbers]


def _n_occurrences(text: str, piece: str) -> int:
    count, at = 0, text.find(piece)
    while at >= 0:
        count += 1
        at = text.find(piece, at + 1)
    return count


@dataclass(frozen=True)
class ItemExample:
    """A passage that an item shares with a document: item[start:end] is snippet[snippet_start:snippet_end].

    Case may differ where the index folds it. Personal data in the snippet is masked.
    """

    start: int
    end: int
    key: str
    facts: dict[str, Any]
    snippet: str
    snippet_start: int
    snippet_end: int


def read_example(
    reader: IndexReader, text: str, hits: FoundWindows, is_hidden: Callable[[str], bool] = lambda key: False
) -> ItemExample | None:
    """Return the passage of an item around its longest run of windows found, in a document that is not hidden.

    None where no such place is known.
    """
    begin, end = hits.longest_run()
    for window in range(begin, end, max(1, (end - begin) // MAX_TRIES)):
        place = hits.place(window)
        if place is None:
            continue
        with reader.intact():
            example = _passage(reader, text, window, hits.size, place)
        if not is_hidden(example.key):
            return example
    return None


def _passage(reader: IndexReader, text: str, window: int, size: int, place: WindowPlace) -> ItemExample:
    """Stretch a window to both sides as far as item and document agree."""
    shard = reader.shards[place.shard]
    document, _ = document_at(reader, place.shard, place.token * shard.width)
    first, last = shard.token_range(document)
    read = reader.tokenizer.to_bytes
    raw = read(shard.tokens[first : place.token])
    at = len(raw) + place.skip
    whole = raw + read(shard.tokens[place.token : last])
    searched = as_searched(text, reader.tokenizer)
    start, stop, matched = window, window + size, searched[window : window + size].encode()
    left, right = at, at + len(matched)
    while start and whole[:left].endswith(piece := searched[start - 1].encode()):
        start, left = start - 1, left - len(piece)
    while stop < len(searched) and whole.startswith(piece := searched[stop].encode(), right):
        stop, right = stop + 1, right + len(piece)
    before, after = _context(reader, whole[:left], whole[right:])
    facts, number = shard.facts(document), reader.document_number(place.shard, document)
    snippet = mask_personal_data(before + searched[start:stop] + after)
    key = str(facts.get("id", number))
    return ItemExample(start, stop, key, facts, snippet, len(before), len(before) + stop - start)


def _context(reader: IndexReader, left: bytes, right: bytes) -> tuple[str, str]:
    """Return the text just before and after a passage, about `CONTEXT_TOKENS` long, cut at whole characters."""
    n_bytes = 4 * CONTEXT_TOKENS
    before, after = left[-n_bytes:], right[:n_bytes]
    while before and before[0] & 0xC0 == 0x80:
        before = before[1:]
    return before.decode("utf-8", "replace"), after.decode("utf-8", "ignore")
