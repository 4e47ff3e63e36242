"""Embedded mode: the web process runs its own Celery worker in threads, without any service.

Used when REDIS_URL is not set. The memory queue dies with the process, so the jobs' rows
are the truth: what is unfinished at start is queued again.
"""

from __future__ import annotations

import threading

import structlog
from celery.beat import Service
from celery.worker import state
from django.utils.module_loading import import_string

from webapp.celery import app
from webapp.requeue import requeue_unfinished_jobs
from webapp.steady_beat import SteadyScheduler
from webapp.warm_up import warm_up_beside

log = structlog.get_logger(__name__)
QUEUES = ("trace", "build", "model", "rank")
WARM_UPS = ("webapp.playground.engines.warm_up", "tracer.registry.warm_up")
START_WATCH, STOP_WATCH = "webapp.playground.engines.start_watch", "webapp.playground.engines.stop_watch"


class EmbeddedWorker:
    """One thread that holds a Celery worker with a pool of threads, one that sends it its periodic jobs."""

    def __init__(self, n_threads: int = 8) -> None:
        self._controller = app.WorkController(
            pool="threads",
            concurrency=n_threads,
            queues=",".join(QUEUES),
            hostname="embedded@localhost",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        self._thread = threading.Thread(target=self._run, name="embedded-worker", daemon=True)
        self._beat = Service(app, scheduler_cls=SteadyScheduler, max_interval=1)
        self._beat_thread = threading.Thread(target=self._beat.start, name="embedded-beat", daemon=True)

    def start(self) -> None:
        """Start the worker and queue what an earlier process left unfinished."""
        self._thread.start()
        self._beat_thread.start()
        requeue_unfinished_jobs(older_than_s=0)
        warm_up_beside(WARM_UPS)
        import_string(START_WATCH)()  # other workers start it themselves, when Celery tells that they are ready

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ask the worker to end and wait at most `timeout_s` seconds for it.

        Jobs still running are left as they are: their rows say so and the next start queues them again.
        """
        import_string(STOP_WATCH)()
        self._beat.stop()
        state.should_terminate = 0
        self._thread.join(timeout_s)
        state.should_terminate = None

    def _run(self) -> None:
        try:
            self._controller.start()
        except Exception:
            log.exception("the embedded worker stopped")
