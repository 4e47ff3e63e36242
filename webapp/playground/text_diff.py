"""Which words two texts share, in order: a longest common subsequence of words and marks with the space after them.

The table is filled row by row with numpy. With eq the places where the row's word stands in the
other text, row i is the running maximum of max(L[i-1, j], L[i-1, j-1] + eq[j]) (Wagner and Fischer,
1974, with the maximum over the row taken last), so that texts that repeat themselves cost no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_WORDS = 4000
_WORDS = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


@dataclass(frozen=True)
class Piece:
    """A run of words that both texts have (`is_shared`), or only the one it is of."""

    text: str
    is_shared: bool


@dataclass(frozen=True)
class Difference:
    """Both texts in pieces that join to them. `shared` is 2·LCS over both lengths; 1 is equal.

    `n_same_characters` counts from the beginning, to the first difference.
    """

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    shared: float
    n_same_characters: int


def compare_texts(left: str, right: str) -> Difference:
    """Return what two texts share. Beyond `MAX_WORDS` words of each, nothing counts as shared."""
    a, b = _WORDS.findall(left), _WORDS.findall(right)
    n_before = _n_equal(a, b)
    n_after = _n_equal(a[n_before:][::-1], b[n_before:][::-1])
    middle_a, middle_b = a[n_before : len(a) - n_after], b[n_before : len(b) - n_after]
    pairs = common_subsequence(middle_a[:MAX_WORDS], middle_b[:MAX_WORDS])
    in_a, in_b = np.zeros(len(a), bool), np.zeros(len(b), bool)
    for i, j in pairs:
        in_a[n_before + i] = in_b[n_before + j] = True
    for flags in (in_a, in_b):
        flags[:n_before] = True
        flags[len(flags) - n_after :] = True
    total = len(a) + len(b)
    return Difference(
        _pieces(a, in_a.tolist()),
        _pieces(b, in_b.tolist()),
        round(2 * int(in_a.sum()) / total, 4) if total else 1.0,
        sum(len(word) for word in a[:n_before]),
    )


def common_subsequence(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Return the places (i, j) of a longest common subsequence, in order."""
    table = _lengths(a, b)
    pairs: list[tuple[int, int]] = []
    i, j = len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif table[i - 1, j] >= table[i, j - 1]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _lengths(a: list[str], b: list[str]) -> npt.NDArray[np.int16]:
    """Return (len(a) + 1, len(b) + 1): the length of the longest common subsequence of each two beginnings."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*a, *b]))}
    ids = np.array([numbers[word] for word in b], np.int32)
    table = np.zeros((len(a) + 1, len(b) + 1), np.int16)
    for i, word in enumerate(a):
        row = np.maximum(table[i, 1:], table[i, :-1] + (ids == numbers[word]))
        np.maximum.accumulate(row, out=table[i + 1, 1:])
    return table


def _n_equal(a: list[str], b: list[str]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def _pieces(words: list[str], flags: list[bool]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    start = 0
    for i in range(1, len(words) + 1):
        if i == len(words) or flags[i] != flags[start]:
            pieces.append(Piece("".join(words[start:i]), flags[start]))
            start = i
    return tuple(pieces)
