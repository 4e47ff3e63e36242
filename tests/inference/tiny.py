"""Tiny random FlexOlmo checkpoints with a tokenizer trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import FlexOlmoConfig, FlexOlmoForCausalLM

EXPERTS = ("public", "web", "numerics", "symbolic")
TEXT = (
    "Return a new array with the same shape and type as the given array. "
    "Raises ValueError if the path does not exist. Größe, naïve, 日本語, 🎡 fairground. "
) * 4


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE of at most 320 tokens, so that answers contain broken UTF-8 too."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def make_config(**changes: object) -> FlexOlmoConfig:
    values: dict[str, object] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "num_experts": len(EXPERTS),
        "num_experts_per_tok": 2,
        "pad_token_id": 0,
        "eos_token_id": None,
        "initializer_range": 0.3,
    }
    return FlexOlmoConfig(**{**values, **changes})


def make_checkpoint(path: Path, *, seed: int = 0, **changes: object) -> Path:
    """Write a checkpoint folder with random weights as transformers saves it."""
    torch.manual_seed(seed)
    config = make_config(**changes)
    model = FlexOlmoForCausalLM(config).eval()
    model.save_pretrained(path)
    make_tokenizer().save(str(path / "tokenizer.json"))
    slugs = EXPERTS[: config.num_experts]
    experts = [{"slug": s, "title": s.title(), "owner": f"{s} owner", "corpus": s, "licence": "MIT"} for s in slugs]
    (path / "experts.json").write_text(json.dumps({"experts": experts, "opt_out_exact": True}))
    return path
