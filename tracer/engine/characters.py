"""Which code points are of words and which are digits, as tables for compiled code."""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]


@cache
def word_characters() -> Flags:
    """Tell of each code point whether it belongs to a word (Unicode: a letter, a digit, or "_")."""
    flags = np.array([chr(code).isalnum() for code in range(sys.maxunicode + 1)], np.bool_)
    flags[ord("_")] = True
    return flags


@cache
def digit_characters() -> Flags:
    """Tell of each code point whether it is a decimal digit of any script."""
    return np.array([chr(code).isdecimal() for code in range(sys.maxunicode + 1)], np.bool_)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points (n,) of a text, lone surrogates as they are."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
