"""Looks at everything that a running site needs. Each check changes nothing that lasts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from tracer.engine import IndexFileError, IndexReader, validate_index
from tracer.models import Index
from webapp.celery import app
from webapp.inference import CheckpointError
from webapp.jobs import JobStatus
from webapp.operations.check_log import check_log, check_votes
from webapp.operations.check_settings import check_settings
from webapp.operations.findings import Check, Finding, fault, ok, warning
from webapp.operations.heartbeat import BEAT_EVERY_S, last_beat
from webapp.operations.jobs import JOB_MODELS
from webapp.playground.availability import available_slugs, withdrawn_slugs
from webapp.playground.models import BackendChoice, Checkpoint, Expert

QUEUES = ("trace", "build", "model", "rank")
MIN_FREE_BYTES = 2 * 2**30
MAX_CLOCK_DIFFERENCE = timedelta(seconds=2)
MAX_WAIT = timedelta(minutes=2)
WORKER_TIMEOUT_S = 2.0


def check_database() -> Iterator[Finding]:
    """Ask the database for its time, and compare it with this machine's."""
    try:
        with connection.cursor() as cursor:
            begin = datetime.now(UTC)
            cursor.execute("SELECT CURRENT_TIMESTAMP")
            there = cursor.fetchone()[0]
    except DatabaseError as error:
        yield fault("database", str(error).strip(), "Start the database, or correct DATABASE_URL.")
        return
    yield ok("database", connection.vendor)
    now = there if isinstance(there, datetime) else datetime.fromisoformat(str(there)).replace(tzinfo=UTC)
    difference = abs(now - begin)
    if difference > MAX_CLOCK_DIFFERENCE:
        yield fault(
            "clock",
            f"this machine and the database differ by {difference.total_seconds():.0f} s",
            "Switch time synchronisation on, on both (chrony or systemd-timesyncd).",
        )
    else:
        yield ok("clock", "agrees with the database")


def check_migrations() -> Iterator[Finding]:
    """Compare the database's tables with the code."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:5])
        yield fault("migrations", f"{len(plan)} not applied: {names}", "Run manage.py migrate.")
    else:
        yield ok("migrations", "all applied")


def check_cache() -> Iterator[Finding]:
    """Write to the cache and read it back."""
    value = str(time.time_ns())
    cache.set("doctor", value, 30)
    if cache.get("doctor") != value:
        yield fault("cache", "does not return what was written", "Look at Redis's memory limit and eviction policy.")
    else:
        yield ok("cache", "redis" if settings.REDIS_URL else "in this process")


def check_broker() -> Iterator[Finding]:
    """Ask Redis whether it takes writes and keeps them."""
    if settings.EMBEDDED:
        yield ok("broker", "in the web process")
        return
    try:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
        policy = str(client.info("memory").get("maxmemory_policy", "noeviction"))
        client.ping()
    except redis.RedisError as error:
        yield fault("broker", f"Redis does not answer: {error}", "Start Redis, or correct REDIS_URL.")
        return
    if policy != "noeviction":
        remedy = "Set maxmemory-policy noeviction: queues and streams must not be evicted."
        yield fault("broker", f"Redis may forget jobs (maxmemory-policy {policy})", remedy)
    else:
        yield ok("broker", "redis")


def check_workers() -> Iterator[Finding]:
    """Look for a living worker for each queue, and for beat."""
    if settings.EMBEDDED:
        yield ok("workers", "run in the web process")
        return
    try:
        found = app.control.inspect(timeout=WORKER_TIMEOUT_S).active_queues() or {}
    except Exception as error:  # kombu raises the transport's own errors
        yield fault("workers", f"cannot be asked: {error}", "Mend the broker first.")
        return
    serving = {queue["name"] for queues in found.values() for queue in queues}
    for queue in QUEUES:
        if queue in serving:
            n_workers = sum(any(q["name"] == queue for q in queues) for queues in found.values())
            yield ok(f"worker {queue}", f"{n_workers} alive")
        else:
            remedy = f"Start it: manage.py worker {queue} (deploy/ has units and a compose file)."
            yield fault(f"worker {queue}", "none answers", remedy)
    beat = last_beat()
    if beat is None or timezone.now() - beat > timedelta(seconds=3 * BEAT_EVERY_S):
        since = "never" if beat is None else f"since {beat.isoformat(timespec='seconds')}"
        yield fault("beat", f"no beat arrived ({since})", "Start exactly one: manage.py beat.")
    else:
        yield ok("beat", f"last at {beat.isoformat(timespec='seconds')}")


def check_jobs() -> Iterator[Finding]:
    """Look for jobs that wait too long."""
    for kind, model in JOB_MODELS.items():
        waiting = model.objects.filter(status=JobStatus.PENDING)
        oldest = waiting.order_by("created_at").values_list("created_at", flat=True).first()
        if oldest is not None and timezone.now() - oldest > MAX_WAIT:
            minutes = (timezone.now() - oldest).total_seconds() / 60
            yield warning(
                f"jobs {kind}", f"{waiting.count()} wait, the oldest for {minutes:.0f} min", "Start more workers."
            )
        else:
            yield ok(f"jobs {kind}", f"{waiting.count()} wait")


def check_indexes() -> Iterator[Finding]:
    """Open every enabled index and compare its files with its manifest."""
    indexes = Index.objects.filter(is_enabled=True).select_related("corpus")
    for index in indexes:
        name = f"index {index.corpus.slug}"
        try:
            validate_index(index.folder)
            if IndexReader.open(index.folder).digest != index.digest:
                raise IndexFileError(index.folder, "is of another build than the one registered")
        except IndexFileError as error:
            remedy = f"Restore the files, or build anew: manage.py build_index {index.corpus.slug}."
            yield fault(name, str(error), remedy)
        else:
            yield ok(name, f"{index.digest[:12]}, {index.n_tokens:,} tokens")
    if not indexes:
        yield warning("indexes", "there is none", "Add one: manage.py add_corpus, then manage.py build_index.")


def check_checkpoints() -> Iterator[Finding]:
    """Compare the files of every local checkpoint with their registered digest."""
    from webapp.inference import checkpoint_digest  # needs torch, which web processes do without

    checkpoints = Checkpoint.objects.all()
    for checkpoint in checkpoints:
        name = f"checkpoint {checkpoint.slug}"
        if checkpoint.backend == BackendChoice.REMOTE:
            yield ok(name, "remote; asked when it answers")
            continue
        try:
            digest = checkpoint_digest(checkpoint.folder, checkpoint.experts_path)
        except (CheckpointError, OSError) as error:
            yield fault(name, str(error), "Restore the folder, or register the new place under another slug.")
            continue
        if digest != checkpoint.digest:
            remedy = "Restore the registered files. Other weights are another checkpoint: add them under a new slug."
            yield fault(name, f"its files are {digest[:12]}, registered is {checkpoint.digest[:12]}", remedy)
        elif checkpoint.experts.exists() and not available_slugs(checkpoint):
            remedy = "Name one of its experts in FAIRGROUND_RESIDENT_EXPERTS, or take an opt-out back."
            yield fault(name, "no expert is left to answer", remedy)
        else:
            withdrawn = sorted(withdrawn_slugs(checkpoint))
            yield ok(name, digest[:12] + (f"; withdrawn by their owners: {', '.join(withdrawn)}" if withdrawn else ""))
    known = set(Expert.objects.values_list("slug", flat=True))
    unknown = sorted(set(settings.RESIDENT_EXPERTS) - known)
    if unknown:
        remedy = f"Correct FAIRGROUND_RESIDENT_EXPERTS. Experts: {', '.join(sorted(known)) or 'none'}."
        yield fault("resident experts", f"no checkpoint has {', '.join(unknown)}", remedy)
    if not checkpoints:
        yield warning("checkpoints", "there is none", "Add one: manage.py add_checkpoint.")


def check_disk() -> Iterator[Finding]:
    """Look at the room in the data folder, and whether it can be written to."""
    folder = Path(settings.DATA_DIR)
    probe = folder / ".doctor"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        yield fault("disk", f"{folder} cannot be written to: {error.strerror}", "Give the site's user write access.")
        return
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free in the data folder"
    if free < MIN_FREE_BYTES:
        yield fault("disk", detail, "Free some: index builds and votes fail when it is full.")
    else:
        yield ok("disk", detail)


#: Quick enough to run for every probe of a load balancer.
READINESS: dict[str, Check] = {
    "database": check_database,
    "migrations": check_migrations,
    "cache": check_cache,
    "broker": check_broker,
    "disk": check_disk,
    "log": check_votes,
}
ALL: dict[str, Check] = {
    "settings": check_settings,
    **READINESS,
    "workers": check_workers,
    "log": check_log,
    "jobs": check_jobs,
    "indexes": check_indexes,
    "checkpoints": check_checkpoints,
}
