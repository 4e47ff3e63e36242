"""Binary search over a memory-mapped suffix array, compiled; the order is that of the raw bytes.

Arguments: tokens (n,) of a shard; table (n, p) little-endian byte pointers; query (L,) of the
tokens' dtype. The compiled functions hold no lock, so that threads search side by side.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


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
def _bound(
    tokens: Any, table: Any, width: int, query: Any, start: int, length: int, upper: bool, low: int, high: int
) -> tuple[int, int]:
    """Return (first rank not below, or above if `upper`, the query; longest common prefix seen)."""
    best, prefix_low, prefix_high = 0, 0, 0
    while low < high:
        middle = (low + high) >> 1
        skip = min(prefix_low, prefix_high)
        sign, common = _compare(tokens, _position(table, middle, width), query, start, length, skip)
        best = max(best, common)
        if sign < 0 or (upper and sign == 0):
            low, prefix_low = middle + 1, common
        else:
            high, prefix_high = middle, common
    return low, best


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def longest_matches(
    tokens: Any, table: Any, width: int, query: Any, starts: Positions, limits: Positions, best: Positions
) -> None:
    """Raise best[i] to the longest prefix of query[starts[i] : starts[i] + limits[i]] that occurs.

    The longest common prefix is reached at a neighbour of the insertion point, which the search visits.
    """
    for i in range(len(starts)):
        _, common = _bound(tokens, table, width, query, starts[i], limits[i], False, 0, len(tokens))
        best[i] = max(best[i], common)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def rank_ranges(
    tokens: Any, table: Any, width: int, query: Any, starts: Positions, lengths: Positions, out: Any
) -> None:
    """Write to out (m, 2) the half-open ranges of ranks at which query[starts[i] : + lengths[i]] stands."""
    for i in range(len(starts)):
        low, _ = _bound(tokens, table, width, query, starts[i], lengths[i], False, 0, len(tokens))
        high, _ = _bound(tokens, table, width, query, starts[i], lengths[i], True, low, len(tokens))
        out[i, 0], out[i, 1] = low, high
