"""Answers as jobs: messages that come twice, workers that die or are slow, what others change meanwhile."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.looks import look_twice
from tests.tracer.conftest import MakeCorpus, make_corpus, tokenizer_path
from webapp import signs_of_life
from webapp.inference import FinishReason, GenerationHandle, GenerationRequest, InferenceError
from webapp.jobs import JobStatus
from webapp.ownership import Author
from webapp.playground import making, services
from webapp.playground.bus import token_bus
from webapp.playground.models import Checkpoint, Generation
from webapp.playground.turns import whose_turn

__all__ = ["make_corpus", "tokenizer_path"]  # fixtures
OWN = Author(session_digest="d" * 64)


@pytest.fixture
def generation(checkpoint: Checkpoint) -> Generation:
    made: Generation = services.start_generation(prompt="Return a", max_tokens=6, seed=1, author=OWN)
    return made


def set_running(generation: Generation, *, silent_for_s: float, n_starts: int = 1) -> None:
    heartbeat = timezone.now() - timedelta(seconds=silent_for_s)
    Generation.objects.filter(pk=generation.pk).update(status="running", n_starts=n_starts, heartbeat_at=heartbeat)


def look_for_silent() -> int:
    return services.requeue_unfinished(older_than_s=120)


@pytest.mark.parametrize("silent_for_s", [5, 3600, -3600])
@pytest.mark.parametrize("run", [services.run_generation, services.run_in_turn])
def test_second_message_leaves_an_answer_in_hand_alone_whatever_the_clock_says(
    generation: Generation, silent_for_s: int, run: Callable[[uuid.UUID], None]
) -> None:
    set_running(generation, silent_for_s=silent_for_s)
    assert look_for_silent() == 0
    run(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.n_starts) == ("running", 1)


def test_answer_whose_worker_is_silent_is_taken_over(generation: Generation) -> None:
    set_running(generation, silent_for_s=5)
    assert look_twice(look_for_silent, apart_s=121) == 1
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.n_starts) == ("done", 2)


def test_requeueing_gives_abandoned_answers_back_and_leaves_the_others(generation: Generation) -> None:
    done = services.start_generation(prompt="Return a", max_tokens=2)
    services.run_generation(done.id)
    set_running(generation, silent_for_s=200)
    assert look_twice(look_for_silent, apart_s=121) == 1
    assert look_for_silent() == 0
    generation.refresh_from_db()
    assert generation.status == "pending"
    services.run_generation(generation.id)
    done.refresh_from_db()
    generation.refresh_from_db()
    assert (done.status, generation.status) == ("done", "done")


def test_answers_shared_at_once_are_as_if_each_was_shared(generation: Generation, make_corpus: MakeCorpus) -> None:
    make_corpus()
    second = services.start_generation(prompt="Return a", max_tokens=2, author=OWN)
    others = services.start_generation(prompt="Return a", max_tokens=2, author=Author(session_digest="e" * 64))
    made_all = Generation.objects.filter(pk__in=[generation.pk, second.pk, others.pk])
    made_all.update(text="the carousel turns", status=JobStatus.DONE)
    traces = [services.trace_generation(made.id, author=made.owner) for made in (generation, others)]
    services.share_generations([generation.id, second.id, others.id], author=OWN, visibility="private")
    for row, visibility in [
        (generation, "private"),
        (second, "private"),
        (others, "link"),
        (traces[0], "private"),
        (traces[1], "link"),
    ]:
        row.refresh_from_db()
        assert row.visibility == visibility


def when_made(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Do something after the last token, before the answer is stored."""
    relay = making._relay

    def relay_then_change(*arguments: Any) -> Any:
        made = relay(*arguments)
        change()
        return made

    monkeypatch.setattr(making, "_relay", relay_then_change)


def test_hiding_an_answer_while_it_is_made_is_kept(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    when_made(monkeypatch, lambda: services.share_generation(generation.id, author=OWN, visibility="private"))
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.visibility) == ("done", "private")


def test_worker_taken_for_dead_stores_nothing_over_its_successor(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_made(monkeypatch, lambda: set_running(generation, silent_for_s=0, n_starts=2))
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.text) == ("running", "")


def ask_as(person: str, n: int) -> list[str]:
    author = Author(session_digest=person * 64) if person else Author()
    return [str(services.start_generation(prompt="x", max_tokens=1, author=author).id) for _ in range(n)]


def order_of_starts() -> str:
    rows = Generation.objects.filter(status="done").order_by("started_at")
    return "".join(session[:1] or "-" for session in rows.values_list("session_digest", flat=True))


def test_people_take_turns_and_each_ones_answers_keep_their_order(checkpoint: Checkpoint) -> None:
    many, few, nobody = ask_as("a", 5), ask_as("b", 2), ask_as("", 1)
    for identifier in [*many, *few, *nobody]:
        services.run_in_turn(identifier)
    assert order_of_starts() == "ab-abaaa"
    for asked in (many, few):
        started = Generation.objects.filter(id__in=asked).order_by("started_at")
        assert [str(row.id) for row in started] == asked


def test_somebody_who_comes_later_is_next(checkpoint: Checkpoint) -> None:
    many = ask_as("a", 4)
    for identifier in many[:2]:
        services.run_in_turn(identifier)
    services.run_in_turn(ask_as("b", 1)[0])
    for identifier in many[2:]:
        services.run_in_turn(identifier)
    assert order_of_starts() == "aabaa"


@pytest.mark.parametrize("seed", range(3))
def test_as_many_messages_as_answers_make_all_in_any_order_even_when_some_come_twice(
    checkpoint: Checkpoint, seed: int
) -> None:
    messages = [*ask_as("a", 5), *ask_as("b", 3), *ask_as("", 2)]
    messages += messages[:2]
    random.Random(seed).shuffle(messages)
    for identifier in messages:
        services.run_in_turn(identifier)
    assert set(Generation.objects.values_list("status", flat=True)) == {"done"}
    assert set(Generation.objects.values_list("n_starts", flat=True)) == {1}


class SilentEngine:
    """Takes requests and makes no token of them, until they are cancelled."""

    expert_slugs = ("public",)

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        handle = GenerationHandle(request, (1,), lambda: None)

        def wait() -> None:
            from webapp.inference import FinishEvent

            handle.wait_cancelled(20)
            handle.put(FinishEvent(FinishReason.CANCELLED, "", (), {}, {}))

        threading.Thread(target=wait, daemon=True).start()
        return handle


def test_answer_that_waits_in_the_engine_is_stopped_when_asked(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.playground.engines.engine_for", lambda checkpoint, experts: SilentEngine())
    token_bus().request_cancel(str(generation.id))
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert generation.status == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_signs_of_life_are_given_while_nothing_comes(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services.add_checkpoint(slug="tiny", path=tiny_path)
    generation = services.start_generation(prompt="Return a", max_tokens=2)
    monkeypatch.setattr(signs_of_life, "EVERY_S", 0.01)
    before: list[datetime] = []

    def load(checkpoint: Checkpoint, experts: list[str]) -> None:
        before.append(Generation.objects.get().heartbeat_at)
        end = time.monotonic() + 60
        while Generation.objects.get().heartbeat_at == before[0]:
            assert time.monotonic() < end, "no life was shown"
        raise InferenceError("It could not be loaded.")

    monkeypatch.setattr("webapp.playground.engines.engine_for", load)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.error) == ("failed", "It could not be loaded.")
    assert generation.heartbeat_at > before[0]


def test_waiting_answer_whose_message_waits_is_left_alone(
    generation: Generation, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    long_ago = timezone.now() - timedelta(seconds=200)
    queued = []
    for _ in range(3):
        Generation.objects.update(heartbeat_at=long_ago)
        with django_capture_on_commit_callbacks(execute=True):
            queued.append(services.requeue_unfinished(older_than_s=120))
    assert queued == [1, 0, 0], "its own message was never sent: the transaction of this test does not end"
    set_running(generation, silent_for_s=200)
    assert look_twice(look_for_silent, apart_s=121) == 0
    generation.refresh_from_db()
    assert generation.status == "pending", "whoever takes the message may begin it"


def test_who_was_served_before_the_clock_stepped_back_keeps_their_turn(checkpoint: Checkpoint) -> None:
    def ask(author: Author, **changes: Any) -> Generation:
        made: Generation = services.start_generation(prompt="Return a", max_tokens=2, author=author)
        Generation.objects.filter(pk=made.pk).update(**changes)
        return made

    ahead = timezone.now() + timedelta(hours=1)
    other = Author(session_digest="e" * 64)
    ask(OWN, created_at=ahead - timedelta(seconds=9), started_at=ahead - timedelta(seconds=5), status="done")
    newest = ask(OWN)
    before_step = ask(OWN, created_at=ahead, started_at=ahead)
    others = [ask(other), ask(other)]
    order = []
    for _ in range(4):
        next_id = whose_turn()
        order.append(next_id)
        Generation.objects.filter(pk=next_id).update(status="running", started_at=timezone.now())
    assert order == [before_step.pk, others[0].pk, newest.pk, others[1].pk]
    assert whose_turn() is None


def test_tokens_are_published_together_and_none_is_left_out(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    publish = token_bus().publish
    monkeypatch.setattr(making, "TOGETHER_S", 600.0)
    monkeypatch.setattr(
        token_bus(), "publish", lambda stream, *events: (sizes.append(len(events)), publish(stream, *events))
    )
    services.run_generation(generation.id)
    generation.refresh_from_db()
    events = token_bus().published(str(generation.id))
    assert [event.data["text"] for event in events[:-1]] == generation.pieces
    assert [event.number for event in events] == [*range(1, len(generation.pieces) + 1), 10**9]
    assert sizes == [1, len(generation.pieces) - 1, 1]  # the first at once, the others by the end, the end
