"""Requests in OpenAI's format, checked and turned into the arguments of `start_generation`.

What would silently change the answer if it were ignored is refused; what is harmless is ignored.
Extension fields: `experts` (slugs), `trace` (true: the answer's spans), `thinking` (bounds).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.errors import BadInputError

_REFUSED = ("tools", "tool_choice", "functions", "function_call", "audio", "logit_bias", "suffix", "echo", "prediction")
_DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's


@dataclass(frozen=True)
class Question:
    """One request: what to generate, and how to answer."""

    is_chat: bool
    is_streamed: bool
    has_usage_chunk: bool
    is_traced: bool
    arguments: dict[str, Any]


def read_question(body: bytes, *, is_chat: bool) -> Question:
    """Parse a request; raises `BadInputError` that names the field in OpenAI's `param`."""
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise BadInputError(f"The body is not valid JSON ({error}).") from error
    if not isinstance(asked, dict):
        raise BadInputError("The body must be a JSON object.")
    _refuse(asked)
    options = _typed(asked, "stream_options", dict, {})
    arguments = {
        "checkpoint": _typed(asked, "model", str, None),
        "experts": _texts(asked, "experts"),
        "temperature": _number(asked, "temperature", 1.0),
        "top_p": _number(asked, "top_p", 1.0),
        "seed": _whole(asked, "seed"),
        "stop": _texts(asked, "stop") or [],
        "thinking": _typed(asked, "thinking", dict, None),
        "is_chat": is_chat,
    }
    arguments |= _chat(asked) if is_chat else _completion(asked)
    return Question(
        is_chat,
        bool(_typed(asked, "stream", bool, False)),
        bool(options.get("include_usage")),
        bool(_typed(asked, "trace", bool, False)),
        arguments,
    )


def _refuse(asked: Mapping[str, Any]) -> None:
    for name in _REFUSED:
        if asked.get(name):
            raise BadInputError(f"{name} is not supported. Leave it out.", field=name)
    for name in ("frequency_penalty", "presence_penalty"):
        if asked.get(name):
            raise BadInputError(f"{name} is not supported; leave it out or send 0.", field=name)
    for name in ("n", "best_of"):
        if asked.get(name) not in (None, 1):
            raise BadInputError(f"{name} must be 1: ask once for each answer.", field=name)
    kind = asked.get("response_format")
    if kind is not None and kind != {"type": "text"}:
        raise BadInputError('response_format must be {"type": "text"}.', field="response_format")


def _chat(asked: Mapping[str, Any]) -> dict[str, Any]:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadInputError("messages must be a list of at least one message.", field="messages")
    turns = [{"role": _role(message), "content": _content(message)} for message in messages]
    if turns[-1]["role"] != "user":
        raise BadInputError("The last message must be the user's.", field="messages")
    system = turns.pop(0)["content"] if turns[0]["role"] == "system" else ""
    name = "max_completion_tokens" if asked.get("max_completion_tokens") is not None else "max_tokens"
    wants_logprobs = bool(_typed(asked, "logprobs", bool, False))
    n_top = _whole(asked, "top_logprobs")
    if n_top is not None and not wants_logprobs:
        raise BadInputError("top_logprobs needs logprobs to be true.", field="top_logprobs")
    return {
        "prompt": turns[-1]["content"],
        "messages": turns[:-1],
        "system_prompt": system,
        "max_tokens": _whole(asked, name),
        "top_logprobs": (n_top or 0) if wants_logprobs else None,
    }


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    return "system" if role == "developer" else str(role)


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message, written whole or in text parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        content = "".join(part for part in parts if isinstance(part, str)) if None not in parts else None
    if not isinstance(content, str):
        raise BadInputError("A message's content must be a text, or text parts.", field="messages")
    return content


def _completion(asked: Mapping[str, Any]) -> dict[str, Any]:
    prompt = asked.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadInputError("prompt must be one text; ask once for each.", field="prompt")
    max_tokens = _whole(asked, "max_tokens")
    return {
        "prompt": prompt,
        "max_tokens": _DEFAULT_COMPLETION_TOKENS if max_tokens is None else max_tokens,
        "top_logprobs": _whole(asked, "logprobs"),
    }


def _typed(asked: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = asked.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        words = {str: "a text", bool: "true or false", dict: "an object"}
        raise BadInputError(f"{name} must be {words[kind]}.", field=name)
    return value


def _number(asked: Mapping[str, Any], name: str, default: float) -> float:
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInputError(f"{name} must be a number.", field=name)
    return float(value)


def _whole(asked: Mapping[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is not None and type(value) is not int:
        raise BadInputError(f"{name} must be a whole number.", field=name)
    return value


def _texts(asked: Mapping[str, Any], name: str) -> list[str] | None:
    value = asked.get(name)
    if isinstance(value, str):
        value = [value]
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadInputError(f"{name} must be a text or a list of texts.", field=name)
    return value
