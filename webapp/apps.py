"""The site itself as a Django app: its commands, its idempotency rows, its checks."""

from __future__ import annotations

from django.apps import AppConfig


class WebappConfig(AppConfig):
    """Loads the Celery application with Django, so that `shared_task` finds its broker."""

    name = "webapp"
    verbose_name = "Site"

    def ready(self) -> None:
        from webapp import celery  # noqa: F401
