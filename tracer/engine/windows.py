"""Which windows of a text's characters stand word for word in an index, whatever its tokens are.

After Xu et al., Infini-gram mini, arXiv 2506.12229, section 5: an item of a benchmark is judged by the share
of its 50-character windows that a corpus has. In an index of bytes a window is one search. In an index of tokens
the same characters may be cut into tokens in several ways, at the edges above all, where the window's
neighbours differ; `window_search` follows every way that occurs. Both are exact.

What they may miss: text that the tokenizer changed before it was stored (it normalizes Unicode, say), since
the index has not the original; a window that stretches over two documents, which is none; and windows given up
after `MAX_STEPS` steps, which are told as undecided. Case counts, except in an index that folds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from tracer.engine.reader import IndexReader, Shard
from tracer.engine.search import Positions
from tracer.engine.tokens import IndexTokenizer, as_encodable, fold_case
from tracer.engine.vocabulary import Bytes, lattice_of, vocabulary_of
from tracer.engine.window_search import ShardArrays, WindowedText, WindowTally, count_windows

WINDOW_CHARACTERS = 50
_known: WeakKeyDictionary[Shard, Positions] = WeakKeyDictionary()


@dataclass(frozen=True)
class WindowPlace:
    """Where a window stands: its first byte is `skip` bytes behind the beginning of a shard's token."""

    shard: int
    token: int
    skip: int


@dataclass(frozen=True)
class FoundWindows:
    """Each window (m,) of a text, from its first character to its last: found, given up, and one place of it.

    Window j is text[j : j + size]. `shards` is −1 where no place is known.
    """

    size: int
    found: npt.NDArray[np.bool_]
    undecided: npt.NDArray[np.bool_]
    shards: Positions
    tokens: Positions
    skips: Positions

    @property
    def n_windows(self) -> int:
        return len(self.found)

    @property
    def n_found(self) -> int:
        return int(self.found.sum())

    def longest_run(self) -> tuple[int, int]:
        """Return the first of the longest half-open ranges of windows found that follow on each other."""
        edges = np.flatnonzero(np.diff(np.concatenate(([0], self.found.astype(np.int8), [0]))))
        runs = edges.reshape(-1, 2)
        if not len(runs):
            return 0, 0
        start, end = runs[int(np.argmax(runs[:, 1] - runs[:, 0]))].tolist()
        return start, end

    def place(self, window: int) -> WindowPlace | None:
        """Return one place of a window, None where none is known."""
        shard = int(self.shards[window])
        return WindowPlace(shard, int(self.tokens[window]), int(self.skips[window])) if shard >= 0 else None


def n_windows(text: str, size: int = WINDOW_CHARACTERS) -> int:
    """Return how many windows a text has; a shorter text has none."""
    return max(0, len(text) - size + 1)


def as_searched(text: str, tokenizer: IndexTokenizer) -> str:
    """Return a text as the index has it: in folded case if it folds, lone surrogates as U+FFFD."""
    clean = as_encodable(text)
    return fold_case(clean) if tokenizer.folds_case else clean


def find_windows(
    reader: IndexReader, text: str, *, size: int = WINDOW_CHARACTERS, needed: Positions | None = None
) -> FoundWindows:
    """Search all windows of a text at once. Raises `IndexFileError` when a file changed its size since opening.

    `needed` (m,) says how often each window must stand there to count as found (default: once); more than
    once where documents that must not count are known to have it.
    """
    searched = as_searched(text, reader.tokenizer)
    m = n_windows(searched, size)
    missing = np.ones(m, np.int64) if needed is None else needed.astype(np.int64)
    tally = WindowTally(missing, np.zeros(m, np.bool_), np.full(m, -1, np.int64), np.zeros(m, np.int64))
    shards = np.full(m, -1, np.int64)
    if m:
        raw = np.frombuffer(searched.encode(), np.uint8)
        edges = np.append(np.flatnonzero((raw & 0xC0) != 0x80), len(raw))
        search = _count_in_bytes if reader.tokenizer.is_bytes else _count_in_tokens
        with reader.intact():
            search(reader, raw, edges[:m], edges[size : size + m], tally, shards)
    found = missing <= 0
    return FoundWindows(size, found, tally.undecided & ~found, shards, tally.places, tally.skips)


def _count_in_bytes(
    reader: IndexReader, raw: Bytes, starts: Positions, ends: Positions, tally: WindowTally, shards: Positions
) -> None:
    ranges = reader.ranges(raw, starts, ends - starts)
    for number, shard in enumerate(reader.shards):
        counts = ranges[number, :, 1] - ranges[number, :, 0]
        first = np.flatnonzero((counts > 0) & (shards < 0))
        shards[first] = number
        for window in first.tolist():
            tally.places[window] = int.from_bytes(shard.table[ranges[number, window, 0]].tobytes(), "little")
        tally.missing[:] -= counts


def _count_in_tokens(
    reader: IndexReader, raw: Bytes, starts: Positions, ends: Positions, tally: WindowTally, shards: Positions
) -> None:
    _count_inside_tokens(reader, raw.tobytes(), starts, ends, tally.missing)
    vocabulary = vocabulary_of(reader.tokenizer)
    text = WindowedText(raw, starts, ends, vocabulary, lattice_of(raw, vocabulary))
    for number, shard in enumerate(reader.shards):
        before = tally.places.copy()
        arrays = ShardArrays(shard.tokens, shard.table, shard.width, _first_ranges(shard, reader.tokenizer))
        count_windows(arrays, text, tally)
        shards[tally.places != before] = number


def _first_ranges(shard: Shard, tokenizer: IndexTokenizer) -> Positions:
    """Return (V, 2) ranks of each token in a shard as far as they are known; kept as long as the shard is open."""
    known = _known.get(shard)
    if known is None:
        known = _known[shard] = np.full((tokenizer.vocabulary_size, 2), -1, np.int64)
    return known


def _count_inside_tokens(
    reader: IndexReader, raw: bytes, starts: Positions, ends: Positions, missing: Positions
) -> None:
    """Count the windows that stand inside one token, behind its first byte: long runs of spaces, say."""
    tokens = long_tokens(reader.tokenizer, int((ends - starts).min()))
    present = [(token, count) for i, token in tokens if (count := int(reader.unigram_counts[i]))]
    if not present:
        return
    for j, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        window = raw[start:end]
        for token, count in present:
            n = sum(token.startswith(window, at) for at in range(1, len(token) - len(window) + 1))
            missing[j] -= n * count


@lru_cache(maxsize=32)
def long_tokens(tokenizer: IndexTokenizer, n_bytes: int) -> tuple[tuple[int, bytes], ...]:
    """Return (id, bytes) of the tokens longer than `n_bytes`."""
    return tuple((i, token) for i, token in enumerate(tokenizer.token_bytes) if len(token) > n_bytes)
