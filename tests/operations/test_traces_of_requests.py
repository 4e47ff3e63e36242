"""What logs and counters keep of a request, its tasks and its log entries."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Task
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import DatabaseError, transaction
from django.test import Client, RequestFactory
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from structlog.testing import capture_logs

from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer.services import request_trace, run_trace
from webapp.celery import app
from webapp.middleware import ERRORS_KEY, RequestIdMiddleware
from webapp.operations import health
from webapp.roles import Role, grant_role
from webapp.transparency.services import append_entry

__all__ = ["make_corpus", "tokenizer_path"]


@pytest.fixture
def seen() -> list[dict[str, Any]]:
    """Run a task on a worker's way: published with a request's id, its context noted."""
    noted: list[dict[str, Any]] = []

    @app.task(bind=True, name="tests.note", shared=False)
    def note(self: Task) -> None:
        noted.append(dict(get_contextvars()))

    bind_contextvars(request_id="0190a2b4-from-web")
    headers: dict[str, Any] = {}
    from celery.signals import before_task_publish

    before_task_publish.send(sender=note.name, headers=headers, body=None)
    clear_contextvars()
    note.apply(headers=headers, task_id="t1")
    return noted


def test_task_knows_the_request_that_caused_it(seen: list[dict[str, Any]]) -> None:
    assert seen == [{"request_id": "0190a2b4-from-web", "task": "tests.note", "task_id": "t1"}]
    assert get_contextvars() == {}


@pytest.mark.django_db
def test_log_entry_of_a_request_is_logged_with_its_id() -> None:
    body = {"corpus": "fair", "takedown": "0" * 36, "document": "0" * 64, "reason": "0" * 64}
    body["takedown"] = "01900000-0000-7000-8000-000000000000"
    bind_contextvars(request_id="0190a2b4-from-web")
    with capture_logs() as lines, transaction.atomic():
        entry = append_entry(kind="takedown", body=body)
    clear_contextvars()

    assert [(line["event"], line["entry"]) for line in lines] == [("log entry", str(entry.id))]


def test_slow_trace_is_logged_stage_by_stage(make_corpus: MakeCorpus, settings: Any) -> None:
    make_corpus()
    settings.SLOW_TRACE_MS = 0
    trace = request_trace(text=SENTENCE)
    with capture_logs() as lines:
        run_trace(trace.id)

    (line,) = [line for line in lines if line["event"] == "slow trace"]
    assert line["trace"] == str(trace.id)
    assert line["n_characters"] == len(SENTENCE)
    assert any(name.endswith("_ms") for name in line)


def test_quick_trace_is_not(make_corpus: MakeCorpus, settings: Any) -> None:
    make_corpus()
    settings.SLOW_TRACE_MS = 3_600_000
    trace = request_trace(text=SENTENCE)
    with capture_logs() as lines:
        run_trace(trace.id)

    assert [line for line in lines if line["event"] == "slow trace"] == []


@pytest.mark.django_db
def test_server_errors_are_counted_and_scraped() -> None:
    cache.delete(ERRORS_KEY)
    user = User.objects.create_user("curator")
    grant_role(user=user, role=Role.OPERATOR)
    client = Client(raise_request_exception=False)
    client.force_login(user)

    from django.http import HttpRequest, HttpResponse

    def broken(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=500)

    RequestIdMiddleware(broken)(RequestFactory().get("/"))

    assert "fairground_server_errors_total 1.0" in client.get("/metrics").content.decode()


def test_process_lives_without_database_and_under_any_host_name(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALLOWED_HOSTS = ["fairground.example.org"]
    settings.SECURE_SSL_REDIRECT = True

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", away)
    found = Client(headers={"host": "10.0.0.7:8000"}).get("/health/live")

    assert found.status_code == 200
    assert health.PROBES.keys() == {"/health/live", "/health/ready"}
