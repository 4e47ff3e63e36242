"""Many searches of one shard, level by level together, each level's pages read as one batch.

A page that several searches need is read once. When the pages of a first level are in memory, the rest is
taken to be so, too, and is done at once without batches: warm and cold are one path, with equal results.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tracer.engine.pages import Asked, MappedFile, PageRequests, Stepwise, run_together
from tracer.engine.samples import EVERY, KEY_BYTES, KEYS_PER_UNIT, UNIT, Samples
from tracer.engine.search import (
    MAX_PROBES,
    Flags,
    Positions,
    Probes,
    bound_runs,
    count_keys,
    halve,
    narrow_by_probes,
    raise_to_common,
    read_positions,
    search_to_end,
)

Query = npt.NDArray[np.unsignedinteger]
#: Pages of tokens that a batch may hold to spare further ones: it costs a disk the time of a dozen pages to begin one.
AHEAD = 48


class SearchedShard(Protocol):
    """What a search needs of a shard."""

    width: int
    tokens: npt.NDArray[Any]
    table: npt.NDArray[Any]
    tokens_file: MappedFile
    table_file: MappedFile
    samples: Samples | None


class Search:
    """Searches i for query[starts[i] : starts[i] + lengths[i]], whose ranks are from `low` to `high` (m,).

    Once done, both are equal.

    uppers[i] asks for the rank behind the last suffix that begins so, rather than the first that does.
    """

    def __init__(
        self, shard: SearchedShard, query: Query, starts: Positions, lengths: Positions, uppers: Flags
    ) -> None:
        self._shard, self._query, self._starts, self._lengths, self._uppers = shard, query, starts, lengths, uppers
        n = len(starts)
        self.low, self.high = np.zeros(n, np.int64), np.full(n, len(shard.tokens), np.int64)
        self._common_low, self._common_high = np.zeros(n, np.int64), np.zeros(n, np.int64)
        size = (MAX_PROBES, n)  # so that the few that are used lie close together
        self._probes = Probes(np.empty(size, np.int64), np.empty(size, np.int64), np.zeros(n, np.int64))
        self._requests = PageRequests()
        self._is_resident = False

    def find_ranks(self, seen: Search | None = None) -> Stepwise:
        """Search; yields after each batch of requests. `seen` is an ended search for longer texts in the shard.

        Where few searches are left, a batch has the pages of several of their steps.
        """
        yield from self.narrow(seen)
        n_steps = 0
        while len(active := np.flatnonzero(self.low < self.high)):
            if not n_steps and not self._is_resident:
                n_steps = max(1, (AHEAD // len(active) + 1).bit_length() - 1)
                asked, _ = yield from self._locate(middle_ranks(self.low[active], self.high[active], n_steps))
                self._is_resident = asked is Asked.RESIDENT
            if self._is_resident:
                self.finish()
                return
            middles, positions = (self.low[active] + self.high[active]) >> 1, np.empty(len(active), np.int64)
            read_positions(self._shard.table, self._shard.width, middles, positions)
            self.step(active, positions)
            n_steps -= 1

    def step(self, active: Positions, positions: Positions) -> None:
        """Halve the ranks of searches `active` (k,), at whose middle ranks stand the suffixes at `positions`."""
        halve(
            self._shard.tokens,
            self._query,
            self._starts,
            self._lengths,
            self._uppers,
            self.low,
            self.high,
            self._common_low,
            self._common_high,
            self._probes,
            active,
            positions,
        )

    def narrow(self, seen: Search | None = None) -> Stepwise:
        """Bound the ranks without looking at tokens."""
        if seen is not None:
            self._narrow_by(seen)
        if self._shard.samples is not None:
            yield from self._narrow_by_samples(self._shard.samples)

    def find_longest(self, best: Positions) -> Stepwise:
        """Search, and raise best[i] to the longest prefix of what is sought that occurs.

        It is the common prefix with a neighbour of the insertion point, below it or at it.
        """
        yield from self.find_ranks()
        n = len(self._shard.tokens)
        below, at = np.flatnonzero(self.low > 0), np.flatnonzero(self.low < n)
        which = np.concatenate([below, at])
        ranks = np.concatenate([self.low[below] - 1, self.low[at]])
        _, positions = yield from self._locate(ranks)
        raise_to_common(
            self._shard.tokens,
            self._query,
            self._starts,
            self._lengths,
            which,
            ranks,
            positions,
            self._probes,
            best,
        )

    def _locate(self, ranks: Positions) -> Generator[None, None, tuple[Asked, Positions]]:
        """Ask for the tokens to which ranks point; return what came of it, and their positions."""
        shard = self._shard
        p = shard.table.shape[1]
        positions = np.empty(len(ranks), np.int64)
        asked_table = self._requests.ask(shard.table_file, ranks * p, p)
        if asked_table is Asked.READING:
            yield
        read_positions(shard.table, shard.width, ranks, positions)
        asked_tokens = self._requests.ask(shard.tokens_file, positions * shard.width, KEY_BYTES)
        if asked_tokens is Asked.READING:
            yield
        return max(asked_table, asked_tokens), positions

    def finish(self) -> None:
        """Do all that is left at once, as of files in memory."""
        search_to_end(
            self._shard.tokens,
            self._shard.table,
            self._shard.width,
            self._query,
            self._starts,
            self._lengths,
            self._uppers,
            self.low,
            self.high,
            self._common_low,
            self._common_high,
            self._probes,
        )

    def _narrow_by(self, seen: Search) -> None:
        """Begin where a search for longer texts from the same starts, in ascending order, has been."""
        self._requests, self._is_resident = seen._requests, seen._is_resident
        if not len(seen._starts):
            return
        rows = np.minimum(np.searchsorted(seen._starts, self._starts), len(seen._starts) - 1)
        rows = np.where(seen._starts[rows] == self._starts, rows, -1)
        narrow_by_probes(seen._probes, seen.low, rows, self._lengths, self._uppers, self.low, self.high)

    def _narrow_by_samples(self, samples: Samples) -> Stepwise:
        """Bound each rank by the samples around it: first by the guide, then by a page of keys."""
        n_keys = len(samples.keys)
        open_ones = np.flatnonzero(self.high - self.low > EVERY)
        starts, lengths, uppers = self._starts[open_ones], self._lengths[open_ones], self._uppers[open_ones]

        def count(keys: npt.NDArray[Any], begin: Positions, end: Positions) -> Positions:
            counted = np.empty_like(begin)
            count_keys(keys, self._query, starts, lengths, uppers, begin, end, counted)
            return counted

        first = np.zeros((2, len(open_ones)), np.int64)
        begin = np.maximum(count(samples.guide, first, first + len(samples.guide)) - 1, 0) * KEYS_PER_UNIT
        yield from self._requests.wait(samples.file, UNIT + begin.ravel() * KEY_BYTES, UNIT)
        below, perhaps_below = count(samples.keys, begin, np.minimum(begin + KEYS_PER_UNIT, n_keys))
        low = np.where(below > 0, (below - 1) * EVERY + 1, 0)
        high = np.where(perhaps_below < n_keys, perhaps_below * EVERY, len(self._shard.tokens))
        self.low[open_ones] = np.maximum(self.low[open_ones], low)
        self.high[open_ones] = np.minimum(self.high[open_ones], high)


def middle_ranks(low: Positions, high: Positions, n_steps: int) -> Positions:
    """Return all ranks at which searches between `low` and `high` (k,) may look in their next steps."""
    middles = []
    for _ in range(n_steps):
        is_open = low < high
        low, high = low[is_open], high[is_open]
        middles.append(middle := (low + high) >> 1)
        low, high = np.concatenate([low, middle + 1]), np.concatenate([middle, high])
    return np.concatenate(middles)


class Notes:
    """The searches for the longest matches from a text's starts, by shard: what they saw spares the ranges reads."""

    def __init__(self) -> None:
        self._searches: dict[SearchedShard, Search] = {}

    def add(self, shard: SearchedShard, search: Search) -> Search:
        """Keep a search, which may not have begun."""
        self._searches[shard] = search
        return search

    def of(self, shard: SearchedShard) -> Search | None:
        """Return the search in a shard; None where the matches were remembered."""
        return self._searches.get(shard)


def compile_searches(shard: SearchedShard) -> None:
    """Compile, or load from numba's cache, all that searches in files of these widths need, warm and cold."""
    one = np.zeros(1, shard.tokens.dtype), np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.bool_)
    search = Search(shard, *one)
    run_together([search.find_longest(np.zeros(1, np.int64))])
    search.step(np.zeros(0, np.int64), np.zeros(0, np.int64))
    search.finish()
    run_together([Search(shard, *one).find_ranks(search)])
    none = np.zeros(0, np.int64)
    bound_runs(np.zeros(0), none, none, none, np.zeros(0), none)
