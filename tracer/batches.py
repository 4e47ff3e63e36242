"""Many texts traced as one job: stored together, run one after another, read as JSON lines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tracer import services
from tracer.models import Trace, TraceBatch
from tracer.presentation import present_trace, rules_now
from webapp.errors import BadInputError
from webapp.jobs import FINAL, JobStatus
from webapp.ownership import NOBODY, Author, Visibility, find_own, find_readable, ownership
from webapp.queueing import enqueue_on_commit, requeue_jobs
from webapp.signs_of_life import signs_of_life
from webapp.text import storable

MAX_TEXTS = 1000
#: Seconds for which disclosure and takedowns that were read for one trace of a batch hold for those after it.
RULES_HOLD_S = 0.25
MAX_TOTAL_CHARACTERS = 5_000_000


def request_batch(
    *,
    texts: Sequence[str],
    corpora: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    author: Author = NOBODY,
    visibility: str = Visibility.LINK,
) -> TraceBatch:
    """Store a pending trace of each text and queue one job for them. Raises `BadInputError` naming the field."""
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise BadInputError(f"{len(texts)} texts: give from 1 to {MAX_TEXTS}.", field="texts")
    if sum(map(len, texts)) > MAX_TOTAL_CHARACTERS:
        raise BadInputError(f"More than {MAX_TOTAL_CHARACTERS:,} characters. Split the batch.", field="texts")
    for number, text in enumerate(texts):
        if not text.strip():
            raise BadInputError(f"Text {number} is empty.", field="texts")
        if len(text) > settings.MAX_TRACE_CHARACTERS:
            raise BadInputError(f"Text {number} is longer than {settings.MAX_TRACE_CHARACTERS}.", field="texts")
    checked = services.check_parameters(parameters or {})
    slugs, owned = services.traceable(corpora), ownership(author, visibility)
    with transaction.atomic():
        batch = TraceBatch.objects.create(n_texts=len(texts), **owned)
        Trace.objects.bulk_create(
            Trace(text=storable(text), corpora=slugs, parameters=checked, batch=batch, number=number, **owned)
            for number, text in enumerate(texts)
        )
        from tracer import tasks

        enqueue_on_commit(tasks.run_batch, batch.id)
    return batch


def get_batch(batch_id: uuid.UUID | str, *, author: Author) -> TraceBatch:
    """Return a batch that this author may read; raises `NotFoundError`."""
    batch: TraceBatch = find_readable(TraceBatch.objects.all(), batch_id, author=author, name="batch")
    return batch


def delete_batch(batch_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own batch with its traces; a running job stops at the next text."""
    with transaction.atomic():
        find_own(TraceBatch.objects.all(), batch_id, author=author, name="batch").delete()


def result_lines(batch: TraceBatch, *, author: Author) -> Iterator[str]:
    """Yield each text's trace as one line of JSON, in the order in which they were sent, finished or not."""
    slugs: list[str] = []
    rules, read_s = None, 0.0
    for trace in batch.traces.order_by("number").iterator(chunk_size=50):
        if rules is None or trace.corpora != slugs or monotonic() - read_s > RULES_HOLD_S:
            slugs, read_s = trace.corpora, monotonic()
            rules = rules_now(slugs, author)
        shown = present_trace(trace, author=author, rules=rules)
        yield json.dumps({"number": trace.number, **shown}, ensure_ascii=False) + "\n"


def run_batch(batch_id: uuid.UUID | str) -> None:
    """Compute the traces that are not finished; may run twice, and goes on where an earlier run ended."""
    with transaction.atomic():
        batch = TraceBatch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is None or batch.is_finished:
            return
        batch.n_starts += 1
        batch.status = JobStatus.RUNNING
        batch.started_at = batch.heartbeat_at = timezone.now()
        batch.save()
    rows = TraceBatch.objects.filter(pk=batch.pk)
    unfinished = Trace.objects.filter(batch=batch).exclude(status__in=FINAL)
    with signs_of_life(batch):
        for trace_id in unfinished.order_by("number").values_list("pk", flat=True):
            services.run_trace(trace_id, is_part=True)
            if not rows.exists():
                return  # deleted meanwhile
    rows.update(status=JobStatus.DONE, finished_at=timezone.now())  # which waits until all of them are on the disk


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue batches again that the queue lost or whose worker shows no life."""
    from tracer import tasks

    return requeue_jobs(TraceBatch.objects.all(), tasks.run_batch, older_than_s=older_than_s)
