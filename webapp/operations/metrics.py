"""Prometheus metrics, computed from the database at each scrape, so that they are whole on any number of processes.

Counts and latencies cover jobs that were asked for in the last ten minutes; rates are theirs over that time.
"""

from __future__ import annotations

import hmac
from collections import Counter as Tally
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from arena.models import Vote
from tracer.models import Trace
from webapp.jobs import JobStatus
from webapp.middleware import ERRORS_KEY
from webapp.operations.heartbeat import last_beat
from webapp.operations.jobs import JOB_MODELS
from webapp.playground.models import Generation
from webapp.roles import Role, has_role
from webapp.transparency.models import Entry

WINDOW = timedelta(minutes=10)
MAX_SAMPLED = 1000
BUCKETS_MS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SiteCollector:
    """Reads the state of jobs and of beat."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        since = timezone.now() - WINDOW
        yield self._jobs(since)
        yield from self._waiting()
        yield self._trace_stages(since)
        yield self._tokens(since)
        yield self._votes(since)
        yield self._log()
        yield from self._redis()
        n_errors = cache.get(ERRORS_KEY, 0)
        yield CounterMetricFamily("fairground_server_errors", "Answers of status 500 and above.", n_errors)
        beat = last_beat()
        age = GaugeMetricFamily("fairground_beat_age_seconds", "Seconds since beat's last sign of life.")
        if beat is not None:
            age.add_metric([], (timezone.now() - beat).total_seconds())
        yield age

    def _jobs(self, since: Any) -> Metric:
        family = GaugeMetricFamily(
            "fairground_jobs_recent", "Jobs asked for in the last ten minutes, by state.", labels=["kind", "status"]
        )
        for kind, model in JOB_MODELS.items():
            rows = model.objects.filter(created_at__gte=since).order_by().values_list("status").annotate(n=Count("pk"))
            counts = dict(rows)
            for status in JobStatus:
                family.add_metric([kind, status.value], counts.get(status.value, 0))
        return family

    def _waiting(self) -> Iterator[Metric]:
        length = GaugeMetricFamily("fairground_queue_length", "Jobs that wait for a worker.", labels=["kind"])
        age = GaugeMetricFamily("fairground_queue_age_seconds", "Age of the oldest job that waits.", labels=["kind"])
        for kind, model in JOB_MODELS.items():
            waiting = model.objects.filter(status=JobStatus.PENDING).aggregate(n=Count("pk"), oldest=Min("created_at"))
            length.add_metric([kind], waiting["n"])
            oldest = waiting["oldest"]
            age.add_metric([kind], (timezone.now() - oldest).total_seconds() if oldest else 0.0)
        yield length
        yield age

    def _trace_stages(self, since: Any) -> Metric:
        family = HistogramMetricFamily(
            "fairground_trace_stage_milliseconds", "Time of each stage of recent traces.", labels=["stage"]
        )
        done = Trace.objects.filter(created_at__gte=since, status=JobStatus.DONE).order_by("-created_at")
        stages: dict[str, list[float]] = {}
        for timings in done.values_list("result__timings_ms", flat=True)[:MAX_SAMPLED]:
            for stage, value in (timings or {}).items():
                stages.setdefault(stage, []).append(float(value))
        for stage, values in sorted(stages.items()):
            family.add_metric([stage], buckets=_cumulative(values), sum_value=sum(values))
        return family

    def _tokens(self, since: Any) -> Metric:
        family = GaugeMetricFamily(
            "fairground_tokens_recent", "Tokens of answers asked for in the last ten minutes.", labels=["checkpoint"]
        )
        done = Generation.objects.filter(created_at__gte=since, finished_at__isnull=False).order_by("-created_at")
        tokens: Tally[str] = Tally()
        for checkpoint, identifiers in done.values_list("checkpoint__slug", "token_ids")[:MAX_SAMPLED]:
            tokens[checkpoint] += len(identifiers)
        for checkpoint, n_tokens in sorted(tokens.items()):
            family.add_metric([checkpoint], n_tokens)
        return family

    def _votes(self, since: Any) -> Metric:
        family = GaugeMetricFamily(
            "fairground_votes_recent", "Votes of the last ten minutes, corrections included.", labels=["season"]
        )
        rows = Vote.objects.filter(created_at__gte=since).order_by().values_list("battle__season__slug")
        for season, n_votes in rows.annotate(n=Count("pk")):
            family.add_metric([season], n_votes)
        return family

    def _log(self) -> Metric:
        waiting = Entry.objects.pending().count()
        return GaugeMetricFamily("fairground_log_waiting", "Log entries without a place in the tree yet.", waiting)

    def _redis(self) -> Iterator[Metric]:
        if settings.EMBEDDED:
            return
        try:
            client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1)
            found = client.info("stats") | client.info("memory")
        except redis.RedisError:
            return
        lookups = CounterMetricFamily("fairground_cache_lookups", "Lookups in Redis.", labels=["found"])
        lookups.add_metric(["true"], found["keyspace_hits"])
        lookups.add_metric(["false"], found["keyspace_misses"])
        yield lookups
        yield GaugeMetricFamily("fairground_redis_memory_bytes", "Memory that Redis uses.", found["used_memory"])


def _cumulative(values: list[float]) -> list[tuple[str, float]]:
    counts = [(str(bound), float(sum(value <= bound for value in values))) for bound in BUCKETS_MS]
    return [*counts, ("+Inf", float(len(values)))]


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape that brings FAIRGROUND_METRICS_TOKEN, or an operator; others find nothing here."""
    if not _may_scrape(request):
        return HttpResponse("Not found: send the metrics token, or sign in as an operator.\n", status=404)
    registry = CollectorRegistry()
    registry.register(SiteCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE)


def _may_scrape(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "")
    wanted = settings.METRICS_TOKEN
    if wanted and hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
        return True
    return has_role(request.user, Role.OPERATOR)
