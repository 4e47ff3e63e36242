"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from celery import shared_task

from tracer import batches, services


@shared_task(name="tracer.run_trace")
def run_trace(trace_id: str) -> None:
    """Compute one trace."""
    services.run_trace(trace_id)


@shared_task(name="tracer.run_batch")
def run_batch(batch_id: str) -> None:
    """Compute the traces of a batch."""
    batches.run_batch(batch_id)
