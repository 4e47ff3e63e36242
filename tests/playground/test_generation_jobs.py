"""Answers as jobs: messages that come twice, workers that die or are slow, what others change meanwhile."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from webapp.inference import FinishReason, GenerationHandle, GenerationRequest
from webapp.ownership import Author
from webapp.playground import services
from webapp.playground.bus import token_bus
from webapp.playground.models import Checkpoint, Generation

OWN = Author(session_digest="d" * 64)


@pytest.fixture
def generation(checkpoint: Checkpoint) -> Generation:
    made: Generation = services.start_generation(prompt="Return a", max_tokens=6, seed=1, author=OWN)
    return made


def set_running(generation: Generation, *, silent_for_s: float, n_starts: int = 1) -> None:
    heartbeat = timezone.now() - timedelta(seconds=silent_for_s)
    Generation.objects.filter(pk=generation.pk).update(status="running", n_starts=n_starts, heartbeat_at=heartbeat)


def test_second_message_leaves_an_answer_in_hand_alone(generation: Generation) -> None:
    set_running(generation, silent_for_s=5)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.n_starts) == ("running", 1)


def test_answer_whose_worker_is_silent_is_taken_over(generation: Generation) -> None:
    set_running(generation, silent_for_s=services.ABANDONED_S + 1)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.n_starts) == ("done", 2)


def test_requeueing_gives_abandoned_answers_back_and_leaves_the_others(generation: Generation) -> None:
    done = services.start_generation(prompt="Return a", max_tokens=2)
    services.run_generation(done.id)
    set_running(generation, silent_for_s=200)
    assert services.requeue_unfinished(older_than_s=120) == 1
    assert services.requeue_unfinished(older_than_s=120) == 0
    generation.refresh_from_db()
    assert generation.status == "pending"
    services.run_generation(generation.id)
    done.refresh_from_db()
    generation.refresh_from_db()
    assert (done.status, generation.status) == ("done", "done")


def when_made(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Do something after the last token, before the answer is stored."""
    relay = services._relay

    def relay_then_change(*arguments: Any) -> Any:
        made = relay(*arguments)
        change()
        return made

    monkeypatch.setattr(services, "_relay", relay_then_change)


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


def test_message_of_an_abandoned_answer_takes_it_over(generation: Generation) -> None:
    set_running(generation, silent_for_s=services.ABANDONED_S + 1)
    services.run_in_turn(generation.id)
    generation.refresh_from_db()
    assert generation.status == "done"


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
    set_running(generation, silent_for_s=500)
    long_ago = Generation.objects.get().heartbeat_at
    monkeypatch.setattr(services, "HEARTBEAT_S", 0.01)
    with services._signs_of_life(generation):
        given = False
        for _ in range(2000):
            given = Generation.objects.get().heartbeat_at > long_ago
            if given:
                break
    assert given
