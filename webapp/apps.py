"""The site itself as a Django app: its commands, its idempotency rows, its checks."""

from __future__ import annotations

import gc

from django.apps import AppConfig


class WebappConfig(AppConfig):
    """Loads the Celery application with Django, so that `shared_task` finds its broker.

    What is loaded by then stays for the life of the process: looking through it for garbage again and again
    took a fifth of each start.
    """

    name = "webapp"
    verbose_name = "Site"

    def ready(self) -> None:
        from webapp import celery  # noqa: F401

        gc.freeze()
        gc.enable()
