"""`manage.py serve`: the site on uvicorn, with streams that end soon after Ctrl-C."""

from __future__ import annotations

from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Serve pages, API and, without REDIS_URL, the jobs too."""

    help = "Serve the site. Without REDIS_URL this one process also runs the jobs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        uvicorn.run(
            "webapp.asgi:application",
            host=options["host"],
            port=options["port"],
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=3 if settings.EMBEDDED else 10,
        )
