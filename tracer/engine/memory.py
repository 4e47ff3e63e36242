"""What searches of a text that grows remember, so that each one costs only what changed.

A start's longest match ends where the next token differs, so it stays as it is when the text after
that token changes; only starts whose match reached the changed part are searched again. Limits of
sentences are applied afterwards: the longest match within a limit is the shorter of both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tracer.engine.pages import run_together
from tracer.engine.reader import IndexReader
from tracer.engine.search import Positions
from tracer.engine.stepwise import Notes
from tracer.engine.tokens import TokenizedText

Ranges = tuple[npt.NDArray[np.int64], ...]


class SpanMemory:
    """For one text and one list of readers with a common tokenizer. `n_searched` counts starts of the last search."""

    def __init__(self) -> None:
        self._ids: Positions = np.zeros(0, np.int64)
        self._longest: Positions = np.zeros(0, np.int64)  # (n,) without limits; -1 where unknown
        self._ranges: dict[tuple[int, int], Ranges] = {}
        self.n_searched = 0

    def longest(
        self,
        tokens: TokenizedText,
        readers: Sequence[IndexReader],
        starts: Positions,
        limits: Positions,
        notes: Notes | None = None,
    ) -> Positions:
        """Return (len(starts),) the longest match at each start in any reader, at most its limit."""
        n, same = len(tokens.ids), self._n_same(tokens.ids)
        longest = np.full(n, -1, np.int64)
        kept = self._longest[:same]
        longest[:same] = np.where(np.arange(same) + kept < same, kept, -1)
        todo = starts[longest[starts] < 0]
        longest[todo] = search_longest(tokens, readers, todo, n - todo, notes)
        self._ids, self._longest, self.n_searched = tokens.ids, longest, len(todo)
        self._ranges = {key: value for key, value in self._ranges.items() if key[1] <= same}
        return np.minimum(longest[starts], limits)

    def ranges(
        self,
        tokens: TokenizedText,
        readers: Sequence[IndexReader],
        starts: Positions,
        ends: Positions,
        notes: Notes | None = None,
    ) -> list[npt.NDArray[np.int64]]:
        """Return (shards, len(starts), 2) ranks for each reader; call it after `longest` of the same text."""
        keys = list(zip(starts.tolist(), ends.tolist(), strict=True))
        todo = [i for i, key in enumerate(keys) if key not in self._ranges]
        if todo:
            new = search_ranges(tokens, readers, starts[todo], ends[todo], notes)
            for place, i in enumerate(todo):
                self._ranges[keys[i]] = tuple(r[:, place] for r in new)
        return [
            np.stack([self._ranges[key][number] for key in keys], axis=1)
            if keys
            else np.zeros((len(reader.shards), 0, 2), np.int64)
            for number, reader in enumerate(readers)
        ]

    def _n_same(self, ids: Positions) -> int:
        n = min(len(ids), len(self._ids))
        different = np.flatnonzero(ids[:n] != self._ids[:n])
        return int(different[0]) if len(different) else n


class TraceMemory:
    """A memory for each tokenizer; only for the same corpora every time."""

    def __init__(self) -> None:
        self._by_tokenizer: dict[str, SpanMemory] = defaultdict(SpanMemory)

    def of(self, tokenizer_digest: str) -> SpanMemory:
        """Return what is remembered of the indexes with this tokenizer."""
        return self._by_tokenizer[tokenizer_digest]

    @property
    def n_searched(self) -> int:
        """Return how many starts the last search of each tokenizer looked up."""
        return sum(memory.n_searched for memory in self._by_tokenizer.values())


def search_longest(
    tokens: TokenizedText,
    readers: Sequence[IndexReader],
    starts: Positions,
    limits: Positions,
    notes: Notes | None = None,
) -> Positions:
    """Return (len(starts),) the longest match at each start in any reader, at most its limit.

    `notes`, new ones, keep what the searches saw.
    """
    kept = notes or Notes()
    longest = np.zeros(len(starts), np.int64)
    run_together(
        search
        for reader in readers
        for search in reader.longest_steps(stored_ids(tokens, reader), starts, limits, longest, kept)
    )
    return longest


def search_ranges(
    tokens: TokenizedText,
    readers: Sequence[IndexReader],
    starts: Positions,
    ends: Positions,
    notes: Notes | None = None,
) -> list[npt.NDArray[np.int64]]:
    """Return (shards, len(starts), 2) ranks for each reader; `notes` are of `search_longest` in the same text."""
    kept = notes or Notes()
    found = [np.zeros((len(reader.shards), len(starts), 2), np.int64) for reader in readers]
    run_together(
        search
        for reader, out in zip(readers, found, strict=True)
        for search in reader.ranges_steps(stored_ids(tokens, reader), starts, ends - starts, out, kept)
    )
    return found


def bound_counts(
    tokens: TokenizedText, readers: Sequence[IndexReader], starts: Positions, ends: Positions, notes: Notes
) -> Positions:
    """Return (len(starts),) numbers that the counts do not exceed, from samples and `notes` alone."""
    searches = [
        (search, search.narrow(notes.of(shard)))
        for reader in readers
        for shard, search in reader.range_searches(stored_ids(tokens, reader), starts, ends - starts)
    ]
    run_together(steps for _, steps in searches)
    bound = np.zeros(len(starts), np.int64)
    for search, _ in searches:
        (low, _), (_, high) = search.low.reshape(2, -1), search.high.reshape(2, -1)
        bound += high - low
    return bound


def stored_ids(tokens: TokenizedText, reader: IndexReader) -> npt.NDArray[np.unsignedinteger]:
    """Return the ids in the type in which the reader's shards store them."""
    return tokens.ids.astype(reader.shards[0].tokens.dtype)
