"""Brings jobs that lost their worker or their queue back to work.

Each app that has jobs offers `services.requeue_unfinished(*, older_than_s) -> int`.
"""

from __future__ import annotations

import structlog
from django.utils.module_loading import import_string

REQUEUERS = (
    "tracer.services.requeue_unfinished",
    "tracer.batches.requeue_unfinished",
    "tracer.builds.requeue_unfinished",
    "tracer.bulletins.requeue_unfinished",
    "webapp.playground.services.requeue_unfinished",
    "arena.services.release_jobs.requeue_unfinished",
    "arena.services.overlaps.requeue_unfinished",
)
log = structlog.get_logger(__name__)


def requeue_unfinished_jobs(*, older_than_s: float) -> int:
    """Requeue (or fail, after too many starts) jobs without a heartbeat for `older_than_s` seconds."""
    n_jobs = sum(int(import_string(path)(older_than_s=older_than_s)) for path in REQUEUERS)
    if n_jobs:
        log.info("requeued unfinished jobs", n_jobs=n_jobs)
    return n_jobs
