"""A disabled expert leaves no trace: masking equals physical removal."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch
from transformers import FlexOlmoForCausalLM

from tests.inference.tiny import EXPERTS, TEXT, make_checkpoint
from webapp.inference import (
    GenerationRequest,
    InferenceEngine,
    LoadedCheckpoint,
    UnknownExpertError,
    load_checkpoint,
    reduce_checkpoint,
    token_logits,
    verify_optout,
)
from webapp.inference.linear import make_linear
from webapp.inference.masked import MaskedFlexOlmoForCausalLM, RoutingRecord

SUBSETS = [subset for size in range(1, 5) for subset in combinations(EXPERTS, size)]
PROMPTS = ("Return a new array", "Raises", "naïve 日本語 path", TEXT[:160])


@pytest.fixture(scope="module")
def reduced(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """Physically reduced checkpoints for every subset of the experts."""
    root = tmp_path_factory.mktemp("reduced")
    paths = {subset: root / "-".join(subset) for subset in SUBSETS}
    for subset, path in paths.items():
        reduce_checkpoint(checkpoint_path, path, subset)
    return paths


def greedy(path: Path, ids: tuple[int, ...], n_tokens: int) -> list[int]:
    """transformers' answer with key-value cache, for one prompt on its own."""
    model = FlexOlmoForCausalLM.from_pretrained(path).eval()
    out = model.generate(torch.tensor([ids]), max_new_tokens=n_tokens, do_sample=False)
    return out[0, len(ids) :].tolist()


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("norm", [False, True])
def test_masked_logits_equal_removal_for_every_subset(top_k: int, norm: bool, tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "full", seed=top_k, num_experts_per_tok=top_k, norm_topk_prob=norm)
    for subset in SUBSETS:
        proof = verify_optout(path, subset, PROMPTS)
        assert proof.max_difference <= 1e-4
        assert proof.largest_logit > 0.5
        assert {slug for slug, count in proof.computations.items() if count} <= set(subset)


def test_greedy_tokens_equal_removal_under_every_mask_in_one_batch(
    checkpoint: LoadedCheckpoint, reduced: dict[tuple[str, ...], Path]
) -> None:
    with InferenceEngine(checkpoint, max_rows=6) as engine:
        handles = {
            (subset, prompt): engine.submit(GenerationRequest(prompt, frozenset(subset), max_tokens=12 + 3 * i))
            for i, prompt in enumerate(PROMPTS)
            for subset in SUBSETS
        }
        for (subset, _), handle in handles.items():
            expected = greedy(reduced[subset], handle.prompt_ids, handle.request.max_tokens)
            assert list(handle.result().token_ids) == expected


def test_transformers_generate_equals_removal_when_batched_and_left_padded(
    checkpoint_path: Path, checkpoint: LoadedCheckpoint, reduced: dict[tuple[str, ...], Path]
) -> None:
    model = MaskedFlexOlmoForCausalLM.from_pretrained(checkpoint_path).eval()
    prompts = [tuple(checkpoint.tokenizer.encode(PROMPTS[i % len(PROMPTS)]).ids) for i in range(len(SUBSETS))]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    attention = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    masks = torch.tensor([[slug in subset for slug in EXPERTS] for subset in SUBSETS])
    out = model.generate(ids, attention_mask=attention, expert_mask=masks, max_new_tokens=16, do_sample=False)
    for row, subset in enumerate(SUBSETS):
        assert out[row, width:].tolist() == greedy(reduced[subset], prompts[row], 16)


def test_disabled_expert_is_never_computed(engine: InferenceEngine) -> None:
    for experts in (("public",), ("public", "web")):
        handles = [engine.submit(GenerationRequest(p, frozenset(experts), max_tokens=8)) for p in PROMPTS]
        for handle in handles:
            assert set(handle.result().routing_shares) == set(experts)
    counts = engine.expert_computations
    assert counts["public"] > 0
    assert counts["numerics"] == counts["symbolic"] == 0


def test_disabled_expert_may_hold_nan(checkpoint: LoadedCheckpoint) -> None:
    expected = token_logits(checkpoint, range(1, 20), frozenset(["public", "web"]))
    for layer in checkpoint.decoder.weights.layers:
        layer.gate_up[2] = make_linear(torch.full((48, 32), float("nan")))
        layer.down[3] = make_linear(torch.full((32, 24), float("nan")))
    assert torch.equal(token_logits(checkpoint, range(1, 20), frozenset(["public", "web"])), expected)


def test_resident_experts_equal_a_mask_without_the_others_in_memory(
    checkpoint_path: Path, checkpoint: LoadedCheckpoint
) -> None:
    some = load_checkpoint(checkpoint_path, resident_experts=["symbolic", "public"])
    assert some.expert_slugs == ("public", "symbolic")
    assert len(some.decoder.weights.layers[0].gate_up) == 2
    assert some.n_parameters < checkpoint.n_parameters
    ids = checkpoint.tokenizer.encode(PROMPTS[0]).ids
    both = frozenset(some.expert_slugs)
    assert (token_logits(some, ids, both) - token_logits(checkpoint, ids, both)).abs().max() <= 1e-4
    with InferenceEngine(some) as engine, pytest.raises(UnknownExpertError, match="'web' is not loaded"):
        engine.submit(GenerationRequest("a", frozenset(["web"])))


def test_routing_shares_agree_with_transformers(checkpoint_path: Path, engine: InferenceEngine) -> None:
    handle = engine.submit(GenerationRequest(PROMPTS[0], frozenset(["public", "web", "symbolic"]), max_tokens=1))
    token = next(iter(handle))
    model = MaskedFlexOlmoForCausalLM.from_pretrained(checkpoint_path).eval()
    record = RoutingRecord()
    with torch.inference_mode():
        mask = torch.tensor([[True, True, False, True]])
        model(input_ids=torch.tensor([handle.prompt_ids]), expert_mask=mask, routing_record=record)
    expected = dict(zip(EXPERTS, record.take()[-1].tolist(), strict=True))
    assert expected.pop("numerics") == 0
    assert token.routing == pytest.approx(expected, abs=1e-5)
    assert sum(token.routing.values()) == pytest.approx(1)


def test_masked_model_refuses_a_row_without_experts(checkpoint_path: Path) -> None:
    model = MaskedFlexOlmoForCausalLM.from_pretrained(checkpoint_path).eval()
    with pytest.raises(ValueError, match="no enabled expert"):
        model(input_ids=torch.tensor([[1]]), expert_mask=torch.zeros(1, 4, dtype=torch.bool))
