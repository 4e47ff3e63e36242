"""Text as databases can keep it, code point for code point."""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """Replace NUL and lone surrogates, which PostgreSQL cannot keep, by U+FFFD; offsets stay the same."""
    if "\0" not in text and text.isascii():
        return text
    return "".join(REPLACEMENT if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def storable_json(value: Any) -> Any:
    """Apply `storable` to every string of a JSON value."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    return value
