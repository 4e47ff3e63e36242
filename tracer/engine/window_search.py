"""Counts windows of bytes in a shard of tokens, exactly, by all the ways in which tokens can cover them. Compiled.

An occurrence of a window has one first token boundary at or behind its first byte, so the boundary's
place divides all occurrences without overlap: the token before ends with the window's beginning, whole
tokens follow, and the last one may go on behind the window. Each way is a walk down the suffix array, whose
range empties where the corpus has no such tokens, so that only tokenizations that occur are followed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracer.engine import lazy_numba as numba
from tracer.engine.search import Positions
from tracer.engine.vocabulary import Bytes, TokenLattice, Vocabulary, child_range

STACK = 4096
#: Steps (ranges narrowed and occurrences looked at) after which a window is left undecided.
MAX_STEPS = 2_000_000


class ShardArrays(NamedTuple):
    """A shard's tokens (n,) and table (n, p); `known` (V, 2) keeps the ranks of first tokens, −1 where unknown."""

    tokens: npt.NDArray[np.unsignedinteger]
    table: Bytes
    width: int
    known: Positions


class WindowedText(NamedTuple):
    """A text's bytes with its windows raw[starts[j] : ends[j]], in order, and how tokens can cover it."""

    raw: Bytes
    starts: Positions
    ends: Positions
    vocabulary: Vocabulary
    lattice: TokenLattice


class WindowTally(NamedTuple):
    """What is known of each window (m,): occurrences still missing, given up, and a place where it was found.

    `places[j]` is a token of a shard, `skips[j]` the window's first byte counted from that token's.
    """

    missing: Positions
    undecided: npt.NDArray[np.bool_]
    places: Positions
    skips: Positions


@numba.njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def _place(shard: Any, rank: int) -> int:
    value = 0
    for i in range(shard.table.shape[1] - 1, -1, -1):
        value = (value << 8) | shard.table[rank, i]
    at: int = value // shard.width
    return min(at, len(shard.tokens) - 1)  # a damaged table may point anywhere


@numba.njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def _order(token: int, width: int) -> int:
    """Return a number by which tokens of one width stand in the order of their stored bytes."""
    value = 0
    for _ in range(width):
        value = (value << 8) | (token & 255)
        token >>= 8
    return value


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _narrow(shard: Any, low: int, high: int, depth: int, token: int) -> tuple[int, int]:
    """Narrow a range of ranks, which agree in `depth` tokens, to those with `token` next."""
    if depth == 0 and shard.known[token, 0] >= 0:
        return shard.known[token, 0], shard.known[token, 1]
    wanted, n = _order(token, shard.width), len(shard.tokens)
    left, right = low, high
    while left < right:
        middle = (left + right) >> 1
        at = _place(shard, middle) + depth
        if at >= n or _order(np.int64(shard.tokens[at]), shard.width) < wanted:
            left = middle + 1
        else:
            right = middle
    first, last = left, left
    at = _place(shard, min(left, n - 1)) + depth
    if left < high and at < n and _order(np.int64(shard.tokens[at]), shard.width) == wanted:
        right = high
        while left < right:
            middle = (left + right) >> 1
            at = _place(shard, middle) + depth
            if at >= n or _order(np.int64(shard.tokens[at]), shard.width) <= wanted:
                left = middle + 1
            else:
                right = middle
        last = left
    if depth == 0:  # the end first: another thread reads the begin as the sign that both are there
        shard.known[token, 1] = last
        shard.known[token, 0] = first
    return first, last


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _ends_with(token: int, text: Any, start: int, end: int) -> bool:
    """Tell whether a token is longer than text[start:end] and ends with it; the separator is no token."""
    flat, begin = text.vocabulary.flat, text.vocabulary.begin
    if token >= len(begin) - 1 or begin[token + 1] - begin[token] <= end - start:
        return False
    last = begin[token + 1]
    for back in range(1, end - start + 1):  # noqa: SIM110 (compiled)
        if flat[last - back] != text.raw[end - back]:
            return False
    return True


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _begins_with(token: int, text: Any, start: int, end: int) -> bool:
    """Tell whether a token is longer than text[start:end] and begins with it; the separator is no token."""
    flat, begin = text.vocabulary.flat, text.vocabulary.begin
    if token >= len(begin) - 1 or begin[token + 1] - begin[token] <= end - start:
        return False
    for i in range(end - start):  # noqa: SIM110 (compiled)
        if flat[begin[token] + i] != text.raw[start + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _reach(shard: Any, text: Any, start: int, end: int, stack: Any) -> int:
    """Return a bound (at most `end`) on where text that begins with a token at `start` can end in this shard."""
    lattice = text.lattice
    best: int = min(end, start + lattice.right[start])
    stack[0] = start, 0, len(shard.tokens), 0
    top, steps = 1, 0
    while top and best < end:
        top -= 1
        at, low, high, depth = stack[top]
        for i in range(lattice.begin[at], lattice.begin[at + 1]):
            following = at + lattice.lengths[i]
            if following > end:
                continue
            first, last = _narrow(shard, low, high, depth, lattice.ids[i])
            steps += 1
            if first == last:
                continue
            best = max(best, min(end, following + lattice.right[following]))
            if top == STACK or steps > MAX_STEPS:
                return end
            stack[top] = following, first, last, depth + 1
            top += 1
    return best


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _count_left(shard: Any, text: Any, cut: Any, ranks: Any, wanted: int) -> tuple[int, int, int]:
    """Count the ranks whose token before ends with the window's beginning, up to `wanted`.

    `cut` is (the window's first byte, its first token boundary, its end). Return (count, place, steps).
    """
    start, boundary, _ = cut
    low, high = ranks
    if start == boundary:
        return high - low, _place(shard, low), 1
    count, place, steps = 0, -1, 0
    for rank in range(low, high):
        at = _place(shard, rank)
        steps += 1
        if at and _ends_with(np.int64(shard.tokens[at - 1]), text, start, boundary):
            count += 1
            place = at
            if count >= wanted:
                break
    return count, place, steps


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _count_from(shard: Any, text: Any, cut: Any, wanted: int, stack: Any) -> tuple[int, int, int]:
    """Count a window's occurrences with its first token boundary where `cut` says, up to `wanted`.

    Return (count, place of the boundary's token or −1, steps); more steps than `MAX_STEPS` mean undecided.
    """
    lattice = text.lattice
    _, boundary, end = cut
    stack[0] = boundary, 0, len(shard.tokens), 0
    top, count, place, steps = 1, 0, -1, 0
    while top and count < wanted and steps <= MAX_STEPS:
        top -= 1
        at, low, high, depth = stack[top]
        n, found, used = 0, -1, 0
        if at == end:
            n, found, used = _count_left(shard, text, cut, (low, high), wanted - count)
        elif lattice.right[at] >= end - at:
            n, found, used = _count_last(shard, text, cut, stack[top], wanted - count)
        steps += used
        count += n
        place = found if n else place
        if at == end:
            continue
        for i in range(lattice.begin[at], lattice.begin[at + 1]):
            if at + lattice.lengths[i] > end:
                continue
            first, last = _narrow(shard, low, high, depth, lattice.ids[i])
            steps += 1
            if first < last:
                if top == STACK:
                    return count, place, MAX_STEPS + 1
                stack[top] = at + lattice.lengths[i], first, last, depth + 1
                top += 1
    return count, place, steps


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _count_last(shard: Any, text: Any, cut: Any, node: Any, wanted: int) -> tuple[int, int, int]:
    """Count occurrences that end inside the token behind the walk's `node`: by tokens, or by ranks if fewer."""
    start, boundary, end = cut
    at, low, high, depth = node
    sorted_flat, sorted_begin = text.vocabulary.sorted_flat, text.vocabulary.sorted_begin
    first_token, last_token = 0, len(text.vocabulary.ids)
    for i in range(end - at):
        first_token, last_token = child_range(sorted_flat, sorted_begin, first_token, last_token, i, text.raw[at + i])
    count, place, steps = 0, -1, 0
    if depth and high - low <= 8 * (last_token - first_token):
        for rank in range(low, high):
            where = _place(shard, rank)
            steps += 1
            if where + depth >= len(shard.tokens):
                continue
            if not _begins_with(np.int64(shard.tokens[where + depth]), text, at, end):
                continue
            if start < boundary and (
                where == 0 or not _ends_with(np.int64(shard.tokens[where - 1]), text, start, boundary)
            ):
                continue
            count += 1
            place = where
            if count >= wanted:
                break
        return count, place, steps
    for i in range(first_token, last_token):
        if sorted_begin[i + 1] - sorted_begin[i] == end - at:
            continue  # no longer than the window's rest: a whole token, which the walk follows
        first, last = _narrow(shard, low, high, depth, text.vocabulary.ids[i])
        steps += 1
        if first == last:
            continue
        n, found, used = _count_left(shard, text, cut, (first, last), wanted - count)
        steps += used
        count += n
        place = found if n else place
        if count >= wanted or steps > MAX_STEPS:
            break
    return count, place, steps


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _extent(shard: Any, text: Any, boundary: int, place: int) -> int:
    """Return where the text ceases to agree with the tokens from `place` on, where its byte `boundary` stands."""
    flat, begin = text.vocabulary.flat, text.vocabulary.begin
    at = boundary
    while place < len(shard.tokens):
        token = np.int64(shard.tokens[place])
        if token >= len(begin) - 1:
            return at
        for i in range(begin[token], begin[token + 1]):
            if at == len(text.raw) or text.raw[at] != flat[i]:
                return at
            at += 1
        place += 1
    return at


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def count_windows(shard: Any, text: Any, tally: Any) -> None:
    """Lower each window's `missing` by its occurrences in this shard; note a place where the last one needed is."""
    starts, ends, missing = text.starts, text.ends, tally.missing
    longest = 0
    for j in range(len(starts)):
        longest = max(longest, ends[j] - starts[j])
    reaches = np.full(len(text.raw) + 1, -1, np.int64)
    stack = np.zeros((STACK, 4), np.int64)
    for j in range(len(starts)):
        start, end = starts[j], ends[j]
        for boundary in range(start, end):
            if missing[j] <= 0:
                break
            if boundary - start > text.lattice.left[boundary]:
                continue
            if reaches[boundary] < 0:
                reaches[boundary] = _reach(shard, text, boundary, min(len(text.raw), boundary + longest), stack)
            if reaches[boundary] < end:
                continue
            count, place, steps = _count_from(shard, text, (start, boundary, end), missing[j], stack)
            missing[j] -= count
            if missing[j] > 0:
                if steps > MAX_STEPS:
                    tally.undecided[j] = True
                continue
            tally.places[j], tally.skips[j] = place, start - boundary
            extent = _extent(shard, text, boundary, place)
            for later in range(j + 1, len(starts)):
                if ends[later] > extent:
                    break
                if missing[later] == 1:
                    missing[later] = 0
                    tally.places[later], tally.skips[later] = place, starts[later] - boundary
