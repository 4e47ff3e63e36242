"""What an operator changes about jobs."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from tracer import bulletins
from tracer.tasks import run_bulletin, run_trace
from webapp.errors import ConflictError, NotFoundError
from webapp.jobs import JobStatus
from webapp.operations.jobs import JOB_MODELS
from webapp.ownership import Author
from webapp.playground.services import cancel_generation
from webapp.playground.tasks import run_generation
from webapp.queueing import enqueue_on_commit

log = structlog.get_logger(__name__)
TASKS: dict[str, Any] = {"trace": run_trace, "generation": run_generation, "bulletin": run_bulletin}
OPERATOR = Author(is_operator=True)


def retry_job(*, kind: str, job_id: uuid.UUID) -> None:
    """Queue a failed job from its beginning, a bulletin from where it ended.

    Raises `ConflictError` for one that did not fail.
    """
    with transaction.atomic():
        job = _locked(kind, job_id)
        if job.status != JobStatus.FAILED:
            raise ConflictError(f"This {kind} is {job.status}. Only a failed one can be tried again.")
        if kind == "bulletin":
            job = bulletins.resume_bulletin(job_id, author=OPERATOR)
        job.status, job.error, job.n_starts = JobStatus.PENDING, "", 0
        job.heartbeat_at, job.started_at, job.finished_at = timezone.now(), None, None
        job.save()
        enqueue_on_commit(TASKS[kind], job.pk)
    log.info("operator retried a job", kind=kind, job=str(job_id))


def cancel_job(*, kind: str, job_id: uuid.UUID) -> None:
    """End a job. One that runs stops at its next look; a trace that runs already ends by itself."""
    if kind == "generation":
        cancel_generation(job_id, author=OPERATOR)
    elif kind == "bulletin":
        bulletins.cancel_bulletin(job_id, author=OPERATOR)
    else:
        with transaction.atomic():
            job = _locked(kind, job_id)
            if job.status != JobStatus.PENDING:
                raise ConflictError(f"This {kind} is {job.status}. Only a waiting one can be cancelled.")
            job.status, job.finished_at = JobStatus.CANCELLED, timezone.now()
            job.save(update_fields=["status", "finished_at"])
    log.info("operator cancelled a job", kind=kind, job=str(job_id))


def _locked(kind: str, job_id: uuid.UUID) -> Any:
    if kind not in JOB_MODELS:
        raise NotFoundError(f"There is no kind of job {kind!r}.")
    job = JOB_MODELS[kind].objects.select_for_update().filter(pk=job_id).first()
    if job is None:
        raise NotFoundError(f"There is no {kind} {job_id}.")
    return job
