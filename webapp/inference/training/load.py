"""A checkpoint folder as a model for training: FlexOlmo, whole or its public part, or a dense OLMo 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from webapp.inference import layout
from webapp.inference.announcing import Announce, say_nothing
from webapp.inference.config import read_config
from webapp.inference.errors import CheckpointError
from webapp.inference.placement import free_bytes
from webapp.inference.training.model import ModelShape, TrainingModel

_OPTIMISER_BYTES = 12  # a weight that learns, its gradient, its momentum


def read_shape(path: Path) -> ModelShape:
    """Return the sizes of a checkpoint; raises `CheckpointError` for what the training model does not compute."""
    config = read_config(path, allow_dense=True)
    model = config.model
    unsupported = {
        "num_key_value_heads below num_attention_heads": model.n_kv_heads != model.num_attention_heads,
        "attention_bias": model.attention_bias,
        "tie_word_embeddings": model.tie_word_embeddings,
        "norm_topk_prob": model.norm_topk_prob,
        f"rope_type {config.rope['rope_type']!r}": config.rope["rope_type"] != "default",
    }
    for what, is_so in unsupported.items():
        if is_so:
            raise CheckpointError(path / "config.json", f"has {what}, which cannot be trained here")
    return ModelShape(
        vocabulary=model.vocab_size,
        width=model.hidden_size,
        n_layers=model.num_hidden_layers,
        feed_forward=model.intermediate_size,
        n_heads=model.num_attention_heads,
        context=model.max_position_embeddings,
        rope_theta=float(config.rope["rope_theta"]),
        n_experts=model.num_experts,
        norm_epsilon=model.rms_norm_eps,
        top_k=model.num_experts_per_tok if model.num_experts_per_tok < model.num_experts else 0,
    )


def load_base(path: Path, device: torch.device, announce: Announce = say_nothing) -> TrainingModel:
    """Return the public part of a checkpoint, frozen: shared weights and expert 0, and its router row.

    On CUDA large matrices are in bfloat16. Raises `CheckpointError` for a folder that cannot be used, and with
    both figures when training an expert beside it does not fit into memory.
    """
    shape = replace(read_shape(path), n_experts=1, top_k=0)
    _check_memory(path, shape, device, announce)
    model = _load(path, shape, device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def load_model(path: Path, device: torch.device) -> TrainingModel:
    """Return a whole checkpoint for evaluation or for tuning its router. Raises `CheckpointError`."""
    return _load(path, read_shape(path), device)


def _check_memory(path: Path, shape: ModelShape, device: torch.device, announce: Announce) -> None:
    expert = 3 * shape.n_layers * shape.width * shape.feed_forward
    others = 2 * shape.vocabulary * shape.width + 4 * shape.n_layers * shape.width**2
    needed = (others + expert) * (2 if device.type == "cuda" else 4) + expert * _OPTIMISER_BYTES
    free = free_bytes(device)
    sizes = f"training needs {needed / 1e9:.2f} GB and what a batch takes"
    announce(sizes + ("" if free is None else f"; {free / 1e9:.2f} GB are free on {device.type}"))
    if free is not None and needed > free:
        raise CheckpointError(path, f"{sizes}; {free / 1e9:.2f} GB are free on {device.type}. Use a larger machine.")


def _load(path: Path, shape: ModelShape, device: torch.device) -> TrainingModel:
    stored = layout.stored_tensors(path)
    weights: dict[str, Tensor] = {}
    for ours, theirs in tensor_names(shape, is_dense="model.layers.0.mlp.gate_proj.weight" in stored):
        if theirs not in stored and ours.endswith(".router"):
            weights[ours] = torch.zeros(shape.n_experts, shape.width, device=device)
            continue
        weights[ours] = _read(path, stored, theirs, device)
        if ours.endswith(".router"):
            weights[ours] = weights[ours][: shape.n_experts].clone()
    for layer in range(shape.n_layers):
        weights[f"blocks.{layer}.own_bias"] = torch.zeros((), device=device)
    try:
        return TrainingModel.of_weights(shape, weights)
    except RuntimeError as error:
        raise CheckpointError(path, f"does not have the shapes that its config.json says ({error})") from error


def _read(path: Path, stored: dict[str, layout.StoredTensor], name: str, device: torch.device) -> Tensor:
    if name not in stored:
        raise CheckpointError(path, f"{name} is missing from the safetensors files; one key an expert is needed")
    try:
        with safe_open(stored[name].file, "pt") as handle:
            tensor: Tensor = handle.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(stored[name].file, f"cannot be read ({error})") from error
    is_large = tensor.dim() == 2 and not name.endswith(".mlp.gate.weight")
    return tensor.to(device, torch.bfloat16 if device.type == "cuda" and is_large else torch.float32)


def tensor_names(shape: ModelShape, *, is_dense: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the training model's names with those of published checkpoints, which have one key an expert."""
    yield "embedding.weight", "model.embed_tokens.weight"
    yield "norm.weight", "model.norm.weight"
    yield "head.weight", "lm_head.weight"
    for index in range(shape.n_layers):
        ours, theirs = f"blocks.{index}.", f"model.layers.{index}."
        for letter in "qkvo":
            yield f"{ours}attention.{letter}.weight", f"{theirs}self_attn.{letter}_proj.weight"
        for letter in "qk":
            yield f"{ours}attention.{letter}_norm.weight", f"{theirs}self_attn.{letter}_norm.weight"
        yield f"{ours}attention_norm.weight", f"{theirs}post_attention_layernorm.weight"
        yield f"{ours}feed_forward_norm.weight", f"{theirs}post_feedforward_layernorm.weight"
        yield f"{ours}router", f"{theirs}mlp.gate.weight"
        for expert in range(shape.n_experts):
            place = "" if is_dense else f"experts.{expert}."
            for part in ("gate", "up", "down"):
                yield f"{ours}experts.{expert}.{part}.weight", f"{theirs}mlp.{place}{part}_proj.weight"
