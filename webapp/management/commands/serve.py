"""`manage.py serve`: the site on uvicorn, with streams that end soon after Ctrl-C."""

from __future__ import annotations

from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    """Serve pages, API and, without REDIS_URL, the jobs too."""

    help = "Serve the site. Without REDIS_URL this one process also runs the jobs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")

        parser.add_argument("--processes", type=int, default=1, help="web processes (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["processes"] < 1:
            raise CommandError(f"--processes {options['processes']}: give at least 1.")
        if settings.EMBEDDED and options["processes"] > 1:
            raise CommandError("--processes needs REDIS_URL: without it the one web process holds jobs and streams.")
        uvicorn.run(
            "webapp.asgi:application",
            host=options["host"],
            port=options["port"],
            workers=options["processes"],
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=3 if settings.EMBEDDED else 10,
        )
