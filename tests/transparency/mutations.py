"""Changes of one record: any field of any file, by any small lie."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]


def paths_of(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value within a JSON value, itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from paths_of(inner, (*path, name))


def other_values(value: Any) -> list[Any]:
    """Return values that differ from one as JSON, near ones first; `1` and `true` differ."""
    near: list[Any] = [None, "", 0, {}, [], True, False]
    if isinstance(value, bool):
        near += [not value, int(value)]
    elif isinstance(value, int):
        near += [value + 1, value - 1, str(value), float(value)]
        near += [bool(value)] if value in (0, 1) else []
    elif isinstance(value, str):
        near += [value + "0", value[:-1], value[1:], value.upper(), value.lower(), f" {value}"]
        near += [value[:k] + chr(ord(value[k]) ^ 1) + value[k + 1 :] for k in range(len(value))]
    elif isinstance(value, list):
        near += [value[1:], value[:-1], value[::-1], [*value, value[0] if value else 0]]
    elif isinstance(value, dict):
        near += [{**value, "more": 1}, *({k: v for k, v in value.items() if k != name} for name in value)]
    same = json.dumps(value, sort_keys=True)
    return [other for other in near if json.dumps(other, sort_keys=True) != same]


def replaced(record: Any, path: Path, value: Any) -> Any:
    """Return a record with another value at a path; the value itself for the empty path."""
    if not path:
        return value
    other = copy.deepcopy(record)
    parent = other
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    return other


@st.composite
def changed(draw: st.DrawFn, record: Any) -> tuple[Path, Any]:
    """Draw a place of a record and the record with another value there, or without it, or with one more."""
    path = draw(st.sampled_from([(), *paths_of(record)]))
    damaged = copy.deepcopy(record)
    if not path:
        damaged["more"] = draw(st.sampled_from([0, "x", None]))
        return path, damaged
    parent = damaged
    for name in path[:-1]:
        parent = parent[name]
    if draw(st.integers(0, 5)) == 0:
        del parent[path[-1]]
    else:
        parent[path[-1]] = draw(st.sampled_from(other_values(parent[path[-1]])))
    return path, damaged
