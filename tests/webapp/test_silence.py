"""A job is taken from its worker only when its sign of life stayed the same for long by the looker's own clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from tests.looks import later
from tests.tracer.conftest import SENTENCE
from tracer.models import Trace
from webapp import silence
from webapp.jobs import JobStatus
from webapp.silence import take_from_silent

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
SILENT_S = 60.0


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


class Worker:
    """A worker with one job and a wall clock of its own."""

    def __init__(self, *, ahead: timedelta = timedelta()) -> None:
        self.ahead = ahead
        values: dict[str, Any] = {"text": SENTENCE, "corpora": [], "parameters": {}, "status": JobStatus.RUNNING}
        self.job = Trace.objects.create(**values, heartbeat_at=self.now(), n_starts=1)

    def now(self) -> datetime:
        return timezone.now() + self.ahead

    def show_life(self) -> None:
        Trace.objects.filter(pk=self.job.pk).update(heartbeat_at=self.now())

    @property
    def status(self) -> str:
        return str(Trace.objects.values_list("status", flat=True).get(pk=self.job.pk))


def look(at_s: float) -> list[Any]:
    with later(at_s):
        return take_from_silent(Trace.objects.all(), silent_for_s=SILENT_S)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_living_worker_keeps_its_job_when_any_clock_steps(step: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, real = Worker(), timezone.now
    assert look(0) == []
    monkeypatch.setattr(timezone, "now", lambda: real() + step)  # before the worker's next sign of life
    assert look(30) == []
    worker.show_life()
    assert [look(60), look(90), look(119)] == [[], [], []]
    worker.show_life()
    assert look(1000) == []
    assert worker.status == JobStatus.RUNNING


@pytest.mark.parametrize("step", [timedelta(), HOUR, -HOUR])
def test_dead_workers_job_waits_again_in_time_whatever_the_clock_did(
    step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, real = Worker(), timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + step)
    assert [look(0), look(30), look(59)] == [[], [], []]
    assert look(61) == [worker.job.pk]
    assert worker.status == JobStatus.PENDING
    assert look(1000) == []


def test_workers_whose_clocks_differ_keep_their_jobs() -> None:
    workers = [Worker(ahead=ahead) for ahead in (-HOUR, timedelta(), HOUR)]
    for at_s in range(0, 300, 50):
        assert look(at_s) == []
        for worker in workers:
            worker.show_life()
    assert look(300) == []
    for worker in workers[:2]:
        worker.show_life()
    assert look(400) == [workers[2].job.pk]


def test_time_of_a_slow_look_counts_for_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that answers after a minute tells what was there then, not when it was asked."""
    Worker()
    moments = iter([0.0, 50.0])
    with monkeypatch.context() as patch:
        patch.setattr(silence, "monotonic", lambda: next(moments))
        assert take_from_silent(Trace.objects.all(), silent_for_s=SILENT_S) == []
    moments = iter([100.0, 100.0])
    with monkeypatch.context() as patch:
        patch.setattr(silence, "monotonic", lambda: next(moments))
        assert take_from_silent(Trace.objects.all(), silent_for_s=SILENT_S) == []


def test_sign_of_life_while_it_is_taken_keeps_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    assert look(0) == []
    noted = cache.set

    def show_life_then_note(*values: Any) -> None:
        worker.show_life()
        noted(*values)

    monkeypatch.setattr(cache, "set", show_life_then_note)
    assert look(SILENT_S + 1) == []
    assert worker.status == JobStatus.RUNNING


def test_nothing_is_taken_at_the_first_look_but_where_all_workers_are_known_to_have_ended() -> None:
    worker = Worker(ahead=-HOUR)
    assert look(0) == []
    cache.clear()
    assert look(SILENT_S * 10) == [], "what was noted is lost: this look is the first one again"
    assert take_from_silent(Trace.objects.all(), silent_for_s=0) == [worker.job.pk]


@pytest.mark.parametrize("n_hosts", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_taken_within_the_stated_time_whichever_hosts_look(
    n_hosts: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts count from their own start, and any of them may get the next look."""
    every_s, chance = SILENT_S / 4, random.Random(seed)
    hosts = [(f"host-{number}", chance.uniform(0, 1e6)) for number in range(n_hosts)]
    worker, at_s, died_s = Worker(), chance.uniform(0, every_s), 200.0
    while True:
        name, offset_s = chance.choice(hosts)
        if at_s < died_s:
            worker.show_life()
        with monkeypatch.context() as patch:
            patch.setattr(silence, "CLOCK", name)
            patch.setattr(silence, "monotonic", lambda moment=at_s + offset_s: moment)
            taken = take_from_silent(Trace.objects.all(), silent_for_s=SILENT_S)
        if taken:
            break
        at_s += every_s
        assert at_s - died_s <= n_hosts * (SILENT_S + every_s) + every_s
    assert at_s >= died_s + SILENT_S - every_s, "its last sign of life was up to one look before"


def test_lookers_at_parts_of_a_kind_do_not_forget_for_each_other() -> None:
    first, second = Worker(), Worker()
    assert look(0) == []
    part = Trace.objects.filter(pk=second.job.pk)
    with later(30):
        assert take_from_silent(part, silent_for_s=SILENT_S, looker="part") == []
    assert look(SILENT_S + 1) == [first.job.pk, second.job.pk]
