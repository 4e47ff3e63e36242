"""What a change of the OpenAPI schema takes from clients. Within v1 nothing may be taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")
Schema = dict[str, Any]


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return, in words, each operation, parameter, field, type or value that clients of `old` would miss in `new`.

    Answers may gain members and values, requests may gain optional members and values; nothing else may change.
    """
    return sorted(set(_paths(old, new)))


def _paths(old: Schema, new: Schema) -> Iterator[str]:
    for path, operations in old["paths"].items():
        for method in METHODS:
            if method not in operations:
                continue
            name = f"{method.upper()} {path}"
            found = new["paths"].get(path, {}).get(method)
            if found is None:
                yield f"{name} is gone"
                continue
            yield from _parameters(name, operations[method], found, old, new)
            yield from _request(name, operations[method], found, old, new)
            yield from _responses(name, operations[method], found, old, new)


def _parameters(name: str, before: Schema, after: Schema, old: Schema, new: Schema) -> Iterator[str]:
    known = {(p["in"], p["name"]): p for p in before.get("parameters", [])}
    found = {(p["in"], p["name"]): p for p in after.get("parameters", [])}
    for key, parameter in known.items():
        where = f"{name}: parameter {key[1]}"
        if key not in found:
            yield f"{where} is gone"
            continue
        if found[key].get("required") and not parameter.get("required"):
            yield f"{where} became required"
        yield from _accepted(where, parameter.get("schema", {}), found[key].get("schema", {}), old, new)
    for key, parameter in found.items():
        if key not in known and parameter.get("required"):
            yield f"{name}: parameter {key[1]} is new and required"


def _request(name: str, before: Schema, after: Schema, old: Schema, new: Schema) -> Iterator[str]:
    if "requestBody" not in before:
        if after.get("requestBody", {}).get("required"):
            yield f"{name}: a body is new and required"
        return
    if "requestBody" not in after:
        yield f"{name}: the body is gone"
        return
    for kind, content in before["requestBody"]["content"].items():
        if kind not in after["requestBody"]["content"]:
            yield f"{name}: {kind} is no longer taken"
            continue
        schema = after["requestBody"]["content"][kind].get("schema", {})
        yield from _accepted(f"{name}: body", content.get("schema", {}), schema, old, new)


def _responses(name: str, before: Schema, after: Schema, old: Schema, new: Schema) -> Iterator[str]:
    for status, response in before["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in after["responses"]:
            yield f"{name}: {status} is gone"
            continue
        for kind, content in response.get("content", {}).items():
            found = after["responses"][status].get("content", {})
            if kind not in found:
                yield f"{name}: {status} no longer answers {kind}"
                continue
            yield from _answered(
                f"{name}: {status}", content.get("schema", {}), found[kind].get("schema", {}), old, new
            )


def _accepted(where: str, before: Schema, after: Schema, old: Schema, new: Schema) -> Iterator[str]:
    """Compare what clients send: every value that was taken must still be taken."""
    for path, one, other in _pairs(where, before, after, old, new):
        if other is None:
            yield f"{path} is gone"
            continue
        yield from _same_type(path, one, other)
        if "enum" in other:
            for value in one.get("enum", ["other values"]):
                if value not in other["enum"]:
                    yield f"{path} no longer takes {value!r}"
        for name in other.get("required", []):
            if name not in one.get("required", []):
                yield f"{path}.{name} became required"


def _answered(where: str, before: Schema, after: Schema, old: Schema, new: Schema) -> Iterator[str]:
    """Compare what clients read: every member that was there must still be there."""
    for path, one, other in _pairs(where, before, after, old, new):
        if other is None:
            yield f"{path} is gone"
            continue
        yield from _same_type(path, one, other)
        if other.get("nullable") and not one.get("nullable"):
            yield f"{path} may be null now"
        for name in one.get("required", []):
            if name in other.get("properties", {}) and name not in other.get("required", []):
                yield f"{path}.{name} may be missing now"


def _same_type(path: str, one: Schema, other: Schema) -> Iterator[str]:
    for key in ("type", "format"):
        if one.get(key) != other.get(key) and one.get(key) is not None:
            yield f"{path} was {key} {one.get(key)}, is {other.get(key)}"


def _pairs(
    where: str, before: Schema, after: Schema | None, old: Schema, new: Schema, seen: tuple[str, ...] = ()
) -> Iterator[tuple[str, Schema, Schema | None]]:
    """Yield each part of a schema with its counterpart, references followed once; None where it has none."""
    reference = before.get("$ref")
    if reference in seen:
        return
    if reference is not None:
        seen = (*seen, reference)
    one = _resolve(before, old)
    other = None if after is None else _resolve(after, new)
    yield where, one, other
    if other is None:
        return
    for name, member in one.get("properties", {}).items():
        yield from _pairs(f"{where}.{name}", member, other.get("properties", {}).get(name), old, new, seen)
    if "items" in one:
        yield from _pairs(f"{where}[]", one["items"], other.get("items"), old, new, seen)


def _resolve(schema: Schema, document: Schema) -> Schema:
    """Follow references; join the parts of allOf into one."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return _resolve(document["components"]["schemas"][name], document)
    if "allOf" in schema:
        joined: Schema = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            joined = {**_resolve(part, document), **joined}
        return joined
    return schema
