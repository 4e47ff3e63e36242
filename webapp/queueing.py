"""Hands jobs to Celery after the transaction that wrote their row, and tells which of them the queue has lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import redis
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from kombu.exceptions import OperationalError
from kombu.transport import memory

from webapp.errors import BusyError
from webapp.jobs import JobStatus, looks_old
from webapp.silence import take_from_silent

log = structlog.get_logger(__name__)


def enqueue_on_commit(task: Any, job_id: object) -> None:
    """Send the task once the row is visible. With the broker away the row waits for beat to requeue it."""

    def send() -> None:
        try:
            task.apply_async((str(job_id),), retry=False)
        except OperationalError as error:
            log.warning("the broker is away; the job waits", task=task.name, job=str(job_id), error=str(error))

    transaction.on_commit(send)


def without_message(task: Any, job_ids: Iterable[Any]) -> list[Any]:
    """Return those of the jobs that no message of this task waits for, in their order; none with the broker away.

    A message that a worker has taken counts as gone: workers take what they begin at once, and one that was
    killed keeps its messages for hours.
    """
    asked = list(job_ids)
    if not asked:
        return []
    queue = task.app.amqp.router.route({}, task.name)["queue"].name
    try:
        messages = _waiting_messages(queue)
    except redis.RedisError as error:
        log.warning("the broker is away; lost jobs wait", task=task.name, error=str(error))
        return []
    held = {_first_argument(message) for message in messages if message["headers"]["task"] == task.name}
    return [job_id for job_id in asked if str(job_id) not in held]


def requeue_jobs(rows: QuerySet[Any], task: Any, *, older_than_s: float) -> int:
    """Queue jobs of silent workers again, and those that a lost queue held; return how many.

    rows: jobs of one kind. Jobs whose worker shows no life wait again, also when a message waits for them already.
    """
    silent = take_from_silent(rows, silent_for_s=older_than_s)
    return queue_lost(rows, task, silent, older_than_s=older_than_s)


def queue_lost(rows: QuerySet[Any], task: Any, silent: Iterable[Any], *, older_than_s: float) -> int:
    """Queue those that wait for long, or were taken from silent workers, without a message; return how many."""
    waiting = rows.filter(status=JobStatus.PENDING)
    asked = waiting.filter(Q(pk__in=list(silent)) | looks_old(older_than_s)).order_by("pk")
    lost = without_message(task, asked.values_list("pk", flat=True))
    waiting.filter(pk__in=lost).update(heartbeat_at=timezone.now())
    for job_id in lost:
        enqueue_on_commit(task, job_id)
    return len(lost)


def _waiting_messages(queue: str) -> list[dict[str, Any]]:
    """Return Celery's messages (protocol 2) in a queue that no worker has taken."""
    if settings.EMBEDDED:
        held = memory.Channel.queues.get(queue)
        if held is None:
            return []
        with held.mutex:
            return list(held.queue)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        return [json.loads(message) for message in client.lrange(queue, 0, -1)]


def _first_argument(message: dict[str, Any]) -> str:
    arguments, *_ = json.loads(base64.b64decode(message["body"]))
    return str(arguments[0]) if arguments else ""


def check_room(kind: Any, *, n: int = 1) -> None:
    """Raise `BusyError` when n more jobs of this kind would be more than the operator lets wait.

    Two requests at once may both see the last place; the bound keeps the queue short, not exact.
    """
    check_waiting(kind.objects.filter(status=JobStatus.PENDING).count() + n - 1)


def check_waiting(n_waiting: int) -> None:
    """Raise `BusyError` when so many jobs of a kind wait that no more are taken."""
    if n_waiting >= settings.MAX_WAITING:
        raise BusyError(f"{n_waiting} requests wait already. Ask again in a minute.", retry_after_s=60)
