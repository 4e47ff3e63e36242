"""Makes an answer: takes its turn, publishes tokens as they come, stores how it ended, asks for its trace."""

from __future__ import annotations

import time
import uuid
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from webapp.away import AWAY
from webapp.errors import FairgroundError
from webapp.inference import (
    ChatMessage,
    FinishEvent,
    FinishReason,
    GenerationHandle,
    GenerationRequest,
    InferenceError,
    ThinkingLimits,
    TokenEvent,
)
from webapp.jobs import JobStatus
from webapp.playground import engines
from webapp.playground.answers import trace_generation
from webapp.playground.availability import withdrawn_slugs
from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.ending import publish_end
from webapp.playground.expert_days import add_answer
from webapp.playground.live import INTERVAL_S
from webapp.playground.models import Generation
from webapp.playground.turns import client_of, whose_turn
from webapp.queueing import enqueue_on_commit
from webapp.signs_of_life import signs_of_life
from webapp.text import storable

log = structlog.get_logger(__name__)
MAX_STARTS = 2
CANCEL_POLL_S = 0.2
TOGETHER_S = 0.05
MADE = (
    "text",
    "token_ids",
    "pieces",
    "logprobs",
    "token_routing",
    "routing_shares",
    "layer_routing",
    "timings_ms",
)
_STATUS = {FinishReason.CANCELLED: JobStatus.CANCELLED, FinishReason.ERROR: JobStatus.FAILED}


def run_generation(generation_id: uuid.UUID | str) -> None:
    """Make an answer, publish its tokens, store it. A finished one is left alone.

    One that lost its worker starts over from its seed, which gives the same tokens.
    """
    generation = _claim(generation_id)
    if generation is not None:
        _make(generation)


def run_in_turn(generation_id: uuid.UUID | str) -> None:
    """Make one waiting answer, of the person whose turn it is; a message for each answer makes all of them.

    The message's own answer may have been made by an earlier message already.
    """
    while (waiting := whose_turn()) is not None:
        generation = _claim(waiting)  # None when another worker was faster, or it ended at once
        if generation is not None:
            _make(generation)
            return
    run_generation(generation_id)


def _make(generation: Generation) -> None:
    try:
        with signs_of_life(generation):
            handle = engines.engine_for(generation.checkpoint, generation.experts).submit(_request(generation))
            tokens, finish = _relay(generation, handle)
    except InferenceError as error:
        _fail(generation, str(error))
    except AWAY as error:  # its row shows no more life, so it is begun anew, or fails there after too many starts
        log.warning("the database or Redis is away; the answer waits", generation=str(generation.id), error=str(error))
    except Exception:
        log.exception("generation failed", generation=str(generation.id))
        _fail(generation, f"An unexpected error; the operator finds it in the log under {generation.id}.")
    else:
        _store(generation, tokens, finish)


def _claim(generation_id: uuid.UUID | str) -> Generation | None:
    with transaction.atomic():
        generation: Generation | None = (
            Generation.objects.select_for_update(of=("self",))
            .select_related("checkpoint")
            .filter(pk=generation_id)
            .first()
        )
        if generation is None or generation.status != JobStatus.PENDING:  # the same message may come twice
            return None
        if generation.n_starts >= MAX_STARTS:
            message = f"The worker ended {generation.n_starts} times during this answer."
        elif generation.checkpoint.digest != generation.checkpoint_digest:
            message = "The checkpoint was replaced since the question was asked. Ask again."
        elif withdrawn_slugs(generation.checkpoint) & set(generation.experts):
            message = "The owner of one of its experts opted out since the question was asked. Ask again without it."
        else:
            generation.n_starts += 1
            generation.status = JobStatus.RUNNING
            generation.started_at = generation.heartbeat_at = timezone.now()
            generation.save(update_fields=["n_starts", "status", "started_at", "heartbeat_at"])
            return generation
    _fail(generation, message)
    return None


def _request(generation: Generation) -> GenerationRequest:
    system = [ChatMessage("system", generation.system_prompt)] if generation.system_prompt else []
    turns = [ChatMessage(**turn) for turn in generation.messages]
    conversation = (*system, *turns, ChatMessage("user", generation.prompt)) if generation.is_chat else ()
    texts, bounds = generation.checkpoint.thinking, generation.thinking
    return GenerationRequest(
        generation.model_prompt,
        frozenset(generation.experts),
        max_tokens=generation.max_tokens,
        temperature=generation.temperature,
        top_p=generation.top_p,
        seed=generation.seed,
        stop=tuple(generation.stop),
        add_special_tokens=not generation.has_own_special_tokens,
        messages=conversation,
        top_logprobs=generation.top_logprobs,
        thinking=ThinkingLimits(**bounds, end=texts["end"], wait=texts["wait"]) if bounds and texts else None,
        client=client_of(generation),
    )


def _relay(generation: Generation, handle: GenerationHandle) -> tuple[list[TokenEvent], FinishEvent]:
    """Publish tokens as they come; look now and then whether somebody asked to stop, also while it waits.

    Tokens that follow one another faster than a reader would see are published together.
    """
    bus, stream = token_bus(), str(generation.id)
    tokens: list[TokenEvent] = []
    held: list[BusEvent] = []
    next_poll = next_look = next_publication = time.monotonic()
    while True:
        wait_s = max(0.0, next_publication - time.monotonic()) if held else CANCEL_POLL_S
        event = handle.next_event(timeout_s=wait_s)
        if isinstance(event, TokenEvent):
            tokens.append(event)
            held.append(_published_token(len(tokens), event))
        now = time.monotonic()
        if held and (now >= next_publication or isinstance(event, FinishEvent)):
            bus.publish(stream, *held)
            held, next_publication = [], now + TOGETHER_S
        if isinstance(event, FinishEvent):
            return tokens, event
        if generation.is_traced_live and event is not None and now >= next_look:
            next_look = now + INTERVAL_S
            enqueue_on_commit(import_string("webapp.playground.tasks.publish_matches"), generation.id)
        if now >= next_poll:
            next_poll = now + CANCEL_POLL_S
            if bus.is_cancelled(stream):
                handle.cancel()


def _published_token(number: int, event: TokenEvent) -> BusEvent:
    data: dict[str, Any] = {"index": event.index, "text": event.text, "routing": event.routing}
    if event.logprob is not None:
        data["logprob"] = logprob_data(event)
    return BusEvent(number, "token", data)


def logprob_data(event: TokenEvent) -> dict[str, Any]:
    """Return a token's log probability and its alternatives' as plain values."""
    assert event.logprob is not None
    one, *others = (
        {"token_id": each.token_id, "token": storable(each.text), "logprob": each.logprob}
        for each in (event.logprob, *event.top_logprobs)
    )
    return {**one, "top": others}


def _store(generation: Generation, tokens: list[TokenEvent], finish: FinishEvent) -> None:
    generation.text = storable(finish.text)
    generation.token_ids = list(finish.token_ids)
    generation.pieces = [storable(token.text) for token in tokens]
    generation.logprobs = [logprob_data(token) for token in tokens if token.logprob is not None]
    generation.set_token_routing([token.routing for token in tokens])
    generation.routing_shares = {expert: round(share, 6) for expert, share in finish.routing_shares.items()}
    generation.layer_routing = {
        expert: [round(share, 4) for share in layer] for expert, layer in finish.layer_shares.items()
    }
    generation.timings_ms = {name: round(value, 3) for name, value in finish.timings_ms.items()}
    generation.finish_reason = str(finish.reason)
    generation.status = _STATUS.get(finish.reason, JobStatus.DONE)
    generation.error = finish.error
    _end(generation, *MADE)


def _fail(generation: Generation, message: str) -> None:
    generation.status, generation.error = JobStatus.FAILED, message
    generation.finish_reason = str(FinishReason.ERROR)
    _end(generation)


def _end(generation: Generation, *fields: str) -> None:
    """Store how it ended, and `fields`; what others changed meanwhile stays, such as who may read it.

    A worker that was taken for dead, and whose answer another one began anew, stores nothing.
    """
    generation.finished_at = timezone.now()
    values = {name: getattr(generation, name) for name in ("status", "error", "finish_reason", "finished_at", *fields)}
    rows = Generation.objects.get_queryset().unfinished()  # type: ignore[attr-defined]
    with transaction.atomic():
        is_ours = rows.filter(pk=generation.pk, n_starts=generation.n_starts).update(**values)
        if is_ours:
            add_answer(generation)
    if is_ours:
        if generation.is_traced_live and generation.text.strip():
            _trace_at_end(generation)
        publish_end(generation)


def _trace_at_end(generation: Generation) -> None:
    """Ask for the trace; an answer that cannot be traced now, such as for want of an index, is still an answer."""
    try:
        generation.trace = trace_generation(generation.id, author=generation.owner)
    except FairgroundError as error:
        log.warning("answer not traced", generation=str(generation.id), error=str(error))
