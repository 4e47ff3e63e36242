"""Reads a benchmark: JSON lines, of which one field of each is an item's text. Knows nothing of the database and HTTP.

What comes in is anybody's: sizes are bounded before anything is parsed, and each refusal names its line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from webapp.errors import BadInputError
from webapp.text import storable

MAX_UPLOAD_BYTES = 10 * 2**20
MAX_ITEMS = 20_000
MAX_LINE_BYTES = 256 * 2**10
MAX_ITEM_CHARACTERS = 20_000
MAX_FIELD_CHARACTERS, MAX_KEY_CHARACTERS = 100, 200
MAX_NAMED_FIELDS = 12


@dataclass(frozen=True)
class BenchmarkText:
    """One item: its id, or its number where it has none, and its text."""

    key: str
    text: str


def read_items(content: bytes, field: str) -> list[BenchmarkText]:
    """Return the items of JSON lines; `field` may go into objects by dots ("doc.question").

    Raises `BadInputError` that names the line and what to do. Blank lines are left out.
    """
    if not field or len(field) > MAX_FIELD_CHARACTERS:
        raise BadInputError(
            f"Name the field of the text, with at most {MAX_FIELD_CHARACTERS} characters.", field="field"
        )
    if len(content) > MAX_UPLOAD_BYTES:
        raise BadInputError(
            f"The benchmark has {len(content):,} bytes; at most {MAX_UPLOAD_BYTES:,} are taken. Split it.", field="file"
        )
    items = [_item(number, line, field) for number, line in _lines(content)]
    if not items:
        raise BadInputError("The benchmark has no line. Give JSON lines, one item on each.", field="file")
    return items


def digest_of(items: list[BenchmarkText]) -> str:
    """Return the SHA-256 of the items, ids and texts, as canonical JSON lines."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.key, item.text], separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    n_items, begin, number = 0, 0, 0
    content = content.removeprefix(b"\xef\xbb\xbf")
    while begin < len(content):
        end = content.find(b"\n", begin)
        end = len(content) if end < 0 else end
        number += 1
        if end - begin > MAX_LINE_BYTES:
            raise _error(number, f"has {end - begin:,} bytes; at most {MAX_LINE_BYTES:,} are taken")
        line = content[begin:end].strip()
        begin = end + 1
        if not line:
            continue
        n_items += 1
        if n_items > MAX_ITEMS:
            raise BadInputError(f"More than {MAX_ITEMS:,} items. Split the benchmark.", field="file")
        yield number, line


def _item(number: int, line: bytes, field: str) -> BenchmarkText:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _error(number, f"is not UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        reason = "is nested too deep" if isinstance(error, RecursionError) else f"is not valid JSON ({error})"
        raise _error(number, reason) from None
    if not isinstance(value, dict):
        raise _error(number, "is no JSON object")
    text = _text(number, value, field)
    key = value.get("id", number)
    if not isinstance(key, str | int) or isinstance(key, bool):
        key = number
    return BenchmarkText(storable(str(key))[:MAX_KEY_CHARACTERS], text)


def _text(number: int, value: dict[str, Any], field: str) -> str:
    found: Any = value
    if field in value:
        found = value[field]
    else:
        for part in field.split("."):
            if not isinstance(found, dict) or part not in found:
                names = ", ".join(repr(name[:40]) for name in list(value)[:MAX_NAMED_FIELDS])
                raise BadInputError(f"Line {number} has no field {field!r}. It has: {names}.", field="field")
            found = found[part]
    if not isinstance(found, str):
        raise BadInputError(f"Line {number}: {field!r} is no text. Choose a field that is.", field="field")
    if len(found) > MAX_ITEM_CHARACTERS:
        raise _error(number, f"has {len(found):,} characters of text; at most {MAX_ITEM_CHARACTERS:,} are measured")
    return storable(found)


def _error(number: int, reason: str) -> BadInputError:
    return BadInputError(f"Line {number} {reason}.", field="file")
