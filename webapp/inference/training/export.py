"""Writes a trained model as a checkpoint that transformers and this site load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from webapp.inference.training.data import END_OF_TEXT, PADDING
from webapp.inference.training.model import TrainingModel


def export_checkpoint(
    model: TrainingModel,
    tokenizer: Tokenizer,
    experts: list[dict[str, Any]],
    card: str,
    out: Path,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write config.json, model.safetensors, tokenizer.json, experts.json and README.md to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(dtype).contiguous() for name, value in transformers_weights(model).items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    _write_json(out / "config.json", transformers_config(model, tokenizer, dtype))
    _write_json(out / "experts.json", {"experts": experts, "opt_out_exact": True})
    (out / "README.md").write_text(card, encoding="utf-8")


def transformers_weights(model: TrainingModel) -> dict[str, Tensor]:
    """Return the weights under the names of published FlexOlmo checkpoints, one key an expert."""
    names: dict[str, Tensor] = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
        "lm_head.weight": model.head.weight,
    }
    for index, block in enumerate(model.layers()):
        layer = f"model.layers.{index}."
        attention = block.attention
        for ours, theirs in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("o", "o_proj")):
            names[f"{layer}self_attn.{theirs}.weight"] = attention.get_parameter(f"{ours}.weight")
        names[f"{layer}self_attn.q_norm.weight"] = attention.q_norm.weight
        names[f"{layer}self_attn.k_norm.weight"] = attention.k_norm.weight
        names[f"{layer}post_attention_layernorm.weight"] = block.attention_norm.weight
        names[f"{layer}post_feedforward_layernorm.weight"] = block.feed_forward_norm.weight
        names[f"{layer}mlp.gate.weight"] = block.router
        for position, expert in enumerate(block.experts):
            for part in ("gate", "up", "down"):
                names[f"{layer}mlp.experts.{position}.{part}_proj.weight"] = expert.get_parameter(f"{part}.weight")
    return {name: value.detach() for name, value in names.items()}


def transformers_config(model: TrainingModel, tokenizer: Tokenizer, dtype: torch.dtype) -> dict[str, Any]:
    """Return config.json of a `FlexOlmoForCausalLM` of this shape; every expert is active."""
    shape = model.shape
    return {
        "architectures": ["FlexOlmoForCausalLM"],
        "model_type": "flex_olmo",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_heads,
        "max_position_embeddings": shape.context,
        "num_experts": shape.n_experts,
        "num_experts_per_tok": shape.n_experts,
        "norm_topk_prob": False,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(END_OF_TEXT),
        "pad_token_id": tokenizer.token_to_id(PADDING),
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
