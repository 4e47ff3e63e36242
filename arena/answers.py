"""The answers of a battle: made through the playground, sealed until the reveal.

A sealed generation cannot be read by its id, so that its page and resource don't tell which
contestant sits on which side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from arena.models import Battle, BattleTurn, Contestant
from webapp.jobs import JobStatus
from webapp.ownership import Author, Visibility
from webapp.playground.availability import available_slugs
from webapp.playground.models import Generation
from webapp.playground.services import cancel_generation, prepare_generation, share_generations, store_generations

SIDES = ("a", "b")
ARENA = Author(session_digest="arena")  # no browser's secret has this digest, so that only the arena owns answers
_HEADER = re.compile(r"^ {0,3}#{1,6}\s+", re.MULTILINE)
_LIST = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])")
_FENCE = re.compile(r"^```.*\n?", re.MULTILINE)


def start_sides(battle: Battle, prompts: Sequence[str], earlier: Sequence[BattleTurn]) -> tuple[Generation, Generation]:
    """Queue both contestants' answers to the last prompt. `earlier` are the turns before it, one fewer than `prompts`.

    The voter takes a turn with them, since the arena, which owns them, waits for nothing.

    Raises `BadInputError` when the conversation does not fit a checkpoint, `BusyError` when too many wait; then
    nothing is stored.
    """
    checkpoints = {c.checkpoint_id: c.checkpoint for c in (battle.contestant_a, battle.contestant_b)}
    available = {pk: available_slugs(checkpoint) for pk, checkpoint in checkpoints.items()}
    side_a, side_b = (_prepare_side(battle, side, prompts, earlier, available) for side in SIDES)
    store_generations([side_a, side_b])
    return side_a, side_b


def _prepare_side(
    battle: Battle,
    side: str,
    prompts: Sequence[str],
    earlier: Sequence[BattleTurn],
    available: Mapping[int, Sequence[str]],
) -> Generation:
    contestant: Contestant = getattr(battle, f"contestant_{side}")
    own = [getattr(turn, f"generation_{side}").text for turn in earlier]
    messages = [
        {"role": role, "content": text}
        for turn in zip(prompts, own, strict=False)
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return prepare_generation(
        prompt=prompts[-1],
        messages=messages,
        system_prompt=contestant.system_prompt,
        experts=contestant.experts,
        max_tokens=int(contestant.decoding["max_tokens"]),
        temperature=float(contestant.decoding["temperature"]),
        top_p=float(contestant.decoding["top_p"]),
        checkpoint=contestant.checkpoint,
        available=available[contestant.checkpoint_id],
        author=ARENA,
        visibility=Visibility.PRIVATE,
        turn_of=f"voter-{battle.voter_id}",
    )


def turns_of(battle: Battle) -> list[BattleTurn]:
    """Return a battle's turns with prompts and answers."""
    return list(battle.turns.select_related("generation_a", "generation_b", "text").order_by("number"))


def generations_of(turns: Iterable[BattleTurn]) -> list[Generation]:
    """Return all generations of some turns, side a first."""
    return [g for turn in turns for g in (turn.generation_a, turn.generation_b) if g is not None]


def are_ready(turns: Iterable[BattleTurn]) -> bool:
    """Tell whether every answer is complete."""
    return all(generation.status == JobStatus.DONE for generation in generations_of(turns))


def are_all_there(battle: Battle) -> bool:
    """Tell whether every answer of a battle is complete, without reading one."""
    statuses = battle.turns.order_by().values_list("generation_a__status", "generation_b__status")
    return all(status in (None, JobStatus.DONE) for turn in statuses for status in turn)


def has_failed(turns: Iterable[BattleTurn]) -> bool:
    """Tell whether an answer ended without being complete."""
    return any(g.status in (JobStatus.FAILED, JobStatus.CANCELLED) for g in generations_of(turns))


def side_text(turns: Iterable[BattleTurn], side: str) -> str:
    """Return all answers of one side as one text."""
    generations = (getattr(turn, f"generation_{side}") for turn in turns)
    return "\n\n".join(generation.text for generation in generations if generation is not None)


def unseal(turns: Iterable[BattleTurn]) -> None:
    """Let the answers be read by their ids: the battle is closed."""
    ids = [generation.id for generation in generations_of(turns)]
    if ids:
        share_generations(ids, author=ARENA, visibility=Visibility.LINK)


def cancel(turns: Iterable[BattleTurn]) -> None:
    """Stop answers that nobody waits for."""
    for generation in generations_of(turns):
        if not generation.is_finished:
            cancel_generation(generation.id, author=ARENA)


@dataclass(frozen=True)
class StyleCounts:
    """Style of an answer, as covariates of a rating."""

    characters: int
    headers: int
    lists: int
    bold: int


def count_style(text: str) -> StyleCounts:
    """Count what makes an answer look thorough: length, headers, list items, bold pieces."""
    return StyleCounts(len(text), len(_HEADER.findall(text)), len(_LIST.findall(text)), len(_BOLD.findall(text)))


def plain_style(text: str) -> str:
    """Return an answer without Markdown's marks: its words alone."""
    text = _FENCE.sub("", text)
    text = _HEADER.sub("", text)
    text = _LIST.sub("", text)
    text = _BOLD.sub(r"\2", text)
    return _EMPHASIS.sub(r"\1", text)
