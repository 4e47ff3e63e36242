"""What the tracer keeps of a person, for them to take along or to have deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User

from tracer import benchmarks
from tracer.bulletin_report import present_bulletin
from tracer.models import Benchmark, Bulletin, Trace
from tracer.presentation import present_trace


def export_personal(user: User) -> Iterator[dict[str, Any]]:
    """Yield the person's traces and bulletins as they may be shown now, and the items of their benchmarks."""
    for trace in Trace.objects.filter(created_by=user).iterator(chunk_size=100):
        yield {"kind": "trace", **present_trace(trace)}
    for bulletin in Bulletin.objects.filter(created_by=user).select_related("benchmark").iterator(chunk_size=100):
        yield {"kind": "bulletin", **present_bulletin(bulletin)}
    for benchmark in Benchmark.objects.filter(created_by=user).iterator(chunk_size=10):
        items = [{"id": key, "text": text} for key, text in benchmark.items.values_list("key", "text")]
        yield {"kind": "benchmark", "id": str(benchmark.pk), "title": benchmark.title, "items": items}


def erase_personal(user: User) -> None:
    """Delete the person's traces and bulletins, and their benchmarks that nobody else measures and the site keeps not.

    What others still measure stays, without its maker.
    """
    Trace.objects.filter(created_by=user).delete()
    Bulletin.objects.filter(created_by=user).delete()
    for benchmark in Benchmark.objects.filter(created_by=user):
        benchmarks.delete_unused(benchmark)
