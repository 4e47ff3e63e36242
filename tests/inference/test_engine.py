"""The engine's promises: determinism, isolation, limits, streaming."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.inference.tiny import EXPERTS, TEXT, make_checkpoint
from webapp.inference import (
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    FinishEvent,
    GenerationRequest,
    InferenceEngine,
    LoadedCheckpoint,
    RequestError,
    TokenEvent,
    UnknownExpertError,
    load_checkpoint,
)
from webapp.inference.decoder import ExpertWeights, Segment
from webapp.inference.linear import make_linear

ALL = frozenset(EXPERTS)


def sampled(seed: int, **changes: Any) -> GenerationRequest:
    values = {"prompt": f"Return {seed}", "experts": ALL, "max_tokens": 24, "temperature": 1.0, "top_p": 0.9}
    return GenerationRequest(**{**values, "seed": seed, **changes})


def test_seed_gives_the_same_tokens_whatever_else_is_in_the_batch(engine: InferenceEngine) -> None:
    requests = [
        sampled(
            seed,
            experts=frozenset(EXPERTS[: 1 + seed % 4]),
            top_p=1.0 if seed % 3 else 0.8,
            max_tokens=10 + 5 * (seed % 5),
            prompt=TEXT[seed : seed + 1 + 9 * (seed % 6)],
        )
        for seed in range(12)
    ]
    alone = [engine.submit(request).result() for request in requests]
    together = [handle.result() for handle in [engine.submit(request) for request in requests]]
    again = [handle.result() for handle in [engine.submit(request) for request in reversed(requests)]][::-1]
    for one, two, three in zip(alone, together, again, strict=True):
        assert one.token_ids == two.token_ids == three.token_ids
        assert one.text == two.text == three.text
        assert one.routing_shares == pytest.approx(two.routing_shares, abs=1e-4)


def test_another_seed_gives_other_tokens(engine: InferenceEngine) -> None:
    answers = {engine.submit(sampled(seed, prompt="Return")).result().token_ids for seed in range(6)}
    assert len(answers) == 6


def test_long_prompt_in_chunks_equals_one_pass(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    request = GenerationRequest(TEXT[:400], ALL, max_tokens=20)
    with InferenceEngine(checkpoint) as engine:
        whole = engine.submit(request).result()
    monkeypatch.setattr("webapp.inference.engine.PREFILL_CHUNK_TOKENS", 7)
    with InferenceEngine(checkpoint) as engine:
        other = engine.submit(sampled(1))
        assert engine.submit(request).result().token_ids == whole.token_ids
        other.result()


def test_pieces_concatenate_to_the_text_and_the_decoded_tokens(
    engine: InferenceEngine, checkpoint: LoadedCheckpoint
) -> None:
    for seed in range(8):
        *tokens, finish = engine.submit(sampled(seed, temperature=2.0, top_p=1.0, max_tokens=60))
        assert all(isinstance(token, TokenEvent) for token in tokens)
        assert isinstance(finish, FinishEvent)
        assert [token.index for token in tokens] == list(range(60))
        assert "".join(token.text for token in tokens) == finish.text
        assert finish.text == checkpoint.tokenizer.decode(list(finish.token_ids))


def test_stop_string_ends_the_answer_and_never_shows(engine: InferenceEngine) -> None:
    full = engine.submit(sampled(3, max_tokens=60)).result()
    for begin in range(4, len(full.text) - 4, 5):
        stop = full.text[begin : begin + 3]
        *tokens, finish = engine.submit(sampled(3, max_tokens=60, stop=("never there", stop)))
        assert finish.reason == "stop"
        assert finish.text == full.text[: full.text.index(stop)]
        assert "".join(token.text for token in tokens) == finish.text


def test_end_of_text_token_stops_silently(tmp_path: Path, checkpoint: LoadedCheckpoint) -> None:
    with InferenceEngine(checkpoint) as engine:
        ids = engine.submit(GenerationRequest("Return", ALL, max_tokens=9)).result().token_ids
    path = make_checkpoint(tmp_path / "eos", eos_token_id=[ids[5]])
    with InferenceEngine(load_checkpoint(path)) as engine:
        finish = engine.submit(GenerationRequest("Return", ALL, max_tokens=9)).result()
    assert finish.reason == "stop"
    assert finish.token_ids == ids[: ids.index(ids[5]) + 1]


@pytest.fixture
def steps(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Lets the engine take one forward pass for each `release`."""
    permits = threading.Semaphore(0)
    forward = checkpoint.decoder.forward

    def wait_and_forward(*args: Any, **kwargs: Any) -> Any:
        permits.acquire()
        return forward(*args, **kwargs)

    monkeypatch.setattr(checkpoint.decoder, "forward", wait_and_forward)
    return permits


def test_cancel_ends_a_running_request_within_one_step(
    checkpoint: LoadedCheckpoint, steps: threading.Semaphore
) -> None:
    with InferenceEngine(checkpoint) as engine:
        handle = engine.submit(sampled(0, max_tokens=200))
        steps.release(3)
        events = iter(handle)
        assert [next(events).index for _ in range(3)] == [0, 1, 2]
        handle.cancel()
        steps.release(1000)
        finish = handle.result()
    assert finish.reason == "cancelled"
    assert 3 <= len(finish.token_ids) <= 4


def test_cancel_ends_waiting_requests_and_leaves_others_alone(
    checkpoint: LoadedCheckpoint, steps: threading.Semaphore
) -> None:
    with InferenceEngine(checkpoint, max_rows=2) as engine:
        handles = [engine.submit(sampled(seed, max_tokens=30)) for seed in range(6)]
        for index in (1, 3, 5):
            handles[index].cancel()
        steps.release(10_000)
        finishes = [handle.result() for handle in handles]
        alone = engine.submit(sampled(4, max_tokens=30)).result()
    assert [finish.reason for finish in finishes] == ["length", "cancelled"] * 3
    assert finishes[4].token_ids == alone.token_ids


def test_time_cap_ends_the_answer(engine: InferenceEngine) -> None:
    finish = engine.submit(sampled(1, max_tokens=200, max_seconds=0.001)).result()
    assert finish.reason == "time"
    assert len(finish.token_ids) < 200


def test_timings_are_in_order(engine: InferenceEngine) -> None:
    timings = engine.submit(sampled(1)).result().timings_ms
    assert 0 <= timings["queued"] <= timings["first_token"] <= timings["total"]


@pytest.fixture
def stalled(checkpoint: LoadedCheckpoint) -> Iterator[InferenceEngine]:
    """An engine whose queue nobody empties."""
    engine = InferenceEngine(checkpoint, max_queued=2)
    engine._run = lambda: None  # type: ignore[method-assign]
    engine.start()
    yield engine
    engine.close()


def test_busy_when_the_queue_is_full(stalled: InferenceEngine) -> None:
    for seed in range(2):
        stalled.submit(sampled(seed))
    with pytest.raises(EngineBusyError, match="try again"):
        stalled.submit(sampled(2))


def test_thousand_requests_are_all_answered(checkpoint: LoadedCheckpoint) -> None:
    with InferenceEngine(checkpoint, max_rows=16) as engine:
        handles = [engine.submit(sampled(seed, max_tokens=2)) for seed in range(1000)]
        assert {handle.result().reason for handle in handles} == {"length"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prompt": ""}, RequestError, "prompt is empty"),
        ({"prompt": "a\x00b"}, RequestError, "NUL"),
        ({"prompt": "\ud800"}, RequestError, "surrogate"),
        ({"experts": frozenset()}, UnknownExpertError, "switch at least one on: public"),
        ({"experts": frozenset(["public", "nobody"])}, UnknownExpertError, "no expert 'nobody'"),
        ({"max_tokens": 0}, RequestError, "max_tokens is 0"),
        ({"max_tokens": 1.5}, RequestError, "whole number"),
        ({"max_tokens": 1000}, ContextOverflowError, "ask for at most 25"),
        ({"prompt": "array " * 500}, ContextOverflowError, "shorten the prompt"),
        ({"temperature": float("nan")}, RequestError, "temperature is nan"),
        ({"temperature": -1}, RequestError, "temperature is -1"),
        ({"top_p": 0}, RequestError, "top_p is 0"),
        ({"seed": -1}, RequestError, "seed is -1"),
        ({"seed": True}, RequestError, "seed is True"),
        ({"stop": ("",)}, RequestError, "stop takes"),
    ],
)
def test_bad_request_is_refused(
    engine: InferenceEngine, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        engine.submit(sampled(**{"seed": 0, **changes}))
    assert issubclass(error, ValueError)


def test_submit_after_close_is_refused_and_close_cancels(checkpoint: LoadedCheckpoint) -> None:
    engine = InferenceEngine(checkpoint, max_rows=1)
    with pytest.raises(EngineClosedError):
        engine.submit(sampled(0))
    engine.start()
    handles = [engine.submit(sampled(seed, max_tokens=240)) for seed in range(3)]
    engine.close()
    assert handles[2].result().reason == "cancelled"
    with pytest.raises(EngineClosedError):
        engine.submit(sampled(0))


def test_nan_logits_fail_one_request_and_leave_no_trace(checkpoint: LoadedCheckpoint) -> None:
    decoder = checkpoint.decoder
    bad_matrix = make_linear(torch.full((32, 24), float("nan")), way=decoder.way)
    decoder.restore(
        3, [ExpertWeights(layer.router_rows[3], layer.gate_up[3], bad_matrix) for layer in decoder.weights.layers]
    )
    good = [sampled(seed, experts=frozenset(["public", "web"]), max_tokens=40) for seed in range(6)]
    with InferenceEngine(checkpoint, max_rows=3) as engine:
        alone = [engine.submit(request).result().token_ids for request in good]
        handles = []
        for request in good:
            handles.append(engine.submit(request))
            bad = engine.submit(sampled(9, experts=frozenset(["symbolic"]), prompt=TEXT[:300]))
            handles.append(bad)
        finishes = [handle.result() for handle in handles]
    assert [finish.token_ids for finish in finishes[::2]] == alone
    for finish in finishes[1::2]:
        assert finish.reason == "error"
        assert "not a number" in finish.error


@pytest.mark.parametrize("failing_tokens", [1, 5])
def test_failing_forward_ends_only_its_request(
    checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch, failing_tokens: int
) -> None:
    forward = checkpoint.decoder.forward
    poison = 7

    def fail_on_poison(segments: list[Segment], *args: Any, **kwargs: Any) -> Any:
        for segment in segments:
            if poison in segment.ids and (len(segment.ids) == 1) == (failing_tokens == 1):
                raise torch.OutOfMemoryError("no memory")
        return forward(segments, *args, **kwargs)

    monkeypatch.setattr(checkpoint.decoder, "forward", fail_on_poison)
    monkeypatch.setattr("webapp.inference.sampling.Sampler.draw", lambda self, logits: poison)
    poison_text = checkpoint.tokenizer.decode([poison])
    with InferenceEngine(checkpoint) as engine:
        good = [engine.submit(GenerationRequest("Return", ALL, max_tokens=30)) for _ in range(3)]
        bad = engine.submit(sampled(0, prompt=poison_text * 5))
        finish = bad.result()
        answers = {handle.result().token_ids for handle in good}
    assert finish.reason == "error"
    assert "not enough memory" in finish.error
    assert len(answers) == 1
    assert len(answers.pop()) == 30


def test_small_cache_budget_makes_requests_wait_not_fail(checkpoint: LoadedCheckpoint) -> None:
    per_token = checkpoint.decoder.cache_bytes_per_token
    with InferenceEngine(checkpoint, max_rows=4, max_cache_bytes=4 * 64 * per_token) as engine:
        handles = [engine.submit(sampled(seed, max_tokens=20 + 25 * seed)) for seed in range(8)]
        assert {handle.result().reason for handle in handles} == {"length"}
        with pytest.raises(ContextOverflowError, match="cache"):
            InferenceEngine(checkpoint, max_cache_bytes=1).submit(sampled(0))


def test_clients_take_turns_when_one_has_queued_many(checkpoint: LoadedCheckpoint, steps: threading.Semaphore) -> None:
    with InferenceEngine(checkpoint, max_rows=1) as engine:
        many = [engine.submit(sampled(seed, max_tokens=1, client="many")) for seed in range(6)]
        few = [engine.submit(sampled(seed, max_tokens=1, client="few")) for seed in range(2)]
        steps.release(6)
        assert [handle.result().reason for handle in few] == ["length"] * 2
        assert many[-1].next_event(timeout_s=0) is None
        steps.release(10)
        assert many[-1].result().reason == "length"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_the_same_to_the_last_bit_whatever_else_is_in_the_batch(
    checkpoint_path: Path, dtype: str, multiply: str
) -> None:
    checkpoint = load_checkpoint(checkpoint_path, dtype=dtype, multiply=multiply)
    decoder = checkpoint.decoder
    cache = decoder.new_cache(64 * 64)
    texts = [TEXT[start : start + 2 + 17 * start] for start in range(9)]
    rows = []
    for number, text in enumerate(texts):
        ids = checkpoint.tokenizer.encode(text).ids
        extent = cache.reserve(len(ids) + 8)
        assert extent is not None
        rows.append((extent, ids, checkpoint.mask_for(EXPERTS[number % 3 :])))
    prompts = [Segment(extent, 0, ids, mask) for extent, ids, mask in rows]
    together = decoder.forward(prompts, cache)[0]
    alone = torch.cat([decoder.forward([segment], cache)[0] for segment in prompts])
    assert torch.equal(together, alone)
    steps = [Segment(extent, len(ids), [5], mask) for extent, ids, mask in rows]
    together = decoder.forward([*steps[:4], prompts[4], *steps[5:]], cache)[0]
    for place in (0, 3, 5, 8):
        assert torch.equal(together[place], decoder.forward([steps[place]], cache)[0][0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_answers_in_half_precision(checkpoint_path: Path, dtype: str) -> None:
    with InferenceEngine(load_checkpoint(checkpoint_path, dtype=dtype)) as engine:
        handles = [engine.submit(sampled(seed, prompt=TEXT[:300], max_tokens=12)) for seed in range(3)]
        for handle in handles:
            finish = handle.result()
            assert len(finish.token_ids) == 12
            assert sum(finish.routing_shares.values()) == pytest.approx(1, abs=1e-3)
