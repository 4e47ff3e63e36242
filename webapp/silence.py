"""Tells which running jobs show no life, by no clock but the looker's own monotonic one.

A sign of life is only a value that changes: it is compared with what was there at an earlier look, never with a
clock, so neither a step of any clock nor clocks that differ between hosts can make a living worker look dead.
What was seen is noted in the shared cache under the host, since all processes of a host share its monotonic clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from django.core.cache import cache
from django.db.models import QuerySet
from django.utils import timezone

from webapp.jobs import JobStatus

REMEMBERED_S = 86400
Seen = tuple[datetime, float]


def _clock_name() -> str:
    """Name the monotonic clock of this process: that of the host since it started, where the host tells."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return uuid.uuid4().hex


CLOCK = _clock_name()


def take_from_silent(rows: QuerySet[Any], *, silent_for_s: float, looker: str = "") -> list[Any]:
    """Let jobs wait again whose sign of life this host has seen unchanged for so long; return their ids, in order.

    rows: jobs of one kind; those that run are looked at. A job is never taken at the first look, unless for 0 s.
    looker: tells apart who looks at different rows of a kind.
    With looks every `i` seconds by `k` hosts in any order, a silent job is taken within
    `k * (silent_for_s + i) + i` seconds.
    """
    key = f"silence:{CLOCK}:{rows.model._meta.label_lower}:{looker}"
    known: Mapping[Any, Seen] = cache.get(key) or {}
    began_s = monotonic()
    running = rows.filter(status=JobStatus.RUNNING).order_by("pk")
    beats: dict[Any, datetime] = dict(running.values_list("pk", "heartbeat_at"))
    read_s = monotonic()
    seen = {pk: known[pk] if pk in known and known[pk][0] == at else (at, read_s) for pk, at in beats.items()}
    cache.set(key, seen, REMEMBERED_S)
    silent = [pk for pk, (_, since_s) in seen.items() if silent_for_s <= max(began_s - since_s, 0.0)]
    return [
        pk
        for pk in silent
        if running.filter(pk=pk, heartbeat_at=beats[pk]).update(status=JobStatus.PENDING, heartbeat_at=timezone.now())
    ]
