"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutdown

from webapp.playground import engines, live, services


@shared_task(name="webapp.playground.run_generation")
def run_generation(generation_id: str) -> None:
    """Make one answer: this one, or one whose turn comes before."""
    services.run_in_turn(generation_id)


@shared_task(name="webapp.playground.publish_matches")
def publish_matches(generation_id: str) -> None:
    """Show the matches of one answer so far; runs where the indexes are."""
    live.publish_matches(generation_id)


@worker_ready.connect
def watch_opt_outs(**kwargs: Any) -> None:
    """Honour opt-outs made elsewhere while this worker lives."""
    engines.start_watch()


@worker_shutdown.connect
def stop_watching(**kwargs: Any) -> None:
    """Stop looking."""
    engines.stop_watch()
