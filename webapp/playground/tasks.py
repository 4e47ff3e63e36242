"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from celery import shared_task

from webapp.playground import services


@shared_task(name="webapp.playground.run_generation")
def run_generation(generation_id: str) -> None:
    """Make one answer."""
    services.run_generation(generation_id)
