"""What the OpenAPI schema says of errors: every one is a problem document (RFC 9457)."""

from __future__ import annotations

from typing import Any

from webapp.problems import CONTENT_TYPE

METHODS = frozenset({"get", "post", "put", "patch", "delete"})
SAFE = frozenset({"get"})
DESCRIPTIONS = {
    "400": "A value is missing or not valid; `errors` names the field.",
    "401": "The token is unknown, revoked or has ended.",
    "403": "Not within the token's scopes, or not allowed to this person.",
    "404": "There is no such resource, or not for this person.",
    "406": "Only JSON is answered.",
    "413": "The body is too large.",
    "415": "Only JSON bodies are read.",
    "429": "Too many requests; Retry-After and RateLimit say when to ask again.",
    "503": "Too much waits, or a part of the site is away; Retry-After says when to ask again.",
}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable and meant for programs; `detail` says what happened and what to do.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {"type": "object", "additionalProperties": {}, "description": "Messages by field."},
    },
    "required": ["type", "title", "status", "detail", "code"],
}


def document_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the answers that any operation may give to every operation (a hook of drf-spectacular).

    Every operation may be asked without a token too; what a stranger may not do is answered as documented.
    """
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    for path in result["paths"].values():
        for method, operation in path.items():
            if method in METHODS:
                _document(method, operation)
                security = operation.setdefault("security", [])
                if {} not in security:
                    security.append({})
    return result


def _document(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    places = {parameter["in"] for parameter in operation.get("parameters", [])}
    common = {"401", "403", "406", "429", "503"}
    if places & {"path", "query"}:
        common.add("404")
    if places & {"query", "header"} or method not in SAFE:
        common.add("400")
    if "requestBody" in operation:
        common |= {"413", "415"}
    for status in common - responses.keys():
        responses[status] = {"description": DESCRIPTIONS[status]}
    for status, response in responses.items():
        if status.startswith(("4", "5")):
            response["content"] = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"] = dict(sorted(responses.items()))
