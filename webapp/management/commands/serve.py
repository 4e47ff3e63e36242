"""`manage.py serve`: the site on uvicorn, with streams that end soon after Ctrl-C.

Runs before the apps are loaded (see manage.py): it may use settings alone. The embedded mode looks at the tables
too. What Django checks at the start of other commands, `manage.py check` and `doctor` do.

Several web processes are forked from one that has loaded the site: it is loaded once, also when one of them ends
and is replaced, and they share its memory. A new version needs a new parent, so SIGHUP, by which uvicorn replaces
web processes alone, is refused.
"""

from __future__ import annotations

import gc
import multiprocessing
from typing import Any

import django
import structlog
import uvicorn
import uvicorn._subprocess
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from uvicorn.supervisors import Multiprocess

from webapp.leaving import leave

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Serve pages, API and, without REDIS_URL, the jobs too."""

    help = "Serve the site. Without REDIS_URL this one process also runs the jobs."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")

        parser.add_argument("--processes", type=int, default=1, help="web processes (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["processes"] < 1:
            raise CommandError(f"--processes {options['processes']}: give at least 1.")
        if settings.EMBEDDED and options["processes"] > 1:
            raise CommandError("--processes needs REDIS_URL: without it the one web process holds jobs and streams.")
        if settings.EMBEDDED:
            _check_tables()
        if options["processes"] > 1:
            _load_before_fork()
        uvicorn.run(
            "webapp.asgi:application",
            host=options["host"],
            port=options["port"],
            workers=options["processes"],
            lifespan="on",
            log_config=None,
            access_log=False,  # no level would show it, and its lines are made up all the same
            timeout_graceful_shutdown=3 if settings.EMBEDDED else 10,
        )
        if settings.EMBEDDED:
            leave(0)  # the threads of its worker may be computing


def _load_before_fork() -> None:
    """Load the site here and let uvicorn fork, which it has no option for, rather than start interpreters anew.

    Loading opens no connection and starts no thread, as a test makes sure.
    """
    import webapp.asgi  # noqa: F401

    gc.freeze()  # what is shared stays so: a collection would write into it
    uvicorn._subprocess.spawn = multiprocessing.get_context("fork")  # type: ignore[assignment]
    Multiprocess.handle_hup = _refuse_hup  # type: ignore[assignment, method-assign]


def _refuse_hup(_: Multiprocess) -> None:
    log.warning("SIGHUP refused: it would load no new code. Restart the service (docs/operators.md, Upgrade).")


def _check_tables() -> None:
    """Raise `CommandError` when migrations wait; several machines ask `doctor` instead, before they start."""
    django.setup(set_prefix=False)
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        raise CommandError(f"The database lacks {len(plan)} migrations. Run manage.py migrate, then serve again.")
