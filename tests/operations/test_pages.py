"""Health, metrics and the operator's page: who sees what, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer.models import Trace
from tracer.services import request_trace, run_trace
from webapp.jobs import JobStatus
from webapp.operations.heartbeat import last_beat
from webapp.operations.tasks import beat
from webapp.roles import Role, grant_role

__all__ = ["make_corpus", "tokenizer_path"]


@pytest.fixture
def operator(db: None) -> Client:
    user = User.objects.create_user("curator")
    grant_role(user=user, role=Role.OPERATOR)
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
def test_is_live_and_ready_when_sound() -> None:
    assert Client().get("/health/live").json() == {"status": "live"}
    ready = Client().get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"


@pytest.mark.django_db
def test_is_live_but_not_ready_when_a_check_fails_and_tells_no_address(settings: Any) -> None:
    settings.EMBEDDED, settings.REDIS_URL = False, "redis://:secret@127.0.0.1:1/0"

    assert Client().get("/health/live").status_code == 200
    ready = Client().get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["checks"]["broker"] == "fault"
    assert b"secret" not in ready.content


@pytest.mark.django_db
def test_metrics_are_closed_to_strangers(settings: Any) -> None:
    settings.METRICS_TOKEN = "scrape-me"

    assert Client().get("/metrics").status_code == 404
    assert Client().get("/metrics", headers={"Authorization": "Bearer guess"}).status_code == 404
    assert Client().get("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 200


def test_metrics_count_jobs_and_stages(make_corpus: MakeCorpus, operator: Client) -> None:
    make_corpus()
    run_trace(request_trace(text=SENTENCE).id)
    request_trace(text=SENTENCE)
    beat()

    text = operator.get("/metrics").content.decode()

    assert 'fairground_jobs_recent{kind="trace",status="done"} 1.0' in text
    assert 'fairground_queue_length{kind="trace"} 1.0' in text
    assert 'fairground_trace_stage_milliseconds_count{stage="search"} 1.0' in text
    assert "fairground_beat_age_seconds " in text
    assert last_beat() is not None


def test_page_is_for_operators_only(operator: Client) -> None:
    outsider = Client()
    outsider.force_login(User.objects.create_user("outsider"))

    assert Client().get("/operations/").status_code == 302
    assert outsider.get("/operations/").status_code == 404
    assert operator.get("/operations/").status_code == 200


def test_operator_retries_a_failed_job_and_cancels_a_waiting_one(make_corpus: MakeCorpus, operator: Client) -> None:
    make_corpus()
    trace = request_trace(text=SENTENCE)
    Trace.objects.filter(pk=trace.pk).update(status=JobStatus.FAILED, error="the disk was full", n_starts=2)
    address = f"/operations/trace/{trace.pk}"

    page = operator.get("/operations/").content.decode()
    assert "the disk was full" in page
    assert Client().post(f"{address}/retry/").status_code == 302
    trace.refresh_from_db()
    assert trace.status == JobStatus.FAILED
    operator.post(f"{address}/retry/")
    trace.refresh_from_db()
    assert (trace.status, trace.error, trace.n_starts) == (JobStatus.PENDING, "", 0)
    operator.post(f"{address}/cancel/")
    trace.refresh_from_db()
    assert trace.status == JobStatus.CANCELLED
    run_trace(trace.pk)
    trace.refresh_from_db()
    assert trace.result is None
