"""FlexOlmo checkpoints with random weights, five experts, all of them used, for timing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import FlexOlmoConfig, FlexOlmoForCausalLM

SLUGS = ("public", "web", "numerics", "learning", "symbolic")


@dataclass(frozen=True)
class Size:
    """Widths and depth of a model."""

    hidden: int
    inner: int
    layers: int
    heads: int
    vocabulary: int = 4096


SIZES = {
    "12M": Size(hidden=256, inner=560, layers=4, heads=4),
    "60M": Size(hidden=768, inner=1536, layers=3, heads=12),
    "60M-deep": Size(hidden=512, inner=1088, layers=6, heads=8),
    "250M": Size(hidden=1024, inner=2048, layers=7, heads=16),
    "1B": Size(hidden=1536, inner=4096, layers=10, heads=16, vocabulary=8192),
}


def make_random_checkpoint(path: Path, size: Size, dtype: torch.dtype = torch.float32) -> Path:
    """Write a checkpoint folder with a tokenizer of single bytes; the same every time."""
    torch.manual_seed(0)
    config = FlexOlmoConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=512,
        num_experts=len(SLUGS),
        num_experts_per_tok=len(SLUGS),
        pad_token_id=0,
        eos_token_id=None,
        initializer_range=0.1,
        dtype=dtype,
    )
    FlexOlmoForCausalLM(config).to(dtype).save_pretrained(path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # it comes in another order every time
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "experts.json").write_text(json.dumps({"experts": [{"slug": slug} for slug in SLUGS]}))
    return path
