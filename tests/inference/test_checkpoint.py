"""Checkpoint folders: what is read, what is refused and why."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import FlexOlmoConfig, FlexOlmoForCausalLM

from tests.inference.tiny import EXPERTS, make_checkpoint, make_tokenizer
from webapp.inference import (
    CheckpointError,
    checkpoint_digest,
    load_checkpoint,
    read_checkpoint_card,
    reduce_checkpoint,
    token_logits,
)
from webapp.inference.config import CheckpointConfig, ModelConfig


@pytest.fixture
def folder(checkpoint_path: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(checkpoint_path, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_card_names_experts_in_router_order(checkpoint_path: Path) -> None:
    card = read_checkpoint_card(checkpoint_path)
    assert card.slugs == EXPERTS
    assert card.opt_out_exact
    assert card.experts[1].owner == "web owner"


def test_experts_get_plain_names_and_no_promise_without_a_card(folder: Path) -> None:
    (folder / "experts.json").unlink()
    card = read_checkpoint_card(folder)
    assert card.slugs == ("public", "expert-1", "expert-2", "expert-3")
    assert not card.opt_out_exact


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "non-empty list"),
        ('{"experts": [{"slug": "a"}]}', "names 1 experts, but config.json has 4"),
        ('{"experts": ["a", "b", "c", "d"]}', "expert 0 must be an object"),
        ('{"experts": [{"slug": "a"}, {"slug": "A b"}, {"slug": "c"}, {"slug": "d"}]}', "expert 1 needs a slug"),
        ('{"experts": [{"slug": "a"}, {"slug": "b"}, {"slug": "a"}, {"slug": "d"}]}', "'a' twice"),
        ('{"experts": [{"slug":"a","owner":3},{"slug":"b"},{"slug":"c"},{"slug":"d"}]}', "\"owner\" of expert 'a'"),
        ('{"experts": [{"slug":"a"},{"slug":"b"},{"slug":"c"},{"slug":"d"}], "opt_out_exact": 1}', "true or false"),
    ],
)
def test_broken_experts_file_is_refused(folder: Path, body: str, message: str) -> None:
    (folder / "experts.json").write_text(body)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert caught.value.file == folder / "experts.json"


def test_experts_file_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "experts.json").write_bytes(b'{"experts": "\xff"}')
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "olmo2"}, "model_type is 'olmo2'"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok is 9, but there are 4"),
        ({"hidden_size": 30}, "even multiple"),
        ({"hidden_size": -32}, "hidden_size is -32"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers is 'two'"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small'; it must be a number"),
        ({"norm_topk_prob": 1}, "must be true or false"),
        ({"rope_parameters": [1]}, "rope_parameters must be an object"),
        ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta is 'x'"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "dynamic"),
        ({"num_hidden_layers": 3}, r"layers.2.* tensors are missing"),
        ({"num_hidden_layers": 1}, r"layers.1.* not part of this configuration"),
        ({"intermediate_size": 25}, "has shape .* asks for"),
        ({"vocab_size": 200}, "has shape|another model"),
    ],
)
def test_bad_config_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"missing|has no"):
        load_checkpoint(folder)


def test_missing_tensor_is_refused_by_name(folder: Path) -> None:
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    edit_weights(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        reduce_checkpoint(folder, folder.parent / "out", ["public"])
    assert not (folder.parent / "out").exists()


def test_truncated_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_checkpoint(folder)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="convert it to safetensors"):
        load_checkpoint(folder)


def test_index_may_not_leave_the_folder(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../copy/model.safetensors"}}')
    with pytest.raises(CheckpointError, match="outside"):
        load_checkpoint(folder)


def test_sharded_and_fused_weights_load_alike(folder: Path) -> None:
    plain = load_checkpoint(folder)
    ids, some = list(range(1, 30)), frozenset(["web", "symbolic"])
    expected = token_logits(plain, ids, some)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(2):
        root = f"model.layers.{layer}.mlp.experts."
        parts = [[tensors.pop(f"{root}{e}.{p}_proj.weight") for p in ("gate", "up", "down")] for e in range(4)]
        tensors[f"{root}gate_up_proj"] = torch.stack([torch.cat(part[:2]) for part in parts])
        tensors[f"{root}down_proj"] = torch.stack([part[2] for part in parts])
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert torch.equal(token_logits(load_checkpoint(folder), ids, some), expected)
    reduce_checkpoint(folder, folder.parent / "out", some_order := ["web", "symbolic"])
    reduced = load_checkpoint(folder.parent / "out")
    assert list(reduced.expert_slugs) == some_order
    assert (token_logits(reduced, ids, some) - expected).abs().max() <= 1e-4
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match="lists it"):
        load_checkpoint(folder)


ROPES: list[dict[str, object]] = [
    {"rope_type": "default", "rope_theta": 1e4},
    {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
    {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64},
]


@pytest.mark.parametrize("rope", ROPES, ids=lambda rope: str(rope["rope_type"]))
def test_biases_tied_head_and_scaled_positions_load(tmp_path: Path, rope: dict[str, object]) -> None:
    path = make_checkpoint(tmp_path / "c", attention_bias=True, tie_word_embeddings=True, rope_parameters=rope)
    ids = list(range(1, 120))
    with torch.inference_mode():
        expected = FlexOlmoForCausalLM.from_pretrained(path).eval()(input_ids=torch.tensor([ids])).logits[0]
    assert (token_logits(load_checkpoint(path), ids, frozenset(EXPERTS)) - expected).abs().max() <= 1e-4


def test_older_key_of_the_rotary_base_is_read(folder: Path) -> None:
    expected = token_logits(load_checkpoint(folder), range(1, 30), frozenset(EXPERTS))
    edit_config(folder, rope_parameters=None, rope_theta=500_000.0)
    assert torch.equal(token_logits(load_checkpoint(folder), range(1, 30), frozenset(EXPERTS)), expected)
    edit_config(folder, rope_theta=100.0)
    assert not torch.equal(token_logits(load_checkpoint(folder), range(1, 30), frozenset(EXPERTS)), expected)


def test_defaults_are_those_of_transformers() -> None:
    theirs, ours = FlexOlmoConfig(), ModelConfig()
    for field in dataclasses.fields(ModelConfig):
        if field.name != "num_key_value_heads":
            assert getattr(ours, field.name) == getattr(theirs, field.name)
    config = CheckpointConfig(ours, {})
    assert ours.n_kv_heads == theirs.num_key_value_heads
    assert config.rope["rope_theta"] == theirs.rope_parameters["rope_theta"]
    assert (config.pad_token_id, config.eos_token_id) == (theirs.pad_token_id, theirs.eos_token_id)


def test_answering_does_not_import_transformers() -> None:
    code = "import sys, webapp.inference; sys.exit('transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digest_changes_with_weights_and_names_not_with_the_readme(folder: Path) -> None:
    before = checkpoint_digest(folder)
    (folder / "README.md").write_text("a card")
    assert checkpoint_digest(folder) == before
    edit_weights(folder, lambda tensors: tensors["model.norm.weight"].mul_(2))
    after = checkpoint_digest(folder)
    assert after != before
    (folder / "experts.json").unlink()
    assert checkpoint_digest(folder) != after


def test_memory_estimate_is_exact_and_refuses_with_the_figure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_checkpoint(folder)
    stored = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    assert loaded.n_parameters == stored
    assert loaded.memory.weight_bytes == 4 * stored
    assert load_checkpoint(folder, dtype="bfloat16").memory.weight_bytes == 2 * stored
    monkeypatch.setattr("webapp.inference.placement.free_bytes", lambda device: 1000)
    with pytest.raises(CheckpointError, match=r"needs .* GB of weights .* are free"):
        load_checkpoint(folder)


def test_other_models_tokenizer_is_refused(folder: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<extra>", "<more>"] + [f"<{i}>" for i in range(80)])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="another model"):
        load_checkpoint(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        load_checkpoint(folder)


@pytest.mark.parametrize("experts", [[], ["nobody"]])
def test_unknown_or_no_experts_are_refused(folder: Path, experts: list[str]) -> None:
    with pytest.raises(CheckpointError, match="public, web"):
        load_checkpoint(folder, resident_experts=experts)
    with pytest.raises(CheckpointError, match="public, web"):
        reduce_checkpoint(folder, folder.parent / "out", experts)


def test_reduced_checkpoint_is_smaller_and_never_overwrites(folder: Path) -> None:
    out = folder.parent / "out"
    reduce_checkpoint(folder, out, ["web"])
    assert read_checkpoint_card(out).slugs == ("web",)
    assert (out / "model.safetensors").stat().st_size < (folder / "model.safetensors").stat().st_size
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(CheckpointError, match="exists already"):
        reduce_checkpoint(folder, out, ["web"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_refused(checkpoint_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no CUDA device"):
        load_checkpoint(checkpoint_path, device="cuda")
