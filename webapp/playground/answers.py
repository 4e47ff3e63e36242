"""Whose an answer is: who reads, shares, deletes, stops and traces it."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from tracer.models import Trace
from tracer.services import request_trace
from webapp.errors import ConflictError, ForbiddenError
from webapp.inference import FinishReason
from webapp.jobs import JobStatus
from webapp.ownership import Author, check_visibility, find_own, find_readable, share_own
from webapp.playground.bus import token_bus
from webapp.playground.ending import publish_end
from webapp.playground.models import Generation


def get_generation(generation_id: uuid.UUID | str, *, author: Author) -> Generation:
    """Return an answer that this author may read; raises `NotFoundError` alike for none and a private one."""
    return find_readable(_rows(), generation_id, author=author, name="answer")


def share_generation(generation_id: uuid.UUID | str, *, author: Author, visibility: str) -> Generation:
    """Change who may read one's own answer; its trace follows."""
    with transaction.atomic():
        generation = share_own(_rows(), generation_id, author=author, name="answer", visibility=visibility)
        if generation.trace_id is not None:
            Trace.objects.filter(pk=generation.trace_id).update(visibility=generation.visibility)
    return generation


def share_generations(ids: Collection[uuid.UUID], *, author: Author, visibility: str) -> None:
    """Change who may read several of one's own answers, with their traces, by two statements; others' stay."""
    chosen = check_visibility(visibility)
    with transaction.atomic():
        own = Generation.objects.owned_by(author).filter(pk__in=ids).order_by()
        own.update(visibility=chosen)
        Trace.objects.filter(pk__in=own.filter(trace__isnull=False).values("trace")).order_by().update(
            visibility=chosen
        )


def delete_generation(generation_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own finished answer and its trace for good."""
    with transaction.atomic():
        generation = find_own(_rows(), generation_id, author=author, name="answer")
        if not generation.is_finished:
            raise ConflictError("The answer is still being made. Stop it first.")
        trace = generation.trace
        generation.delete()
        if trace is not None:
            trace.delete()


def _rows() -> QuerySet[Generation]:
    return Generation.objects.select_related("checkpoint", "trace")


def _lock(generation: Generation) -> Generation:
    return _rows().select_for_update(of=("self",)).get(pk=generation.pk)


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
        publish_end(generation)
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
