"""Waiting jobs get one message each however slow the workers are, and get it back when the queue is lost."""

from __future__ import annotations

import random
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from celery import Celery
from django.utils import timezone
from kombu.transport import memory

from benchmarks.production import MissingProgramError, find_program, free_port
from tests.conftest import REQUIRED
from tests.looks import look_twice
from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import batches, builds, services, tasks
from tracer.models import IndexBuild, ShardBuild, Trace, TraceBatch
from webapp.jobs import JobStatus
from webapp.queueing import without_message

STALE_S = 60.0
Commit = Callable[..., Any]


class Broker:
    """A Celery application with a queue of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app = Celery(broker=url, set_as_current=False)
        self.queue = self.app.conf.task_default_queue = f"trace-{uuid.uuid4().hex}"

    def take(self) -> str | None:
        """Take the next message as a worker does; return its job."""
        with self.app.connection_for_read() as connection, connection.SimpleQueue(self.queue) as waiting:
            try:
                message = waiting.get(block=False)
            except waiting.Empty:
                return None
            message.ack()
            return str(message.decode()[0][0])

    def take_all(self) -> list[str]:
        return list(iter(self.take, None))

    def lose_all(self) -> None:
        """Lose every message, as a broker does that was emptied or came back without its disk."""
        if self.url.startswith("memory"):
            memory.Channel.queues.pop(self.queue, None)
        else:
            redis.Redis.from_url(self.url).flushall()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Start a Redis that may be emptied."""
    try:
        program = find_program("redis-server")
    except MissingProgramError as error:
        if "services" in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    deadline = time.monotonic() + 120
    while True:
        try:
            redis.Redis.from_url(url).ping()
            break
        except redis.RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(120)


def do_nothing(job_id: str) -> None:
    """Stand for a task: here it only lends its name to messages."""


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def broker(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Let the tracer's tasks go through a broker of this test's own."""
    settings.EMBEDDED = request.param == "memory"
    if not settings.EMBEDDED:
        settings.REDIS_URL = request.getfixturevalue("redis_url")
    made = Broker("memory://" if settings.EMBEDDED else settings.REDIS_URL)
    for name in ("run_trace", "run_batch", "build_shard", "finish_build"):
        task = made.app.task(name=f"here.{name}")(do_nothing)
        monkeypatch.setattr(tasks, name, task)
    return made


def look_for_lost(commit: Commit, kind: Any = services) -> int:
    """Do what beat does when all jobs have been silent for long."""

    def look() -> int:
        long_ago = timezone.now() - timedelta(seconds=STALE_S + 1)
        for model in (Trace, TraceBatch, ShardBuild):
            model.objects.filter(status=JobStatus.PENDING).update(heartbeat_at=long_ago)
        with commit(execute=True):
            n_queued: int = kind.requeue_unfinished(older_than_s=STALE_S)
        return n_queued

    return look_twice(look, apart_s=STALE_S)


def ask(commit: Commit, n: int) -> list[str]:
    with commit(execute=True):
        return [str(services.request_trace(text=f"{number} {SENTENCE}").pk) for number in range(n)]


def test_waiting_traces_have_one_message_however_often_they_are_looked_for(
    broker: Broker, make_corpus: MakeCorpus, django_capture_on_commit_callbacks: Commit
) -> None:
    make_corpus()
    asked = ask(django_capture_on_commit_callbacks, 5)
    assert [look_for_lost(django_capture_on_commit_callbacks) for _ in range(4)] == [0, 0, 0, 0]
    assert broker.take_all() == asked


def test_lost_queue_is_filled_again_once(
    broker: Broker, make_corpus: MakeCorpus, django_capture_on_commit_callbacks: Commit
) -> None:
    make_corpus()
    asked = ask(django_capture_on_commit_callbacks, 5)
    broker.lose_all()
    assert [look_for_lost(django_capture_on_commit_callbacks) for _ in range(3)] == [5, 0, 0]
    waiting = broker.take_all()
    assert sorted(waiting) == sorted(asked)
    for trace_id in waiting:
        services.run_trace(trace_id)
    assert set(Trace.objects.values_list("status", flat=True)) == {JobStatus.DONE}
    assert look_for_lost(django_capture_on_commit_callbacks) == 0


def test_trace_whose_worker_died_is_queued_once(
    broker: Broker, make_corpus: MakeCorpus, django_capture_on_commit_callbacks: Commit
) -> None:
    make_corpus()
    (asked,) = ask(django_capture_on_commit_callbacks, 1)
    assert broker.take() == asked
    Trace.objects.update(status=JobStatus.RUNNING, n_starts=1)
    assert [look_for_lost(django_capture_on_commit_callbacks) for _ in range(3)] == [1, 0, 0]
    assert broker.take_all() == [asked]


@pytest.mark.parametrize("seed", range(4))
def test_no_event_makes_a_second_message_or_loses_a_job(
    seed: int, broker: Broker, make_corpus: MakeCorpus, django_capture_on_commit_callbacks: Commit
) -> None:
    """Ask, take and finish, die with a message, lose the queue, look for lost jobs: at random, then to the end."""
    make_corpus()
    chance = random.Random(seed)
    asked: list[str] = []
    for _ in range(40):
        event = chance.choices(["ask", "finish", "die", "lose", "look"], [4, 3, 1, 1, 4])[0]
        if event == "ask":
            asked += ask(django_capture_on_commit_callbacks, 1)
        elif event == "finish":
            Trace.objects.filter(pk=broker.take()).update(status=JobStatus.DONE)
        elif event == "die":
            Trace.objects.filter(pk=broker.take()).update(status=JobStatus.RUNNING)
        elif event == "lose":
            broker.lose_all()
        else:
            look_for_lost(django_capture_on_commit_callbacks)
            unfinished = {str(pk) for pk in Trace.objects.unfinished().values_list("pk", flat=True)}  # type: ignore[attr-defined]
            assert not without_message(tasks.run_trace, unfinished)
    look_for_lost(django_capture_on_commit_callbacks)
    counted = Counter(broker.take_all())
    unfinished = {str(pk) for pk in Trace.objects.unfinished().values_list("pk", flat=True)}  # type: ignore[attr-defined]
    assert counted == dict.fromkeys(unfinished, 1)


def test_batches_have_one_message_and_get_it_back(
    broker: Broker, make_corpus: MakeCorpus, django_capture_on_commit_callbacks: Commit
) -> None:
    make_corpus()
    with django_capture_on_commit_callbacks(execute=True):
        batch = batches.request_batch(texts=[SENTENCE, "music"])
    assert [look_for_lost(django_capture_on_commit_callbacks, batches) for _ in range(2)] == [0, 0]
    broker.lose_all()
    assert [look_for_lost(django_capture_on_commit_callbacks, batches) for _ in range(2)] == [1, 0]
    assert broker.take_all() == [str(batch.pk)]


def test_shards_and_their_joining_have_one_message_and_get_it_back(
    broker: Broker, make_corpus: MakeCorpus, tokenizer_path: Any, django_capture_on_commit_callbacks: Commit
) -> None:
    make_corpus(slug="other")
    with django_capture_on_commit_callbacks(execute=True):
        build = builds.start_build(slug="other", tokenizer=tokenizer_path, n_shards=2)
    broker.lose_all()
    assert [look_for_lost(django_capture_on_commit_callbacks, builds) for _ in range(3)] == [2, 0, 0]
    assert broker.take_all() == [str(shard.pk) for shard in build.shards.all()]
    build.shards.update(status=JobStatus.DONE)
    assert [look_for_lost(django_capture_on_commit_callbacks, builds) for _ in range(3)] == [1, 0, 0]
    assert broker.take_all() == [str(build.pk)]
    assert IndexBuild.objects.count() == 1


@pytest.mark.redis
def test_nothing_is_queued_while_the_broker_is_away(settings: Any, make_corpus: MakeCorpus) -> None:
    make_corpus()
    trace = services.request_trace(text=SENTENCE)
    settings.EMBEDDED, settings.REDIS_URL = False, f"redis://127.0.0.1:{free_port()}/0"
    assert without_message(tasks.run_trace, [trace.pk]) == []
