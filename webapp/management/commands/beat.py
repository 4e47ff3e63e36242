"""`manage.py beat`: sends the periodic jobs; exactly one in the whole site."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webapp.celery import app
from webapp.steady_beat import SteadyScheduler


class Command(BaseCommand):
    """Send periodic jobs until told to stop."""

    help = "Send the periodic jobs. Run exactly one: a second one sends everything twice."
    requires_system_checks = ()  # they would load every view

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.EMBEDDED:
            raise CommandError("REDIS_URL is not set: the web process sends its periodic jobs (manage.py serve).")
        # The schedule is in the settings and every interval is short, so nothing is kept on disk.
        app.Beat(scheduler_cls=SteadyScheduler, loglevel=settings.LOG_LEVEL).run()
