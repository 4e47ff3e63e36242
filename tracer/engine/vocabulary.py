"""The bytes of a vocabulary in arrays that compiled searches walk: by id, in order, and in order read backwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracer.engine import lazy_numba as numba
from tracer.engine.search import Positions
from tracer.engine.tokens import IndexTokenizer

Bytes = npt.NDArray[np.uint8]


class Vocabulary(NamedTuple):
    """`flat[begin[i] : begin[i + 1]]` are the bytes of id i; the others are sorted, without empty tokens.

    `ids` (V,) are those of the sorted tokens; `reversed_…` are the same tokens read from their ends.
    """

    flat: Bytes
    begin: Positions
    sorted_flat: Bytes
    sorted_begin: Positions
    ids: Positions
    reversed_flat: Bytes
    reversed_begin: Positions


class TokenLattice(NamedTuple):
    """What a vocabulary can do at each byte of a text (n bytes).

    The tokens that begin a text at byte b are `ids[begin[b] : begin[b + 1]]`, of `lengths` bytes.
    `right` (n + 1,): the longest part of the text from b on that a longer token begins with.
    `left` (n + 1,): the longest part of the text before b that a longer token ends with.
    """

    begin: Positions
    ids: Positions
    lengths: Positions
    right: Positions
    left: Positions


@lru_cache(maxsize=8)
def vocabulary_of(tokenizer: IndexTokenizer) -> Vocabulary:
    """Return the arrays of a tokenizer's vocabulary, made once a process."""
    known = [(token, number) for number, token in enumerate(tokenizer.token_bytes) if token]
    ordered = sorted(known)
    flat, begin = _flat(tokenizer.token_bytes)
    sorted_flat, sorted_begin = _flat([token for token, _ in ordered])
    reversed_flat, reversed_begin = _flat(sorted(token[::-1] for token, _ in known))
    ids = np.array([number for _, number in ordered], np.int64)
    return Vocabulary(flat, begin, sorted_flat, sorted_begin, ids, reversed_flat, reversed_begin)


def lattice_of(text: Bytes, vocabulary: Vocabulary) -> TokenLattice:
    """Return the tokens that fit at each byte of a text."""
    v = vocabulary
    begin, ids, lengths, right = _forward(text, v.sorted_flat, v.sorted_begin, v.ids)
    return TokenLattice(begin, ids, lengths, right, _backward(text, v.reversed_flat, v.reversed_begin))


def _flat(tokens: Sequence[bytes]) -> tuple[Bytes, Positions]:
    begin = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum([len(token) for token in tokens], out=begin[1:])
    return np.frombuffer(b"".join(tokens), np.uint8), begin


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def child_range(flat: Any, begin: Any, low: int, high: int, depth: int, byte: int) -> tuple[int, int]:
    """Narrow sorted tokens [low, high), which agree in `depth` bytes, to those with `byte` next."""
    left, right = low, high
    while left < right:
        middle = (left + right) >> 1
        at = begin[middle] + depth
        if at >= begin[middle + 1] or flat[at] < byte:
            left = middle + 1
        else:
            right = middle
    first, right = left, high
    while left < right:
        middle = (left + right) >> 1
        if flat[begin[middle] + depth] <= byte:
            left = middle + 1
        else:
            right = middle
    return first, left


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _forward(text: Any, flat: Any, begin: Any, ids: Any) -> tuple[Any, Any, Any, Any]:
    n = len(text)
    first = np.zeros(n + 1, np.int64)
    right = np.zeros(n + 1, np.int64)
    found = np.zeros(max(16, 8 * n), np.int64)
    lengths = np.zeros(max(16, 8 * n), np.int64)
    count = 0
    for at in range(n):
        low, high, depth = 0, len(ids), 0
        while at + depth < n:
            low, high = child_range(flat, begin, low, high, depth, text[at + depth])
            if low == high:
                break
            depth += 1
            whole = low
            while whole < high and begin[whole + 1] - begin[whole] == depth:
                if count == len(found):
                    found = np.concatenate((found, np.zeros_like(found)))
                    lengths = np.concatenate((lengths, np.zeros_like(lengths)))
                found[count], lengths[count] = ids[whole], depth
                count += 1
                whole += 1
            if whole < high:
                right[at] = depth
        first[at + 1] = count
    return first, found[:count].copy(), lengths[:count].copy(), right


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _backward(text: Any, flat: Any, begin: Any) -> Any:
    n = len(text)
    left = np.zeros(n + 1, np.int64)
    for at in range(1, n + 1):
        low, high, depth = 0, len(begin) - 1, 0
        while depth < at:
            low, high = child_range(flat, begin, low, high, depth, text[at - 1 - depth])
            if low == high:
                break
            depth += 1
            if begin[high] - begin[high - 1] > depth:  # the last of those that agree is the longest kind
                left[at] = depth
    return left
