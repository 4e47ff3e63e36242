"""Any causal language model of transformers: the same tokens as `generate`, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.inference.causal_models import ARCHITECTURES, make_causal_checkpoint
from tests.inference.tiny import TEXT
from webapp.inference import CheckpointError, ContextOverflowError, GenerationRequest
from webapp.inference.causal import CausalModel, load_causal_model
from webapp.inference.causal_engine import CausalEngine

PROMPTS = [TEXT[:3], TEXT[5:90], TEXT[40:44], TEXT[60:140], TEXT[:21], TEXT[9:160]]


def greedy(prompt: str, max_tokens: int) -> GenerationRequest:
    return GenerationRequest(prompt, frozenset(), max_tokens=max_tokens)


def generated(model: Any, ids: tuple[int, ...], n_tokens: int) -> tuple[int, ...]:
    out = model.generate(torch.tensor([ids]), max_new_tokens=n_tokens, do_sample=False, pad_token_id=0)
    return tuple(out[0, len(ids) :].tolist())


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_batch_of_different_lengths_equals_generate_alone(tmp_path: Path, kind: str) -> None:
    path = make_causal_checkpoint(tmp_path / kind, kind)
    reference = AutoModelForCausalLM.from_pretrained(path)
    with CausalEngine(load_causal_model(path), max_rows=3) as engine:
        handles = [engine.submit(greedy(prompt, 6 + 7 * i)) for i, prompt in enumerate(PROMPTS)]
        for i, handle in enumerate(handles):
            assert handle.result().token_ids == generated(reference, handle.prompt_ids, 6 + 7 * i)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_causal_checkpoint(tmp_path_factory.mktemp("causal") / "olmo2", "olmo2")


@pytest.fixture
def model(path: Path) -> CausalModel:
    return load_causal_model(path)


def test_long_prompt_in_chunks_equals_one_pass(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with CausalEngine(model) as engine:
        whole = engine.submit(greedy(TEXT[:300], 10)).result().token_ids
    monkeypatch.setattr("webapp.inference.causal_engine.PREFILL_CHUNK_TOKENS", 7)
    with CausalEngine(model) as engine:
        assert engine.submit(greedy(TEXT[:300], 10)).result().token_ids == whole


def test_failing_step_ends_only_its_request(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with CausalEngine(model) as engine:
        expected = engine.submit(greedy("Return a", 20)).result().token_ids
        bad_ids = engine.submit(greedy("path", 20)).result().token_ids
    poison = next(token for token in bad_ids if token not in expected)
    forward = CausalEngine._forward

    def fail_on_poison(self: CausalEngine, ids: list[list[int]], cache: Any, **inputs: Any) -> Any:
        result = forward(self, ids, cache, **inputs)
        if [poison] in ids:
            raise torch.OutOfMemoryError("no memory")
        return result

    monkeypatch.setattr(CausalEngine, "_forward", fail_on_poison)
    with CausalEngine(model) as engine:
        good = [engine.submit(greedy("Return a", 20)) for _ in range(2)]
        bad = engine.submit(greedy("path", 20)).result()
        assert [handle.result().token_ids for handle in good] == [expected, expected]
    assert bad.reason == "error"
    assert "not enough memory" in bad.error


def test_nan_logits_fail_one_request(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with CausalEngine(model) as engine:
        expected = engine.submit(greedy("Return a", 12)).result().token_ids
        poison = next(t for t in engine.submit(greedy("path", 12)).result().token_ids if t not in expected)
    forward = CausalEngine._forward

    def spoil(self: CausalEngine, ids: list[list[int]], cache: Any, **inputs: Any) -> Any:
        logits = forward(self, ids, cache, **inputs).clone()
        for row, newest in enumerate(ids):
            if newest == [poison]:
                logits[row] = float("nan")
        return logits

    monkeypatch.setattr(CausalEngine, "_forward", spoil)
    with CausalEngine(model) as engine:
        handles = [engine.submit(greedy(prompt, 12)) for prompt in ("Return a", "path", "Return a")]
        first, bad, last = (handle.result() for handle in handles)
    assert "not a number" in bad.error
    assert first.token_ids == last.token_ids == expected


def test_small_cache_budget_makes_requests_wait_not_fail(model: CausalModel) -> None:
    budget = 2 * 100 * model.memory.cache_bytes_per_token
    with CausalEngine(model, max_cache_bytes=budget) as engine:
        handles = [engine.submit(greedy(f"Return {i}", 20 + 10 * i)) for i in range(5)]
        assert {handle.result().reason for handle in handles} == {"length"}
        with pytest.raises(ContextOverflowError, match="cache"):
            engine.submit(greedy("Return", 240))
    with CausalEngine(model) as engine, pytest.raises(ContextOverflowError, match="ask for at most"):
        engine.submit(greedy("Return", 400))


def test_sharded_weights_load_in_the_asked_precision(tmp_path: Path, path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(path).save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    (tmp_path / "sharded" / "tokenizer.json").write_bytes((path / "tokenizer.json").read_bytes())
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    told: list[str] = []
    loaded = load_causal_model(tmp_path / "sharded", dtype="bfloat16", device="cpu", announce=told.append)
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.memory.weight_bytes == sum(p.numel() for p in loaded.model.parameters()) * 2
    assert "GB of weights" in told[0]
    assert "are free on cpu" in told[0]


def copied(path: Path, out: Path, **changes: Any) -> Path:
    out.mkdir()
    for file in path.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, **changes}))
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "made_up", "auto_map": {"AutoModelForCausalLM": "evil.Evil"}}, "never run"),
        ({"model_type": "bert"}, "'bert'|BERT|cannot be used|missing"),
        ({"model_type": None}, "model_type"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized"),
        ({"num_hidden_layers": 3}, "missing|shape|cannot be used"),
        ({"hidden_size": 64}, "shape|cannot be used"),
        ({"max_position_embeddings": 0}, "context length|cannot be used"),
    ],
)
def test_unusable_checkpoint_is_refused_with_the_reason(
    path: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_causal_model(copied(path, tmp_path / "broken", **changes))


def test_code_of_a_checkpoint_is_not_run(path: Path, tmp_path: Path) -> None:
    folder = copied(path, tmp_path / "code", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    load_causal_model(folder)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_refused(path: Path, tmp_path: Path) -> None:
    folder = copied(path, tmp_path / "pickle")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="convert it to safetensors"):
        load_causal_model(folder)


def test_missing_tensor_is_refused_instead_of_made_up(path: Path, tmp_path: Path) -> None:
    folder = copied(path, tmp_path / "short")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"up_proj.* missing"):
        load_causal_model(folder)


def test_too_little_memory_is_refused_with_both_figures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.inference.placement.free_bytes", lambda device: 1000)
    with pytest.raises(CheckpointError, match=r"needs .* GB of weights.* 0\.00 GB are free"):
        load_causal_model(path)
