"""Statements whose commit need not wait for the disk, since what they say may be missing after a crash."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connection
from django.db.models import BooleanField, CharField, Func, QuerySet, Value
from django.db.models.lookups import Exact

Rows = TypeVar("Rows", bound=QuerySet[Any, Any])


def without_waiting(rows: Rows) -> Rows:
    """Return the rows so that an `update` of them is committed at once and written out a moment later.

    PostgreSQL waits for the disk at each commit, a few milliseconds in which a worker does nothing. Where its
    machine crashes within half a second, the change is missing, and nothing else is: right for signs of life,
    wrong for whatever was promised to somebody. Within a transaction, whose other changes may matter, it waits.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return rows
    setting = (Value("synchronous_commit"), Value("off"), Value(True, output_field=BooleanField()))
    set_for_statement = Func(*setting, function="set_config", output_field=CharField())
    return rows.filter(Exact(set_for_statement, Value("off")))
