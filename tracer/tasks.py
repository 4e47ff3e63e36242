"""Celery tasks: they take ids, may run twice, and call one service."""

from __future__ import annotations

from celery import shared_task

from tracer import batches, builds, bulletins, sampling, services


@shared_task(name="tracer.run_trace")
def run_trace(trace_id: str) -> None:
    """Compute one trace."""
    services.run_trace(trace_id)


@shared_task(name="tracer.run_batch")
def run_batch(batch_id: str) -> None:
    """Compute the traces of a batch."""
    batches.run_batch(batch_id)


@shared_task(name="tracer.build_shard")
def build_shard(shard_id: str) -> None:
    """Build one shard of an index."""
    builds.run_queued_shard(shard_id)


@shared_task(name="tracer.finish_build")
def finish_build(build_id: str) -> None:
    """Join the shards of an index."""
    builds.finish_build(build_id)


@shared_task(name="tracer.run_bulletin")
def run_bulletin(bulletin_id: str) -> None:
    """Measure a benchmark's items against corpora."""
    bulletins.run_bulletin(bulletin_id)


@shared_task(name="tracer.sample_indexes")
def sample_indexes() -> None:
    """Make the samples of indexes that have none; beat calls it."""
    sampling.sample_missing()
