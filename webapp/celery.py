"""The Celery application: queues `trace`, `build`, `model` and `rank`; settings come from webapp.settings."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import before_task_publish, task_postrun, task_prerun, worker_init
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "webapp.lasting_redis:Transport"))

app = Celery("fairground")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect(weak=False)
def _check_log(**_: Any) -> None:
    """Warn before the first job when the stored log is damaged. The embedded worker's process does it itself."""
    from django.db import connection

    from webapp.transparency.soundness import check_at_start

    check_at_start()
    connection.close()


@before_task_publish.connect(weak=False)
def _pass_request_id_on(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Send the id of the request that causes a task along with it."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if headers is not None and request_id:
        headers["request_id"] = request_id


@task_prerun.connect(weak=False)
def _bind_ids(task_id: str, task: Any, **_: Any) -> None:
    """Let every log line of a task name the task, and the request that caused it."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)
    request_id = task.request.get("request_id") or (task.request.headers or {}).get("request_id")
    if request_id:
        structlog.contextvars.bind_contextvars(request_id=request_id)


@task_postrun.connect(weak=False)
def _forget_ids(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


@task_prerun.connect(weak=False)
@task_postrun.connect(weak=False)
def _give_connections_back(task: Any, **_: Any) -> None:
    """Give the database's connections back to the pool between tasks, as a web process does between requests.

    Celery itself would close the pool: its next task then starts a process of PostgreSQL and four threads, which
    takes as long as a short trace.
    """
    if not task.request.is_eager:
        from django.db import close_old_connections

        close_old_connections()
