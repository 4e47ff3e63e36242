"""The Celery application: queues `trace`, `build`, `model` and `rank`; settings come from webapp.settings."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import before_task_publish, task_postrun, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("fairground")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


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
