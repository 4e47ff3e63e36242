"""Threads are chosen by what they bring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.inference.tiny import EXPERTS
from webapp.inference import GenerationRequest, InferenceEngine, LoadedCheckpoint
from webapp.inference.threads import pick_threads


def busy(milliseconds: Callable[[int], float]) -> Callable[[], None]:
    """A step that takes a time by the number of threads."""

    def step() -> None:
        end = time.thread_time() + milliseconds(torch.get_num_threads()) / 1000
        while time.thread_time() < end:
            pass

    return step


@pytest.fixture(autouse=True)
def _same_threads_after() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("milliseconds", "limit", "expected"),
    [
        (lambda n: 8 / n, 8, 8),
        (lambda n: 8 / n, 6, 4),
        (lambda n: 8 / n, 1, 1),
        (lambda n: 4.0, 8, 1),
        (lambda n: 2.0 * n, 8, 1),
        (lambda n: 8 / min(n, 2), 8, 2),
    ],
)
def test_takes_more_threads_only_while_they_are_faster(
    milliseconds: Callable[[int], float], limit: int, expected: int
) -> None:
    assert pick_threads(busy(milliseconds), limit) == expected
    assert torch.get_num_threads() == expected


def test_trial_counts_no_computation_and_changes_no_answer(
    checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = GenerationRequest("Return", frozenset(EXPERTS), max_tokens=8)
    with InferenceEngine(checkpoint) as engine:
        expected = engine.submit(request).result().token_ids
    monkeypatch.setattr("webapp.inference.engine._ONE_THREAD_PARAMETERS", 0)
    before = checkpoint.decoder.expert_computations[0]
    with InferenceEngine(checkpoint) as engine:
        assert engine.submit(GenerationRequest("Return", frozenset(["web"]), max_tokens=8)).result().reason == "length"
        assert engine.expert_computations["public"] == before
        assert engine.submit(request).result().token_ids == expected
