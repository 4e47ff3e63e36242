"""The Celery application: queues `trace`, `model` and `rank`; settings come from webapp.settings."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("fairground")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
