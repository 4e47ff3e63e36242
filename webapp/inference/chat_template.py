"""Conversations as the text that a model reads: its own chat template, or a plain one.

Templates come with checkpoints and are not trusted: they run in Jinja's sandbox, as in
transformers, with the names that published templates use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from webapp.inference.card import read_json
from webapp.inference.errors import RequestError
from webapp.inference.requests import ChatMessage

PLAIN_STOP = "\n\nUser:"
_ROLES = {"user": "User", "assistant": "Assistant"}
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def plain_chat(messages: Sequence[ChatMessage]) -> str:
    """A conversation for a model without a chat template, ending where the assistant speaks.

    System texts stand bare at their place, then `User: …` and `Assistant: …`, a blank line
    between all. `PLAIN_STOP` ends the answer when the model begins to ask itself.
    """
    turns = [m.content if m.role == "system" else f"{_ROLES[m.role]}: {m.content}" for m in messages]
    return "\n\n".join([*turns, "Assistant:"])


@dataclass(frozen=True)
class ChatTemplate:
    """A checkpoint's own template with its special tokens."""

    source: str
    special_tokens: tuple[tuple[str, str], ...] = ()

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """The text of a conversation up to where the assistant speaks; RequestError when it is refused."""
        try:
            rendered: str = _compiled(self.source).render(
                messages=[asdict(message) for message in messages],
                add_generation_prompt=True,
                tools=None,
                documents=None,
                **dict(self.special_tokens),
            )
            return rendered
        except TemplateError as error:
            raise RequestError(f"The model's chat template refuses this conversation: {error}.") from error
        except Exception as error:  # a template is a program; it may fail in any way
            raise RequestError(f"The model's chat template fails on this conversation ({error}).") from error


def read_chat_template(path: Path) -> ChatTemplate | None:
    """The template of a checkpoint folder, from chat_template.jinja or tokenizer_config.json; None without one."""
    file = path / "tokenizer_config.json"
    settings = read_json(file) if file.is_file() else {}
    source: Any = settings.get("chat_template")
    if isinstance(source, list):  # several named ones
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    own_file = path / "chat_template.jinja"
    if own_file.is_file():
        source = own_file.read_text(encoding="utf-8")
    if not isinstance(source, str) or not source.strip():
        return None
    found = {name: _token_text(settings.get(name)) for name in _TOKENS}
    return ChatTemplate(source, tuple((name, text) for name, text in found.items() if text is not None))


def _token_text(token: object) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's part for training; here it is only text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


@lru_cache(maxsize=32)
def _compiled(source: str) -> Any:
    environment: Environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment.from_string(source)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now(tz=UTC).strftime(pattern)
