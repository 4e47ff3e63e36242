"""The clock steps back by an hour: ids still ascend, lost jobs are found, beat goes on, tokens and limits hold."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import Scheduler
from django.conf import settings as site_settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.conftest import SENTENCE
from tracer.models import Trace
from webapp import identifiers
from webapp.accounts.models import ApiToken
from webapp.identifiers import uuid7
from webapp.jobs import looks_old
from webapp.limits import WINDOW_S, count_request
from webapp.steady_beat import SteadyScheduler

HOUR = timedelta(hours=1)


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.at = datetime(2030, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def time_ns(self) -> int:
        return int(self.at.timestamp() * 1e9)

    def time(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timezone, "now", made.now)
    return made


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(-3_600_000, 3_600_000), min_size=1, max_size=30))
def test_ids_ascend_whatever_the_clock_does(steps_ms: list[int]) -> None:
    now_ms = 1_900_000_000_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identifiers, "_last", 0)
        made: list[uuid.UUID] = []
        highest = 0
        for step in steps_ms:
            now_ms += step
            highest = max(highest, now_ms)
            patch.setattr(time, "time_ns", lambda at=now_ms: at * 1_000_000)
            made += [uuid7(), uuid7()]
            assert made[-1].int >> 80 == highest, "it names the latest time seen"
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_used_up_count_takes_from_the_next_millisecond() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identifiers, "_last", 0)
        patch.setattr(time, "time_ns", lambda: 1_900_000_000_000 * 1_000_000)
        made = [uuid7() for _ in range(10_000)]
    assert made == sorted(made)
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}
    assert made[-1].int >> 80 <= 1_900_000_000_003


@pytest.mark.django_db
def test_waiting_job_of_before_the_step_is_looked_for_in_the_queue(clock: Clock) -> None:
    values: dict[str, Any] = {"text": SENTENCE, "corpora": [], "parameters": {}}
    before = Trace.objects.create(**values, heartbeat_at=clock.now())
    clock.at -= HOUR
    Trace.objects.create(**values, heartbeat_at=clock.now())
    clock.at += timedelta(seconds=5)

    assert list(Trace.objects.filter(looks_old(60))) == [before]


@pytest.mark.parametrize(("kind", "goes_on"), [(SteadyScheduler, True), (Scheduler, False)])
def test_beat_goes_on_after_the_step_where_celerys_own_waits(
    kind: type[Scheduler], goes_on: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery(broker="memory://", set_as_current=False)
    monkeypatch.setattr(app, "now", clock.now)
    app.conf.beat_schedule = {
        "often": {"task": "often", "schedule": 1.0},
        "seldom": {"task": "seldom", "schedule": 30.0},
    }
    sent: list[tuple[str, datetime]] = []
    monkeypatch.setattr(kind, "apply_entry", lambda self, entry, producer: sent.append((entry.name, clock.at)))
    monkeypatch.setattr(kind, "producer", None)
    scheduler = kind(app=app, lazy=False)

    def run(seconds: int) -> Counter[str]:
        sent.clear()
        for _ in range(seconds):
            clock.at += timedelta(seconds=1)
            while scheduler.tick() == 0:
                pass
        return Counter(name for name, _ in sent)

    before = run(90)
    clock.at -= HOUR
    after = run(90)
    assert 88 <= before["often"] <= 91
    assert 2 <= before["seldom"] <= 4
    if goes_on:
        assert 88 <= after["often"] <= 91
        assert 2 <= after["seldom"] <= 4
    else:
        assert not after, "no longer needed: Celery's own goes on too"


@pytest.mark.django_db
def test_token_that_was_refused_as_ended_stays_refused(clock: Clock) -> None:
    user = User.objects.create_user("researcher")
    _, token = ApiToken.objects.create(user=user, expiry=timedelta(minutes=30), name="laptop", scopes=["read"])
    headers = {"Authorization": f"Bearer {token}"}
    assert Client(headers=headers).get("/api/v1/corpora/").status_code == 200
    clock.at += HOUR
    assert Client(headers=headers).get("/api/v1/corpora/").status_code == 401
    clock.at -= HOUR
    assert Client(headers=headers).get("/api/v1/corpora/").status_code == 401


def test_limit_refuses_for_a_minute_at_most(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(site_settings.LIMITS, "trace", 2)
    monkeypatch.setattr("webapp.limits.time", clock)
    cache.clear()
    counts = [count_request(resource="trace", principal="x") for _ in range(3)]
    assert [count is not None and count.is_over for count in counts] == [False, False, True]
    clock.at -= HOUR
    waited = 0
    while (count := count_request(resource="trace", principal="x")) is not None and count.is_over:
        assert 0 < count.reset_s <= WINDOW_S + 1
        clock.at += timedelta(seconds=count.reset_s)
        waited += count.reset_s
    assert waited <= WINDOW_S + 1
