"""From what a person wrote to what the model reads: chat templates, plain text, system prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from webapp.errors import BadInputError
from webapp.inference import ChatMessage, RequestError
from webapp.inference.chat_template import PLAIN_STOP, ChatTemplate, plain_chat, read_chat_template
from webapp.playground.models import BackendChoice, Checkpoint
from webapp.text import storable

ROLES = ("system", "user", "assistant")
MAX_MESSAGES = 200


@dataclass(frozen=True)
class WrittenPrompt:
    """What the model reads, and the stop strings that its form needs.

    `has_own_special_tokens`: a template wrote begin-of-text itself, so that the tokenizer must not.
    """

    text: str
    has_own_special_tokens: bool
    stop: tuple[str, ...]


def write_prompt(
    checkpoint: Checkpoint, *, prompt: str, system_prompt: str, messages: Sequence[ChatMessage], is_chat: bool
) -> WrittenPrompt:
    """Put system prompt, earlier turns and prompt into the form that the checkpoint reads.

    A chat goes through the checkpoint's own template, or the plain one of `plain_chat`. Without
    chat the model continues the prompt; a system prompt then stands before it, after a blank line.
    """
    system = [ChatMessage("system", system_prompt)] if system_prompt else []
    conversation = [*system, *messages, ChatMessage("user", prompt)]
    if not is_chat:
        return WrittenPrompt("\n\n".join([system_prompt, prompt] if system_prompt else [prompt]), False, ())
    is_remote = checkpoint.backend == BackendChoice.REMOTE
    if is_remote and checkpoint.is_chat:  # its server applies the template; this is only a record
        return WrittenPrompt(plain_chat(conversation), True, ())
    template = None if is_remote else template_of(str(checkpoint.folder), checkpoint.digest)
    if template is None:
        return WrittenPrompt(plain_chat(conversation), False, (PLAIN_STOP,))
    try:
        return WrittenPrompt(template.render(conversation), True, ())
    except RequestError as error:
        raise BadInputError(str(error), field="messages") from error


@lru_cache(maxsize=8)
def template_of(folder: str, digest: str) -> ChatTemplate | None:
    """Return a checkpoint's chat template, read once a process."""
    return read_chat_template(Path(folder))


def read_messages(messages: Sequence[Mapping[str, Any]], *, field: str = "messages") -> list[ChatMessage]:
    """Return checked turns; raises `BadInputError` that says which one is wrong."""
    if len(messages) > MAX_MESSAGES:
        raise BadInputError(f"There are {len(messages)} messages; at most {MAX_MESSAGES} are taken.", field=field)
    turns = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise BadInputError(f"Message {number} has the role {role!r}; use {', '.join(ROLES)}.", field=field)
        if not isinstance(content, str):
            raise BadInputError(f"Message {number} needs a text as content.", field=field)
        turns.append(ChatMessage(role, storable(content)))
    return turns
