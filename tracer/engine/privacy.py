"""Masks personal data in shown text without moving any character.

A first look finds the few characters that an address or a number cannot do without; the patterns are
tried around those alone.
"""

from __future__ import annotations

import re

MASK = "•"
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
NUMBER = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])"  # IPv4
    r"|(?<![\w.])\+\d{1,3}[ -]?(?:\(\d{1,4}\)[ -]?)?\d{2,4}(?:[ -]?\d{2,4}){1,4}(?!\w)"  # international phone
    r"|(?<![\w.-])\(?\d{3}\)?[ -]\d{3}-\d{4}(?!\w)",  # North American phone
)
_SIGN = re.compile(r"[@+\d](?:(?<=@)|(?<=\+)(?=\d)|(?<=\d)(?=\.\d{1,3}\.\d{1,3}\.\d|-\d{4}))")
#: Characters before and behind a sign that a match may take, and one more to look at.
_EMAIL_REACH, _NUMBER_REACH = (64, 322), (10, 64)


def mask_personal_data(text: str) -> str:
    """Return `text` with emails, phone numbers and IPv4 addresses masked, of the same length."""
    found: list[tuple[int, int]] = []
    ends = {EMAIL: 0, NUMBER: 0}
    for sign in _SIGN.finditer(text):
        at = sign.start()
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
