"""A job is a database row: its truth survives queue, worker and restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone


class JobStatus(models.TextChoices):
    """Where a job stands; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED})


def looks_old(older_than_s: float) -> Q:
    """Return the condition of a heartbeat that is old by the clock, or as far in the future: the clock stepped back.

    A step forward makes all of them old, so it must cost nothing to be wrong. Where it does, see `webapp.silence`.
    """
    now, limit = timezone.now(), timedelta(seconds=older_than_s)
    return Q(heartbeat_at__lte=now - limit) | Q(heartbeat_at__gt=now + limit)


class JobQuerySet(models.QuerySet[Any]):
    """Reads that every kind of job shares."""

    def unfinished(self) -> Self:
        """Return jobs that still have to end."""
        return self.filter(status__in=[JobStatus.PENDING, JobStatus.RUNNING])


class Job(models.Model):
    """Fields of every job. `n_starts` bounds how often a job that kills its worker is tried.

    `heartbeat_at` changes while a worker is at it (`webapp.silence`); of a job that waits it says since when.
    """

    status = models.CharField(max_length=10, choices=JobStatus.choices, default=JobStatus.PENDING, db_index=True)
    error = models.TextField(blank=True, default="")
    n_starts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_finished(self) -> bool:
        """Tell whether the status is final."""
        return self.status in FINAL
