"""Tiny random checkpoints of the architectures that are served through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.inference.tiny import make_tokenizer

_COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "olmo2": {},
    "olmo3": {"num_hidden_layers": 4, "sliding_window": 8},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 24},
    "llama": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "qwen2": {},
    "gpt_neox": {"num_key_value_heads": 4},
}
FLEX_OLMO = {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 24}


def make_causal_checkpoint(path: Path, kind: str, *, seed: int = 0, **changes: Any) -> Path:
    """Write a folder with random weights as transformers saves it."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**_COMMON, **ARCHITECTURES.get(kind, FLEX_OLMO), **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.save_pretrained(path)
    make_tokenizer().save(str(path / "tokenizer.json"))
    return path
