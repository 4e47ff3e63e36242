"""`manage.py worker QUEUE`: a Celery worker with the pool that its queue needs.

Django's checks would load every view, which no job needs; `manage.py check` and `doctor` do them. For the same
reason the worker is made by Celery's class and not by its command line.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from celery.signals import worker_process_init, worker_ready
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.celery import app
from webapp.leaving import leave
from webapp.warm_up import warm_up_beside

#: Pool and number of jobs at once. The model's engine batches threads; it must never be forked.
POOLS = {"trace": ("prefork", 2), "build": ("prefork", 1), "model": ("threads", 16), "rank": ("prefork", 1)}


#: What a worker of this queue loads before its first job asks for it.
WARM_UPS = {"trace": "tracer.registry.warm_up", "model": "webapp.playground.engines.warm_up"}


class Command(BaseCommand):
    """Run jobs of one queue until told to stop."""

    help = "Run the jobs of one queue: trace, build, model (one per GPU or machine) or rank."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", choices=sorted(POOLS))
        parser.add_argument("--concurrency", type=int, help="jobs at once (default: 2 traces, 1 shard, 16 answers)")
        parser.add_argument(
            "--resident-experts",
            help="model: comma-separated slugs; only these experts' weights are loaded (FAIRGROUND_RESIDENT_EXPERTS)",
        )
        parser.add_argument("--name", default="", help="tells workers of one host and queue apart")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.EMBEDDED:
            raise CommandError("REDIS_URL is not set: the web process runs the jobs by itself (manage.py serve).")
        queue = options["queue"]
        pool, concurrency = POOLS[queue]
        wanted = options["concurrency"] or concurrency
        if wanted < 1:
            raise CommandError(f"--concurrency {wanted}: give at least 1.")
        if options["resident_experts"] is not None:
            if queue != "model":
                raise CommandError(f"--resident-experts is for the queue model; {queue} loads no weights.")
            settings.RESIDENT_EXPERTS = [slug for slug in options["resident_experts"].split(",") if slug]
        name = f"{queue}{'-' + options['name'] if options['name'] else ''}@{socket.gethostname()}"
        if queue in WARM_UPS:
            # A forked process loads for itself: what was loaded before the fork may hold locks.
            began = worker_process_init if pool == "prefork" else worker_ready
            began.connect(lambda **_: warm_up_beside((WARM_UPS[queue],)), weak=False)
        os.environ["CELERY_SKIP_CHECKS"] = "1"
        worker = app.Worker(
            queues=queue, pool_cls=pool, concurrency=wanted, hostname=name, without_gossip=True, without_mingle=True
        )
        worker.start()
        leave(worker.exitcode)
