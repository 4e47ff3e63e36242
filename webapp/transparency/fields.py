"""Types of the fields of log leaves, each with a check.

A leaf has to give the same bytes and the same meaning on any machine, so there are no floating
point numbers: shares are fractions, ratings are decimals, both as strings. Knows nothing of which
kinds of leaf there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import Any

MAX_TEXT = 10_000
MAX_COUNT = 2**53 - 1  # the largest integer that RFC 8785 writes exactly

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,118}[a-z0-9])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_FRACTION = re.compile(r"(0|[1-9]\d*)/([1-9]\d*)")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)\.\d+")


@dataclass(frozen=True)
class FieldType:
    """What a value must be. `fault(value)` says what is wrong, or returns an empty string."""

    name: str
    meaning: str
    fault: Callable[[Any], str]


def _pattern(name: str, meaning: str, pattern: re.Pattern[str]) -> FieldType:
    def fault(value: Any) -> str:
        return "" if isinstance(value, str) and pattern.fullmatch(value) else f"is not {meaning}"

    return FieldType(name, meaning, fault)


def _count_fault(value: Any) -> str:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return "" if fits else f"is not {COUNT_MEANING}"


def _text_fault(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) <= MAX_TEXT else f"is not a string of at most {MAX_TEXT}"


def _fraction_fault(value: Any) -> str:
    found = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return "is not a fraction like 3/4096"
    numerator, denominator = int(found[1]), int(found[2])
    if numerator > denominator or gcd(numerator, denominator) != 1:
        return "is not a fraction in lowest terms from 0/1 to 1/1"
    return ""


def _plain_fault(value: Any) -> str:
    if value is None or isinstance(value, str | bool):
        return ""
    if isinstance(value, int):
        return "" if abs(value) <= MAX_COUNT else "holds an integer above 2**53 - 1; write it as a string"
    if isinstance(value, list | tuple):
        return next(filter(None, map(_plain_fault, value)), "")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "holds a name that is not a string"
        return next(filter(None, map(_plain_fault, value.values())), "")
    return f"holds a {type(value).__name__}; leaves hold strings, integers, flags, lists and maps"


COUNT_MEANING = "a whole number from 0 to 2**53 - 1"
TEXT = FieldType("text", f"a string of at most {MAX_TEXT} code points", _text_fault)
SLUG = _pattern("slug", "a name of a-z, 0-9, dot, hyphen and underscore, at most 120 characters", _SLUG)
ID = _pattern("id", "a UUID in lower case", _ID)
DIGEST = _pattern("digest", "64 lower-case hexadecimal digits (SHA-256)", re.compile(r"[0-9a-f]{64}"))
NONCE = _pattern("nonce", "16 to 64 bytes as lower-case hexadecimal digits", re.compile(r"(?:[0-9a-f]{2}){16,64}"))
TIME = _pattern("time", "a UTC time like 2026-11-26T03:24:01.000000Z", _TIME)
DECIMAL = _pattern("decimal", "a decimal number as a string, like 1012.37", _DECIMAL)
COUNT = FieldType("count", COUNT_MEANING, _count_fault)
FLAG = FieldType("flag", "true or false", lambda value: "" if isinstance(value, bool) else "is not true or false")
FRACTION = FieldType("fraction", "an exact share from 0/1 to 1/1 in lowest terms, as a string", _fraction_fault)


def _map_fault(value: Any) -> str:
    return _plain_fault(value) if isinstance(value, Mapping) else "is not a map"


MAP = FieldType("map", "a map of strings to strings, integers, flags, lists and maps", _map_fault)


def one_of(*choices: str) -> FieldType:
    """Return a type with a fixed set of values."""
    listed = " \\| ".join(choices)
    return FieldType(
        listed, f"one of {', '.join(choices)}", lambda v: "" if v in choices else f"is not one of {', '.join(choices)}"
    )


def list_of(item: FieldType) -> FieldType:
    """Return a list type; the first bad item is named by its place."""

    def fault(value: Any) -> str:
        if not isinstance(value, list | tuple):
            return "is not a list"
        faults = (f"[{i}] {item.fault(v)}" for i, v in enumerate(value) if item.fault(v))
        return next(faults, "")

    return FieldType(f"list of {item.name}", f"a list; each item is {item.meaning}", fault)


@dataclass(frozen=True)
class Record:
    """A map with named fields. Fields that it does not name are an error: a typing slip is found at once."""

    required: Mapping[str, FieldType]
    optional: Mapping[str, FieldType] = field(default_factory=dict)

    def fault(self, value: Any) -> str:
        """Say what is wrong with `value`, or return an empty string."""
        if not isinstance(value, Mapping):
            return "is not a map"
        missing = sorted(self.required.keys() - value.keys())
        if missing:
            return f"lacks {', '.join(missing)}"
        unknown = sorted(map(str, value.keys() - self.required.keys() - self.optional.keys()))
        if unknown:
            return f"has unknown fields {', '.join(unknown)}; declare them in webapp/transparency/kinds.py"
        for name, found in value.items():
            kind = self.required.get(name) or self.optional[name]
            if kind.fault(found):
                return f"{name} {kind.fault(found)}"
        return ""


def record(name: str, fields: Record) -> FieldType:
    """Return a nested record as a field type."""
    return FieldType(name, f"a map with {', '.join(fields.required)}", fields.fault)
