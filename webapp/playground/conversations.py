"""Questions of several turns: what a further one is asked after, and what a person has asked so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from webapp.errors import ConflictError
from webapp.ownership import Author
from webapp.playground.models import Generation

ROLES = {"user": "You", "assistant": "Answer", "system": "System prompt"}


@dataclass(frozen=True)
class Turn:
    """One turn as a page shows it."""

    speaker: str
    text: str


def turns_after(generation: Generation) -> list[dict[str, str]]:
    """Return the turns that a further question follows, this answer's the last.

    What a model thought before its answer is left out, as those who train such models do.
    Raises `ConflictError` while the answer is made, or when there is none.
    """
    if not generation.is_finished or not generation.text.strip():
        raise ConflictError("There is no answer yet to go on from. Wait for it, or ask anew.")
    return [
        *generation.messages,
        {"role": "user", "content": generation.prompt},
        {"role": "assistant", "content": answer_alone(generation)},
    ]


def answer_alone(generation: Generation) -> str:
    """Return the answer without the thinking before it."""
    end = generation.checkpoint.thinking.get("end", "") if generation.thinking is not None else ""
    return generation.text.rpartition(end)[2].lstrip() if end else generation.text


def shown_turns(generation: Generation) -> list[Turn]:
    """Return the turns before the question."""
    return [Turn(ROLES.get(turn["role"], turn["role"]), turn["content"]) for turn in generation.messages]


def own_conversations(author: Author, *, before: datetime | None = None) -> QuerySet[Generation]:
    """Return the last answer of each of one's conversations, newest first. Comparisons have their own list."""
    goes_on = Exists(Generation.objects.filter(parent=OuterRef("pk"), comparison=None))
    last: QuerySet[Generation] = (
        Generation.objects.owned_by(author).filter(comparison=None).exclude(goes_on).select_related("checkpoint")
    )
    return last.filter(created_at__lt=before) if before else last


def first_question(generation: Generation) -> str:
    """Return what a conversation began with."""
    asked = (turn["content"] for turn in generation.messages if turn["role"] == "user")
    return next(asked, generation.prompt)
