"""A trace whose worker was taken for dead is made by another; whoever comes late changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import services
from tracer.engine import EngineError
from tracer.models import Trace


@pytest.mark.parametrize("late", ["a result", "an error"])
def test_worker_that_comes_late_leaves_the_ended_trace_alone(
    late: str, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    trace = services.request_trace(text=SENTENCE)
    compute, seen = services.compute_trace, []

    def slow(own: Trace) -> dict[str, Any]:
        if not seen:
            seen.append(own)
            services.run_trace(own.pk)  # the other worker, which is faster
            if late == "an error":
                raise EngineError("the link to the database was cut")
            return {**compute(own), "late": True}
        return compute(own)

    monkeypatch.setattr(services, "compute_trace", slow)
    services.run_trace(trace.pk)

    trace.refresh_from_db()
    assert (trace.status, trace.error, trace.n_starts) == ("done", "", 2)
    assert "late" not in trace.result


def test_worker_that_comes_late_does_not_revive_a_trace_that_failed(
    make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    trace = services.request_trace(text=SENTENCE)
    compute = services.compute_trace

    def slow(own: Trace) -> dict[str, Any]:
        Trace.objects.filter(pk=own.pk).update(n_starts=services.MAX_STARTS)
        services.run_trace(own.pk)  # given up meanwhile
        return compute(own)

    monkeypatch.setattr(services, "compute_trace", slow)
    services.run_trace(trace.pk)

    trace.refresh_from_db()
    assert trace.status == "failed"
    assert "ended 2 times" in trace.error


@pytest.mark.parametrize("error", [OperationalError("cut"), RedisConnectionError("cut")])
def test_trace_is_begun_anew_when_database_or_redis_was_away(
    error: Exception, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    trace = services.request_trace(text=SENTENCE)
    compute = services.compute_trace
    errors = [error]

    def cut_once(own: Trace) -> dict[str, Any]:
        if errors:
            raise errors.pop()
        return compute(own)

    monkeypatch.setattr(services, "compute_trace", cut_once)
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    assert trace.status == "running"
    services.requeue_unfinished(older_than_s=0)
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    assert (trace.status, trace.n_starts) == ("done", 2)


def test_trace_that_another_worker_begins_at_the_same_moment_is_left_to_it(
    make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    trace = services.request_trace(text=SENTENCE)
    start, computed = services._start, []

    def late(own: Trace) -> bool:
        Trace.objects.filter(pk=own.pk).update(status="running", n_starts=1)  # between this worker's read and write
        return start(own)

    monkeypatch.setattr(services, "_start", late)
    monkeypatch.setattr(services, "compute_trace", computed.append)
    services.run_trace(trace.pk)

    trace.refresh_from_db()
    assert (trace.status, trace.n_starts, computed) == ("running", 1, [])


def test_asks_the_database_seldom(
    client: Client, make_corpus: MakeCorpus, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_corpus()
    with django_assert_num_queries(2):
        asked = client.post("/api/v1/traces/", {"text": SENTENCE}, content_type="application/json")
    assert (asked.status_code, asked.json()["position"]) == (202, 1)
    second = client.post("/api/v1/traces/", {"text": SENTENCE}, content_type="application/json")
    assert second.json()["position"] == 2
    services.run_trace(asked.json()["id"])
    with django_assert_num_queries(3):
        assert client.get(asked.headers["Location"]).json()["status"] == "done"
