"""Log probabilities are the model's own, whatever sampling does with them."""

from __future__ import annotations

import pytest
import torch

from tests.inference.tiny import EXPERTS
from webapp.inference import GenerationRequest, InferenceEngine, LoadedCheckpoint, TokenEvent
from webapp.inference.logprobs import token_logprobs
from webapp.inference.optout import token_logits

MASK = frozenset(EXPERTS[:2])


def test_equal_those_of_a_pass_over_the_whole_text(engine: InferenceEngine, checkpoint: LoadedCheckpoint) -> None:
    request = GenerationRequest("Return a", MASK, max_tokens=12, temperature=0.9, seed=2, top_logprobs=3)
    handle = engine.submit(request)
    events = [event for event in handle if isinstance(event, TokenEvent)]
    ids = [*handle.prompt_ids, *(event.token_id for event in events)]
    logs = token_logits(checkpoint, ids, MASK).log_softmax(-1)[len(handle.prompt_ids) - 1 : -1]
    for event, expected in zip(events, logs, strict=True):
        assert event.logprob is not None
        assert event.logprob.logprob == pytest.approx(float(expected[event.token_id]), abs=1e-4)
        best = expected.topk(3)
        assert [top.logprob for top in event.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_none_are_computed_when_none_are_asked_for(engine: InferenceEngine) -> None:
    event, *_ = engine.submit(GenerationRequest("Return a", MASK, max_tokens=2))
    assert isinstance(event, TokenEvent)
    assert event.logprob is None
    assert event.top_logprobs == ()


def test_probabilities_add_up_to_one_when_all_are_asked_for(checkpoint: LoadedCheckpoint) -> None:
    logits = torch.randn(320)
    drawn, tops = token_logprobs(logits, 7, 1000, checkpoint.tokenizer)
    assert len(tops) == 320
    assert sum(2.718281828**top.logprob for top in tops) == pytest.approx(1, abs=1e-4)
    assert drawn.logprob in [top.logprob for top in tops]
