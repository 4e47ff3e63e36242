"""Masks personal data in shown text without moving any character.

A first look finds the few characters that an address or a number cannot do without; the patterns are
tried around those alone.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tracer.engine import lazy_numba as numba
from tracer.engine.characters import code_points, digit_characters, word_characters

MASK = "•"
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
NUMBER = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])"  # IPv4
    r"|(?<![\w.])\+\d{1,3}[ -]?(?:\(\d{1,4}\)[ -]?)?\d{2,4}(?:[ -]?\d{2,4}){1,4}(?!\w)"  # international phone
    r"|(?<![\w.-])\(?\d{3}\)?[ -]\d{3}-\d{4}(?!\w)",  # North American phone
)
#: Characters before and behind a sign that a match may take, and one more to look at.
_EMAIL_REACH, _NUMBER_REACH = (64, 322), (10, 64)


def mask_personal_data(text: str) -> str:
    """Return `text` with emails, phone numbers and IPv4 addresses masked, of the same length."""
    found: list[tuple[int, int]] = []
    ends = {EMAIL: 0, NUMBER: 0}
    codes = code_points(text)
    signs = np.empty(len(codes), np.int64)
    n_signs = _find_signs(codes, word_characters(), digit_characters(), signs)
    for at in signs[:n_signs].tolist():
        pattern, (before, behind) = (EMAIL, _EMAIL_REACH) if text[at] == "@" else (NUMBER, _NUMBER_REACH)
        match = pattern.search(text, max(ends[pattern], at - before), at + behind)
        if match is not None and match.start() <= at:
            found.append(match.span())
            ends[pattern] = match.end()
    if not found:
        return text
    characters = list(text)
    for start, end in found:
        characters[start:end] = MASK * (end - start)
    return "".join(characters)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _find_signs(codes: Any, is_word: Any, is_digit: Any, out: Any) -> int:
    """Write where text (n,) has a sign to `out` (n,), and return how many there are.

    A sign is an "@" with a character of an address on either side; a "+" before a digit; the last digit before what
    follows the first number of an IPv4 address, or before "-" and four digits.
    """
    n, n_found = len(codes), 0
    for i in range(n - 1):
        code = codes[i]
        found = False
        if code == 64:  # @
            if i:
                left, right = codes[i - 1], codes[i + 1]
                found = is_word[left] or left == 46 or left == 43 or left == 45  # . + -
                found = found and (is_word[right] or right == 45)
        elif code == 43:
            found = is_digit[codes[i + 1]]
        elif codes[i + 1] == 45 and is_digit[code]:
            found = i + 5 < n
            for k in range(i + 2, min(i + 6, n)):
                found = found and is_digit[codes[k]]
        elif codes[i + 1] == 46 and is_digit[code]:
            at = i + 1
            found = True
            for _ in range(2):
                begin = at + 1
                at = begin
                while at < n and at - begin < 3 and is_digit[codes[at]]:
                    at += 1
                found = found and at > begin and at < n and codes[at] == 46
            found = found and at + 1 < n and is_digit[codes[at + 1]]
        if found:
            out[n_found] = i
            n_found += 1
    return n_found
