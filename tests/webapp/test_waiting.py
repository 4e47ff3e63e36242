"""`Prefer: wait`: answers when the job ends, and never much later than asked."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from django.test import Client, RequestFactory

from tests.tracer.conftest import SENTENCE, MakeCorpus, tokenizer_path
from tests.tracer.conftest import make_corpus as make_corpus
from tracer import services
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
