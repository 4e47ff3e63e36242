"""Masks personal data in shown text without moving any character."""

from __future__ import annotations

import re

MASK = "•"
_PATTERN = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"  # email
    r"|(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])"  # IPv4
    r"|(?<![\w.])\+\d{1,3}[ -]?(?:\(\d{1,4}\)[ -]?)?\d{2,4}(?:[ -]?\d{2,4}){1,4}(?!\w)"  # international phone
    r"|(?<![\w.-])\(?\d{3}\)?[ -]\d{3}-\d{4}(?!\w)",  # North American phone
)

_ANY_SIGN = re.compile(r"@|\d\d")


def mask_personal_data(text: str) -> str:
    """Return `text` with emails, phone numbers and IPv4 addresses masked, of the same length."""
    if not _ANY_SIGN.search(text):
        return text
    return _PATTERN.sub(lambda found: MASK * len(found.group()), text)
