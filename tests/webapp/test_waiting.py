"""`Prefer: wait`: answers when the job ends, and never much later than asked."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory

from tests.tracer.conftest import SENTENCE, MakeCorpus, tokenizer_path
from tests.tracer.conftest import make_corpus as make_corpus
from tracer import api, services
from tracer.engine import EngineError
from tracer.models import Trace
from webapp import waiting

__all__ = ["tokenizer_path"]
LONG_S = 120.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("wait=5", 5), ("respond-async, wait=3", 3), ("Wait = 2", 2), ("wait=99999", 10), ("", 0), ("await=5", 0)],
)
def test_reads_the_seconds_of_the_header(header: str, seconds: float) -> None:
    assert waiting.preferred_wait_s(RequestFactory().get("/", headers={"Prefer": header})) == seconds


def test_ends_as_soon_as_the_job_does(db: None) -> None:
    job = uuid.uuid4()
    note = threading.Timer(0.1, waiting.note_end, [job])
    note.start()
    begin = time.monotonic()
    assert waiting.wait_for_end(job, LONG_S)
    assert time.monotonic() - begin < LONG_S / 2
    note.join()


def test_answers_at_once_when_too_many_wait(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_slots", threading.BoundedSemaphore(1))
    assert waiting._slots.acquire(blocking=False)
    begin = time.monotonic()
    assert not waiting.wait_for_end(uuid.uuid4(), LONG_S)
    assert time.monotonic() - begin < LONG_S / 2
    waiting._slots.release()


def test_shows_where_a_waiting_trace_stands_when_its_time_is_over(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    first, second = (services.request_trace(text=SENTENCE) for _ in range(2))
    begin = time.monotonic()
    shown = client.get(f"/api/v1/traces/{second.pk}/", headers={"Prefer": "wait=1"}).json()
    assert time.monotonic() - begin > 0.9
    assert (shown["status"], shown["position"]) == ("pending", 2)
    services.run_trace(first.pk)
    assert client.get(f"/api/v1/traces/{second.pk}/").json()["position"] == 1
    services.run_trace(second.pk)
    done = client.get(f"/api/v1/traces/{second.pk}/", headers={"Prefer": "wait=9"}).json()
    assert done["status"] == "done"
    assert "position" not in done


def ask(client: Client, **headers: str) -> HttpResponse:
    return client.post("/api/v1/traces/", {"text": SENTENCE}, "application/json", headers=headers)


def end_while_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each trace end as soon as somebody waits for it, as by a worker."""
    wait = waiting.wait_for_end

    def run_then_wait(job_id: str, seconds: float) -> bool:
        if seconds:
            services.run_trace(job_id)
            waiting.note_end(job_id)
        return wait(job_id, seconds)

    monkeypatch.setattr(api, "wait_for_end", run_then_wait)


def test_a_request_that_waits_is_answered_with_the_ended_trace(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    end_while_asked(monkeypatch)
    response = ask(client, prefer="wait=9")
    assert response.status_code == 201
    assert response.headers["Preference-Applied"] == "wait"
    assert response.json() == client.get(response.headers["Location"]).json()
    assert response.json()["status"] == "done"
    assert ask(client).status_code == 202


def test_a_request_whose_time_is_over_is_told_where_the_trace_will_be(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    response = ask(client, prefer="wait=1")
    assert (response.status_code, response.json()["status"]) == (202, "pending")
    assert "Preference-Applied" not in response.headers
    assert client.get(response.headers["Location"]).json()["id"] == response.json()["id"]


def test_a_repeated_request_that_waits_gets_the_same_trace_ended(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    first = ask(client, idempotency_key="k" * 20)
    end_while_asked(monkeypatch)
    again = ask(client, idempotency_key="k" * 20, prefer="wait=9")
    assert (first.status_code, again.status_code) == (202, 201)
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "done")
    assert Trace.objects.count() == 1


def test_a_request_that_waits_for_a_failed_trace_is_told_so(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    end_while_asked(monkeypatch)

    def fail(trace: Trace) -> dict[str, object]:
        raise EngineError("The index is damaged.")

    monkeypatch.setattr(services, "compute_trace", fail)
    response = ask(client, prefer="wait=9")
    assert (response.status_code, response.json()["error"]) == (201, "The index is damaged.")
