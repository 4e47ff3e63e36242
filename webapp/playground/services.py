"""What changes checkpoints and generations."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from django.db import DatabaseError, connections, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from tracer.models import Trace
from tracer.services import request_trace
from webapp.errors import ConflictError, FairgroundError, ForbiddenError, NotFoundError
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
from webapp.ownership import Author, check_visibility
from webapp.playground import engines
from webapp.playground.asking import start_generation as start_generation
from webapp.playground.availability import withdrawn_slugs
from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.checkpoints import add_checkpoint as add_checkpoint
from webapp.playground.checkpoints import default_checkpoint as default_checkpoint
from webapp.playground.live import INTERVAL_S, matches_stream
from webapp.playground.models import Generation
from webapp.playground.turns import whose_turn
from webapp.queueing import enqueue_on_commit
from webapp.text import storable

log = structlog.get_logger(__name__)
MAX_STARTS = 2
CANCEL_POLL_S = 0.2
HEARTBEAT_S = 10.0
ABANDONED_S = 60.0
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


def get_generation(generation_id: uuid.UUID | str, *, author: Author) -> Generation:
    """Return an answer that this author may read; raises `NotFoundError` alike for none and a private one."""
    readable = Generation.objects.readable_by(author).select_related("checkpoint", "trace")
    generation: Generation | None = readable.filter(pk=generation_id).first()
    if generation is None:
        raise NotFoundError("There is no such generation, or it is private.")
    return generation


def share_generation(generation_id: uuid.UUID | str, *, author: Author, visibility: str) -> Generation:
    """Change who may read one's own answer; its trace follows."""
    chosen = check_visibility(visibility)
    with transaction.atomic():
        generation = _own_generation(generation_id, author)
        generation.visibility = chosen
        generation.save(update_fields=["visibility"])
        if generation.trace_id is not None:
            Trace.objects.filter(pk=generation.trace_id).update(visibility=chosen)
    return generation


def delete_generation(generation_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own finished answer and its trace for good."""
    with transaction.atomic():
        generation = _own_generation(generation_id, author)
        if not generation.is_finished:
            raise ConflictError("The answer is still being made. Stop it first.")
        trace = generation.trace
        generation.delete()
        if trace is not None:
            trace.delete()


def _own_generation(generation_id: uuid.UUID | str, author: Author) -> Generation:
    generation = get_generation(generation_id, author=author)
    if not generation.is_owned_by(author):
        raise ForbiddenError("This answer is not yours. Only who asked may change, stop or delete it.")
    return _lock(generation)


def _lock(generation: Generation) -> Generation:
    rows = Generation.objects.select_for_update(of=("self",)).select_related("checkpoint", "trace")
    locked: Generation = rows.get(pk=generation.pk)
    return locked


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
        with _signs_of_life(generation):
            handle = engines.engine_for(generation.checkpoint, generation.experts).submit(_request(generation))
            tokens, finish = _relay(generation, handle)
    except InferenceError as error:
        _fail(generation, str(error))
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
        if generation is None or generation.is_finished or _is_in_hand(generation):
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


def _is_in_hand(generation: Generation) -> bool:
    """Tell whether another worker is at it: the same message may come twice."""
    is_alive = generation.heartbeat_at > timezone.now() - timedelta(seconds=ABANDONED_S)
    return generation.status == JobStatus.RUNNING and is_alive


@contextmanager
def _signs_of_life(generation: Generation) -> Iterator[None]:
    """Note now and then that the worker lives, also while it loads a large checkpoint or waits for its turn."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(HEARTBEAT_S):
            try:
                Generation.objects.filter(pk=generation.pk).update(heartbeat_at=timezone.now())
            except DatabaseError:
                log.warning("no sign of life could be written", generation=str(generation.id), exc_info=True)
            finally:
                connections.close_all()

    beats = threading.Thread(target=beat, name="signs-of-life", daemon=True)
    beats.start()
    try:
        yield
    finally:
        is_over.set()
        beats.join()


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
        client=f"user:{generation.created_by_id}" if generation.created_by_id else generation.session_digest,
    )


def _relay(generation: Generation, handle: GenerationHandle) -> tuple[list[TokenEvent], FinishEvent]:
    """Publish tokens as they come; look now and then whether somebody asked to stop, also while it waits."""
    bus, stream = token_bus(), str(generation.id)
    tokens: list[TokenEvent] = []
    next_poll = next_look = time.monotonic()
    while True:
        event = handle.next_event(timeout_s=CANCEL_POLL_S)
        if isinstance(event, FinishEvent):
            return tokens, event
        if event is not None:
            tokens.append(event)
            data: dict[str, Any] = {"index": event.index, "text": event.text, "routing": event.routing}
            if event.logprob is not None:
                data["logprob"] = logprob_data(event)
            bus.publish(stream, BusEvent(len(tokens), "token", data))
        now = time.monotonic()
        if generation.is_traced_live and event is not None and now >= next_look:
            next_look = now + INTERVAL_S
            enqueue_on_commit(import_string("webapp.playground.tasks.publish_matches"), generation.id)
        if now >= next_poll:
            next_poll = now + CANCEL_POLL_S
            if bus.is_cancelled(stream):
                handle.cancel()


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
    if rows.filter(pk=generation.pk, n_starts=generation.n_starts).update(**values):
        if generation.is_traced_live and generation.text.strip():
            _trace_at_end(generation)
        _publish_end(generation)


def _trace_at_end(generation: Generation) -> None:
    """Ask for the trace; an answer that cannot be traced now, such as for want of an index, is still an answer."""
    try:
        generation.trace = trace_generation(generation.id, author=generation.owner)
    except FairgroundError as error:
        log.warning("answer not traced", generation=str(generation.id), error=str(error))


def _publish_end(generation: Generation) -> None:
    """Publish the last event after the row is stored, so that a reader told of the end can read it."""
    token_bus().publish(str(generation.id), BusEvent(10**9, "done", end_data(generation)))
    if generation.is_traced_live:
        token_bus().publish(matches_stream(generation.id), BusEvent(10**9, "done", matches_end(generation)))


def end_data(generation: Generation) -> dict[str, Any]:
    """Return what the last event of a stream says."""
    return {
        "status": str(generation.status),
        "finish_reason": generation.finish_reason,
        "error": generation.error,
        "routing_shares": generation.routing_shares,
    }


def matches_end(generation: Generation) -> dict[str, Any]:
    """Return what the last event of a stream of matches says: the trace, where the answer has one."""
    return {"trace": str(generation.trace_id) if generation.trace_id else None}


def cancel_generation(generation_id: uuid.UUID | str, *, author: Author) -> Generation:
    """Ask a generation to stop; one that waits still is cancelled at once.

    An answer that belongs to someone is stopped by its owner or the operator; one that belongs to nobody by
    whoever has its address.
    """
    with transaction.atomic():
        generation = get_generation(generation_id, author=author)
        if generation.has_owner and not (author.is_operator or generation.is_owned_by(author)):
            raise ForbiddenError("This answer is not yours. Only who asked may stop it.")
        generation = _lock(generation)
        if generation.is_finished:
            return generation
        was_pending = generation.status == JobStatus.PENDING
        if was_pending:
            generation.status, generation.finished_at = JobStatus.CANCELLED, timezone.now()
            generation.finish_reason = str(FinishReason.CANCELLED)
            generation.save()
    token_bus().request_cancel(str(generation.id))
    if was_pending:
        _publish_end(generation)
    return generation


def trace_generation(generation_id: uuid.UUID | str, *, author: Author) -> Trace:
    """Trace a finished answer, once: later calls return the same trace, which belongs to whom the answer belongs."""
    with transaction.atomic():
        generation = _lock(get_generation(generation_id, author=author))
        if generation.trace_id and generation.trace is not None and generation.trace.status != JobStatus.FAILED:
            return generation.trace
        if not generation.is_finished:
            raise ConflictError("The answer is not finished. Trace it when it is.")
        trace = request_trace(
            text=generation.text,
            prompt=generation.prompt,
            author=generation.owner,
            visibility=generation.visibility,
        )
        generation.trace = trace
        generation.save(update_fields=["trace"])
    return trace


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue generations without a sign of life again, from their beginning; those that ended two workers fail there."""
    from webapp.playground import tasks

    stale = Generation.objects.get_queryset().stale(older_than_s=older_than_s)  # type: ignore[attr-defined]
    identifiers = list(stale.values_list("id", flat=True))
    stale.filter(id__in=identifiers).update(status=JobStatus.PENDING, heartbeat_at=timezone.now())
    for identifier in identifiers:
        enqueue_on_commit(tasks.run_generation, identifier)
    return len(identifiers)
