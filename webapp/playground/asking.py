"""Taking a question: every value is checked, then a pending generation is stored and queued."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from webapp.errors import BadInputError, ConflictError
from webapp.inference import ChatMessage
from webapp.inference.requests import MAX_STOP_LENGTH, MAX_STOP_STRINGS, MAX_TOP_LOGPROBS
from webapp.ownership import NOBODY, Author, Visibility, ownership
from webapp.playground import engines
from webapp.playground.availability import available_slugs, why_unavailable
from webapp.playground.checkpoints import default_checkpoint
from webapp.playground.models import BackendChoice, Checkpoint, Comparison, Generation
from webapp.playground.prompts import read_messages, write_prompt
from webapp.queueing import check_room, enqueue_on_commit
from webapp.text import storable

MAX_PROMPT_CHARACTERS = 200_000
MAX_SEED = 2**53 - 1


def start_generation(**question: Any) -> Generation:
    """Store a pending generation and queue it; arguments and errors are those of `prepare_generation`.

    Raises `BusyError` when too many wait.
    """
    generation = prepare_generation(**question)
    store_generations([generation])
    return generation


def store_generations(generations: Sequence[Generation]) -> None:
    """Store prepared generations together and queue them. Raises `BusyError`, before anything is stored."""
    check_room(Generation, n=len(generations))
    with transaction.atomic(savepoint=False):
        Generation.objects.bulk_create(generations)
        for generation in generations:
            enqueue_on_commit(import_string("webapp.playground.tasks.run_generation"), generation.id)


def prepare_generation(
    *,
    prompt: str,
    experts: Sequence[str] | None = None,
    max_tokens: int | None = 128,
    temperature: float = 0.7,
    top_p: float = 0.95,
    seed: int | None = None,
    checkpoint: Checkpoint | str | None = None,
    available: Sequence[str] | None = None,
    author: Author = NOBODY,
    visibility: str = Visibility.LINK,
    system_prompt: str = "",
    messages: Sequence[Mapping[str, Any]] = (),
    is_chat: bool | None = None,
    stop: Sequence[str] = (),
    top_logprobs: int | None = None,
    thinking: Mapping[str, Any] | None = None,
    is_traced_live: bool = False,
    parent: Generation | None = None,
    comparison: Comparison | None = None,
    turn_of: str = "",
) -> Generation:
    """Return a pending generation of checked values, not stored yet. Raises `BadInputError` that names the field.

    `checkpoint` is one by its slug, or the row itself, read just now; `available` what `available_slugs` gave for it
    just now, where the caller has asked already.
    `experts` None means all; `max_tokens` None as many as the context and the site allow.
    `messages` are earlier turns (role, content). `is_chat` None means a conversation where the
    checkpoint has a chat template or there are earlier turns, else the model continues the prompt.
    `thinking` bounds a thinking checkpoint: min_tokens, max_tokens. `turn_of` names who waits for the answer
    where that is not the author, since people take turns.
    """
    owned = ownership(author, visibility)
    prompt, system_prompt = storable(prompt), storable(system_prompt)
    model = checkpoint if isinstance(checkpoint, Checkpoint) else default_checkpoint(checkpoint)
    enabled = _enabled_experts(model, experts, available_slugs(model) if available is None else available)
    turns = read_messages(messages)
    if seed is None:
        seed = secrets.randbelow(MAX_SEED)
    _check_stop(stop)
    _check_text(prompt, system_prompt, turns)
    as_chat = (model.is_chat or bool(turns)) if is_chat is None else is_chat
    written = write_prompt(model, prompt=prompt, system_prompt=system_prompt, messages=turns, is_chat=as_chat)
    model_prompt = written.text if thinking is None else _open_thinking(model, written.text)
    max_tokens = _fit(model, model_prompt, max_tokens, written.has_own_special_tokens)
    _check_numbers(max_tokens, temperature, top_p, seed, top_logprobs)
    bounds = _thinking_bounds(thinking, max_tokens)
    return Generation(
        checkpoint=model,
        checkpoint_digest=model.digest,
        prompt=prompt,
        system_prompt=system_prompt,
        messages=[asdict(turn) for turn in turns],
        model_prompt=model_prompt,
        is_chat=as_chat,
        has_own_special_tokens=written.has_own_special_tokens,
        stop=list(dict.fromkeys([*stop, *written.stop])),
        experts=enabled,
        turn_of=turn_of,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        **owned,
        top_logprobs=top_logprobs,
        thinking=bounds,
        is_traced_live=is_traced_live,
        parent=parent,
        comparison=comparison,
    )


def _enabled_experts(checkpoint: Checkpoint, wanted: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    if not known and checkpoint.experts.exists():
        raise ConflictError(f"No expert of checkpoint {checkpoint.slug!r} is left to answer. Choose another one.")
    if wanted is None or (not known and not wanted):
        return list(known)
    for slug in wanted:
        if slug not in known:
            raise BadInputError(why_unavailable(checkpoint, slug), field="experts")
    if not wanted:
        raise BadInputError("All experts are off. Switch at least one on.", field="experts")
    return [slug for slug in known if slug in wanted]


def _check_numbers(max_tokens: int, temperature: float, top_p: float, seed: int, top_logprobs: int | None) -> None:
    limits: dict[str, tuple[float, float, float]] = {
        "max_tokens": (max_tokens, 1, settings.MAX_GENERATION_TOKENS),
        "temperature": (temperature, 0, 10),
        "top_p": (top_p, 0.0001, 1),
        "seed": (seed, 0, MAX_SEED),
    }
    if top_logprobs is not None:
        limits["top_logprobs"] = (top_logprobs, 0, MAX_TOP_LOGPROBS)
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise BadInputError(f"{name} is {value}; it must lie between {low:g} and {high:.16g}.", field=name)


def _check_stop(stop: Sequence[str]) -> None:
    if len(stop) > MAX_STOP_STRINGS or any(not 0 < len(text) <= MAX_STOP_LENGTH for text in stop):
        raise BadInputError(
            f"stop takes at most {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_LENGTH} characters each.", field="stop"
        )
    if any(storable(text) != text for text in stop):
        raise BadInputError("stop holds a character that no text here can have (NUL).", field="stop")


def _open_thinking(checkpoint: Checkpoint, text: str) -> str:
    """Return the model's text with the thinking begun; raises `BadInputError` when it does not think."""
    if checkpoint.backend == BackendChoice.REMOTE:
        message = f"Checkpoint {checkpoint.slug!r} answers on a server elsewhere, which takes no thinking budget."
        raise BadInputError(f"{message} Leave thinking out.", field="thinking")
    if not checkpoint.thinking:
        raise BadInputError(f"Checkpoint {checkpoint.slug!r} does not think. Leave thinking out.", field="thinking")
    start: str = checkpoint.thinking["start"]
    return text if text.rstrip().endswith(start) else text + start


def _thinking_bounds(thinking: Mapping[str, Any] | None, max_tokens: int) -> dict[str, int] | None:
    """Return checked bounds of the thinking part; None leaves the model to itself."""
    if thinking is None:
        return None
    low, high = thinking.get("min_tokens", 0), thinking.get("max_tokens", max_tokens)
    is_whole = type(low) is int and type(high) is int
    if not is_whole or not 0 <= low <= high <= max_tokens:
        raise BadInputError(
            "thinking needs whole numbers with 0 ≤ min_tokens ≤ max_tokens ≤ the answer's max_tokens.", field="thinking"
        )
    return {"min_tokens": low, "max_tokens": high}


def _check_text(prompt: str, system_prompt: str, messages: Sequence[ChatMessage]) -> None:
    if not prompt.strip():
        raise BadInputError("The prompt is empty. Write something to continue.", field="prompt")
    n_characters = len(prompt) + len(system_prompt) + sum(len(message.content) for message in messages)
    if n_characters > MAX_PROMPT_CHARACTERS:
        raise BadInputError(
            f"The prompt has {n_characters} characters; at most {MAX_PROMPT_CHARACTERS} are taken.", field="prompt"
        )


def _fit(checkpoint: Checkpoint, text: str, max_tokens: int | None, has_own_special_tokens: bool) -> int:
    """Return how many tokens may be made; raises `BadInputError` when they do not fit the context."""
    if checkpoint.backend == BackendChoice.REMOTE:  # its server counts
        return settings.MAX_GENERATION_TOKENS if max_tokens is None else max_tokens
    tokenizer = engines.tokenizer_for(str(checkpoint.folder), checkpoint.digest)
    n_tokens = len(tokenizer.encode(text, add_special_tokens=not has_own_special_tokens).ids)
    room = checkpoint.context_length - n_tokens
    if room < (max_tokens or 1):
        raise BadInputError(
            f"The prompt's {n_tokens} tokens and {max_tokens or 1} new ones exceed the context of "
            f"{checkpoint.context_length}. Shorten the prompt or lower max_tokens.",
            field="prompt",
        )
    return min(room, settings.MAX_GENERATION_TOKENS) if max_tokens is None else max_tokens
