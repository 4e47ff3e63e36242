"""Text as databases can keep it, code point for code point."""

from __future__ import annotations

import json
import re
from typing import Any

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Replace NUL and lone surrogates, which PostgreSQL cannot keep, by U+FFFD; offsets stay the same."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def storable_json(value: Any) -> Any:
    """Apply `storable` to every string of a JSON value; one that needs nothing is returned as it is."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" not in text and not _UNSTORABLE.search(text):
        return value
    return _replaced(value)


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _replaced(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item) for item in value]
    return value
