"""Experts taken out of a running engine and put back, between two steps."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import webapp.inference.engine as engine_module
from tests.inference.tiny import EXPERTS, TEXT, make_checkpoint
from webapp.inference import (
    CheckpointError,
    GenerationRequest,
    InferenceEngine,
    LoadedCheckpoint,
    UnknownExpertError,
    load_checkpoint,
    token_logits,
)

LEFT = frozenset(EXPERTS) - {"web"}


def ask(experts: frozenset[str] = LEFT, **changes: Any) -> GenerationRequest:
    return GenerationRequest(**{"prompt": "Return a new", "experts": experts, "max_tokens": 20, **changes})


def test_weights_and_router_rows_leave_memory(checkpoint: LoadedCheckpoint) -> None:
    place = EXPERTS.index("web")
    layers = checkpoint.decoder.weights.layers
    matrices = [weakref.ref(m) for layer in layers for m in (layer.gate_up[place], layer.down[place])]
    routers = [weakref.ref(layer.router) for layer in layers]
    with InferenceEngine(checkpoint) as engine:
        engine.submit(ask(frozenset(EXPERTS))).result()
        engine.withhold(["web"])
        gc.collect()
        assert [ref() for ref in (*matrices, *routers)] == [None] * (3 * len(layers))
        assert not any(layer.router_rows[place].any() for layer in layers)
        assert engine.expert_slugs == ("public", "numerics", "symbolic")


def test_answers_without_the_expert_are_the_same_to_the_last_bit_before_during_and_after(
    checkpoint: LoadedCheckpoint,
) -> None:
    ids = checkpoint.tokenizer.encode(TEXT[:200]).ids
    everyone = frozenset(EXPERTS)
    before, whole = token_logits(checkpoint, ids, LEFT), token_logits(checkpoint, ids, everyone)
    engine = InferenceEngine(checkpoint)
    engine.withhold(["web"])
    assert torch.equal(token_logits(checkpoint, ids, LEFT), before)
    engine.restore(["web"])
    assert torch.equal(token_logits(checkpoint, ids, LEFT), before)
    assert torch.equal(token_logits(checkpoint, ids, everyone), whole)


def test_running_and_waiting_requests_that_use_it_end_with_the_reason_and_others_go_on(
    checkpoint: LoadedCheckpoint,
) -> None:
    with InferenceEngine(checkpoint) as engine:
        alone = engine.submit(ask(max_tokens=100)).result()
    begun, may_go_on = threading.Event(), threading.Event()
    forward = checkpoint.decoder.forward

    def wait_and_forward(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        assert may_go_on.wait(60)
        return forward(*args, **kwargs)

    checkpoint.decoder.forward = wait_and_forward  # type: ignore[method-assign]
    with InferenceEngine(checkpoint, max_rows=2) as engine:
        running = engine.submit(ask(frozenset(EXPERTS), max_tokens=200))
        other = engine.submit(ask(max_tokens=100))
        assert begun.wait(60)
        waiting = engine.submit(ask(frozenset(["web"])))
        change = threading.Thread(target=engine.withhold, args=(["web"],))
        change.start()
        while not engine._changes:
            pass
        may_go_on.set()
        change.join()
        for handle in (running, waiting):
            finish = handle.result()
            assert finish.reason == "error"
            assert "withdrawn by its owner" in finish.error
        computed = engine.expert_computations["web"]
        assert other.result().token_ids == alone.token_ids
        assert engine.expert_computations["web"] == computed
        with pytest.raises(UnknownExpertError, match="'web' was withdrawn by its owner; choose from public"):
            engine.submit(ask(frozenset(EXPERTS)))


def test_loading_reads_nothing_of_withheld_experts_and_they_can_come_later(
    checkpoint_path: Path, checkpoint: LoadedCheckpoint
) -> None:
    some = load_checkpoint(checkpoint_path, withheld_experts=["web", "someone else's"])
    assert some.available_slugs == ("public", "numerics", "symbolic")
    assert some.n_parameters < checkpoint.n_parameters
    with InferenceEngine(some) as engine, InferenceEngine(checkpoint) as whole:
        assert engine.submit(ask()).result().token_ids == whole.submit(ask()).result().token_ids
        engine.restore(["web"])
        everyone = ask(frozenset(EXPERTS))
        assert engine.submit(everyone).result().token_ids == whole.submit(everyone).result().token_ids


def test_answers_go_on_and_others_are_withheld_while_an_expert_is_read_again(
    checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading, may_end = threading.Event(), threading.Event()
    read = engine_module.read_expert

    def read_slowly(*arguments: Any) -> Any:
        is_reading.set()
        assert may_end.wait(60)
        return read(*arguments)

    monkeypatch.setattr(engine_module, "read_expert", read_slowly)
    with InferenceEngine(checkpoint) as engine:
        engine.withhold(["web"])
        restoring = threading.Thread(target=engine.restore, args=(["web"],))
        restoring.start()
        assert is_reading.wait(60)
        engine.withhold(["numerics"])
        assert engine.submit(ask(frozenset(["public"]))).result().reason == "length"
        assert engine.expert_slugs == ("public", "symbolic")
        may_end.set()
        restoring.join()
        assert engine.expert_slugs == ("public", "web", "symbolic")


def test_nothing_is_loaded_when_all_are_withheld(checkpoint_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no expert left"):
        load_checkpoint(checkpoint_path, withheld_experts=EXPERTS)


def test_an_expert_does_not_come_back_from_a_folder_that_was_changed(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "changing")
    engine = InferenceEngine(load_checkpoint(path, withheld_experts=["web"]))
    make_checkpoint(path, seed=5)
    with pytest.raises(CheckpointError, match="was changed since it was loaded"):
        engine.restore(["web"])
    assert engine.expert_slugs == ("public", "numerics", "symbolic")


def test_layer_shares_are_the_means_over_tokens_and_average_to_the_routing_shares(
    checkpoint: LoadedCheckpoint,
) -> None:
    with InferenceEngine(checkpoint) as engine:
        *tokens, finish = engine.submit(ask())
    assert set(finish.layer_shares) == LEFT
    for slug, layers in finish.layer_shares.items():
        assert len(layers) == checkpoint.decoder.shape.n_layers
        by_token = [token.routing[slug] for token in tokens]  # type: ignore[union-attr]
        assert sum(layers) / len(layers) == pytest.approx(sum(by_token) / len(by_token), abs=1e-5)
        assert finish.routing_shares[slug] == pytest.approx(sum(by_token) / len(by_token), abs=1e-5)
