"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from celery import shared_task

from tracer import services


@shared_task(name="tracer.run_trace")
def run_trace(trace_id: str) -> None:
    """Compute one trace."""
    services.run_trace(trace_id)
