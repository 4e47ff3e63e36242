"""Binary search over a suffix array, compiled; the order is that of the raw bytes.

Arguments: tokens (n,) of a shard; table (n, p) little-endian byte pointers; query (L,) of the tokens' dtype.
Search i is for query[starts[i] : starts[i] + lengths[i]]: its rank is that of the first suffix not below it, or,
where uppers[i], of the first above it and all that begin with it. low, high (m,) bound the ranks and are narrowed.
The compiled functions hold no lock, so that threads search side by side. `tracer.engine.stepwise` joins them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracer.engine import lazy_numba as numba

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MAX_PROBES = 64


@numba.njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def _position(table: Any, rank: int, width: int) -> int:
    value = 0
    for i in range(table.shape[1] - 1, -1, -1):
        value = (value << 8) | table[rank, i]
    return value // width


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _compare(tokens: Any, at: int, query: Any, start: int, length: int, skip: int) -> tuple[int, int]:
    """Compare the suffix at `at` with query[start : start + length]; return (sign, common prefix)."""
    n, k = len(tokens), skip
    while k < length:
        if at + k >= n:
            return -1, k
        x, y = np.uint32(tokens[at + k]), np.uint32(query[start + k])
        if x != y:
            differing = x ^ y
            shift = np.uint32(0)
            while (differing >> shift) & np.uint32(255) == 0:
                shift += np.uint32(8)
            return (-1 if (x >> shift) & np.uint32(255) < (y >> shift) & np.uint32(255) else 1), k
        k += 1
    return 0, k


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def read_positions(table: Any, width: int, ranks: Positions, out: Positions) -> None:
    """Write the token positions to which ranks point."""
    for i in range(len(ranks)):
        out[i] = _position(table, ranks[i], width)


class Probes(NamedTuple):
    """The suffixes that m searches looked at: (`MAX_PROBES`, m) ranks, and tokens in common; (m,) how many."""

    ranks: Positions
    common: Positions
    n: Positions


@numba.njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def _note(probes: Any, i: int, rank: int, common: int) -> None:
    k = probes.n[i]
    if k < probes.ranks.shape[0]:
        probes.ranks[k, i], probes.common[k, i] = rank, common
        probes.n[i] = k + 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def halve(
    tokens: Any,
    query: Any,
    starts: Positions,
    lengths: Positions,
    uppers: Flags,
    low: Positions,
    high: Positions,
    common_low: Positions,
    common_high: Positions,
    probes: Probes,
    active: Positions,
    positions: Positions,
) -> None:
    """Take one step in each search of `active` (k,), at whose middle rank stands the suffix at positions (k,).

    common_low and common_high (m,) are the tokens shared with the suffixes just below low and at high.
    """
    for k in range(len(active)):
        i = active[k]
        skip = min(common_low[i], common_high[i])
        sign, common = _compare(tokens, positions[k], query, starts[i], lengths[i], skip)
        middle = (low[i] + high[i]) >> 1
        _note(probes, i, middle, common)
        if sign < 0 or (uppers[i] and sign == 0):
            low[i], common_low[i] = middle + 1, common
        else:
            high[i], common_high[i] = middle, common


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def search_to_end(
    tokens: Any,
    table: Any,
    width: int,
    query: Any,
    starts: Positions,
    lengths: Positions,
    uppers: Flags,
    low: Positions,
    high: Positions,
    common_low: Positions,
    common_high: Positions,
    probes: Probes,
) -> None:
    """Do all that is left of `halve`, one search after another: for files in memory."""
    for i in range(len(starts)):
        while low[i] < high[i]:
            middle = (low[i] + high[i]) >> 1
            skip = min(common_low[i], common_high[i])
            at = _position(table, middle, width)
            sign, common = _compare(tokens, at, query, starts[i], lengths[i], skip)
            _note(probes, i, middle, common)
            if sign < 0 or (uppers[i] and sign == 0):
                low[i], common_low[i] = middle + 1, common
            else:
                high[i], common_high[i] = middle, common


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def raise_to_common(
    tokens: Any,
    query: Any,
    starts: Positions,
    lengths: Positions,
    which: Positions,
    ranks: Positions,
    positions: Positions,
    probes: Probes,
    best: Positions,
) -> None:
    """Raise best[which[k]] to the tokens that its search has in common with the suffix of ranks[k], positions[k]."""
    for k in range(len(which)):
        i = which[k]
        _, common = _compare(tokens, positions[k], query, starts[i], lengths[i], 0)
        _note(probes, i, ranks[k], common)
        best[i] = max(best[i], common)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def narrow_by_probes(
    probes: Probes,
    places: Positions,
    rows: Positions,
    lengths: Positions,
    uppers: Flags,
    low: Positions,
    high: Positions,
) -> None:
    """Narrow searches by what one for a longer text from the same start saw: rows[i], -1 for none, found at `places`.

    A suffix with at least lengths[i] tokens in common is among those sought, any other one is below or above them.
    """
    for i in range(len(rows)):
        row = rows[i]
        for k in range(probes.n[row] if row >= 0 else 0):
            rank = probes.ranks[k, row]
            is_sought = probes.common[k, row] >= lengths[i]
            if (uppers[i] and is_sought) or (not is_sought and rank < places[row]):
                low[i] = max(low[i], rank + 1)
            else:
                high[i] = min(high[i], rank)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def bound_runs(
    values: Any, unigrams: Positions, starts: Positions, ends: Positions, sums: Any, counts: Positions
) -> None:
    """Write each run's sum of `values` (L,), and the smallest of its `unigrams` (L,), which no count of it exceeds.

    Values are added one by one, so that equal words tie.
    """
    for i in range(len(starts)):
        total, least = values[starts[i]], unigrams[starts[i]]
        for at in range(starts[i] + 1, ends[i]):
            total += values[at]
            least = min(least, unigrams[at])
        sums[i], counts[i] = total, least


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _count(keys: Any, query: Any, start: int, length: int, equal_is_below: bool, low: int, high: int) -> int:
    while low < high:
        middle = (low + high) >> 1
        sign, _ = _compare(keys[middle], 0, query, start, length, 0)
        if sign < 0 or (sign == 0 and equal_is_below):
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def count_keys(
    keys: Any,
    query: Any,
    starts: Positions,
    lengths: Positions,
    uppers: Flags,
    begin: Any,
    end: Any,
    out: Any,
) -> None:
    """Write how many of the sorted keys (S, m) have ranks surely below each search's, and how many perhaps, (2, n).

    Key j is the first m tokens of a suffix, the end of the text filled with noughts; begin, end (2, n) bound the
    answers. A key equal to the whole of what is sought decides, unless noughts in it may be filling.
    """
    m = keys.shape[1]
    for i in range(len(starts)):
        start, length = starts[i], min(lengths[i], m)
        decides = lengths[i] <= m
        for k in range(length):
            if query[start + k] == 0:
                decides = False
        below = _count(keys, query, start, length, decides and uppers[i], begin[0, i], end[0, i])
        out[:, i] = below
        if decides:
            continue
        perhaps = max(begin[1, i], below)
        if perhaps < end[1, i] and _compare(keys[perhaps], 0, query, start, length, 0)[0] == 0:  # few keys are equal
            perhaps = _count(keys, query, start, length, True, perhaps + 1, end[1, i])
        out[1, i] = perhaps
