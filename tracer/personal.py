"""What the tracer keeps of a person, for them to take along or to have deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User

from tracer.models import Trace
from tracer.presentation import present_trace


def export_personal(user: User) -> Iterator[dict[str, Any]]:
    """Yield the person's traces as they may be shown now."""
    for trace in Trace.objects.filter(created_by=user).iterator(chunk_size=100):
        yield {"kind": "trace", **present_trace(trace)}


def erase_personal(user: User) -> None:
    """Delete the person's traces."""
    Trace.objects.filter(created_by=user).delete()
