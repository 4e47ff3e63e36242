"""Workers show life for what they are at, however long it takes, and for nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError

from tests.looks import look_twice
from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer import batches, services
from tracer.models import Trace, TraceBatch
from webapp import signs_of_life
from webapp.jobs import JobStatus

__all__ = ["make_corpus", "tokenizer_path"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)
GENEROUS_S = 60.0


@pytest.fixture(autouse=True)
def many_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs_of_life, "EVERY_S", 0.01)


def running_trace() -> Trace:
    values: dict[str, Any] = {"text": SENTENCE, "corpora": [], "parameters": {}}
    made: Trace = Trace.objects.create(**values, status=JobStatus.RUNNING, n_starts=1)
    return made


def wait_for_sign(trace: Trace) -> None:
    before = Trace.objects.get(pk=trace.pk).heartbeat_at
    wait_until(lambda: Trace.objects.get(pk=trace.pk).heartbeat_at > before)


def shown(kind: Any) -> Callable[[], bool]:
    """Return what tells whether the only row of a kind has shown life since."""
    before = kind.objects.get().heartbeat_at
    return lambda: bool(kind.objects.get().heartbeat_at > before)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + GENEROUS_S
    while not is_so():
        assert time.monotonic() < end, "nothing was shown"
        time.sleep(0.005)


def test_jobs_in_hand_show_life_and_those_that_ended_do_not() -> None:
    first, second = running_trace(), running_trace()
    with signs_of_life.signs_of_life(first):
        with signs_of_life.signs_of_life(second):
            beats = dict(Trace.objects.values_list("pk", "heartbeat_at"))
            wait_until(lambda: all(beats[pk] < at for pk, at in Trace.objects.values_list("pk", "heartbeat_at")))
        for _ in range(2):  # a sign that was being given to both at the second's end
            wait_for_sign(first)
        ended = Trace.objects.get(pk=second.pk).heartbeat_at
        wait_for_sign(first)
        assert Trace.objects.get(pk=second.pk).heartbeat_at == ended


@pytest.mark.parametrize("change", [{"n_starts": 2}, {"status": JobStatus.PENDING}, {"status": JobStatus.DONE}])
def test_a_job_that_another_took_or_ended_gets_no_sign_of_the_first(change: dict[str, Any]) -> None:
    taken, own = running_trace(), running_trace()
    Trace.objects.filter(pk=taken.pk).update(**change)
    with signs_of_life.signs_of_life(taken), signs_of_life.signs_of_life(own):
        for _ in range(3):
            wait_for_sign(own)
    assert Trace.objects.get(pk=taken.pk).heartbeat_at == taken.heartbeat_at


def test_a_database_that_is_away_for_a_sign_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = running_trace()
    write, asked = signs_of_life.without_waiting, []

    def away_at_first(rows: Any) -> Any:
        asked.append(rows)
        if len(asked) < 3:
            raise DatabaseError("away")
        return write(rows)

    monkeypatch.setattr(signs_of_life, "without_waiting", away_at_first)
    has_shown = shown(Trace)
    with signs_of_life.signs_of_life(trace):
        wait_until(has_shown)
    assert len(asked) >= 3


def test_a_trace_that_takes_longer_than_a_dead_worker_is_waited_for_is_not_begun_again(
    make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus("prose")
    trace = services.request_trace(text=SENTENCE)
    compute = services.compute_trace

    def compute_long(each: Trace) -> dict[str, Any]:
        has_shown: list[Callable[[], bool]] = []

        def look() -> int:
            if has_shown:
                wait_until(has_shown.pop())
            has_shown.append(shown(Trace))
            return services.requeue_unfinished(older_than_s=120)

        assert look_twice(look, apart_s=121) == 0
        return compute(each)

    monkeypatch.setattr(services, "compute_trace", compute_long)
    services.run_trace(trace.id)
    trace.refresh_from_db()
    assert (trace.status, trace.error, trace.n_starts) == ("done", "", 1)


def test_a_batch_shows_life_during_a_long_text(make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    make_corpus("prose")
    batch = batches.request_batch(texts=[SENTENCE])
    compute = services.compute_trace

    def compute_long(each: Trace) -> dict[str, Any]:
        wait_until(shown(TraceBatch))
        return compute(each)

    monkeypatch.setattr(services, "compute_trace", compute_long)
    batches.run_batch(batch.id)
    batch.refresh_from_db()
    assert (batch.status, batch.traces.get().status) == ("done", "done")
