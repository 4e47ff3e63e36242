"""`config.json` of a FlexOlmo checkpoint, checked, without importing transformers.

transformers takes seconds to import; reading a checkpoint and answering must not.
Defaults are those of the published FlexOlmo (Shi et al., arXiv 2507.07024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from webapp.inference.card import read_json
from webapp.inference.errors import CheckpointError

_ROPE_TYPES = ("default", "linear", "llama3", "yarn")
_DEFAULT_THETA = 500_000.0


@dataclass(frozen=True)
class ModelConfig:
    """The part of config.json that the forward pass depends on; names as in transformers."""

    vocab_size: int = 100_352
    hidden_size: int = 4096
    intermediate_size: int = 11_008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 0  # 0: as many as attention heads
    max_position_embeddings: int = 4096
    num_experts: int = 7
    num_experts_per_tok: int = 5
    rms_norm_eps: float = 1e-6
    norm_topk_prob: bool = False
    attention_bias: bool = False
    tie_word_embeddings: bool = False

    @property
    def n_kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class CheckpointConfig:
    """A checked config.json: the typed part, and the whole object as it was read."""

    model: ModelConfig
    body: Mapping[str, Any]

    @property
    def rope(self) -> Mapping[str, Any]:
        """Rotary parameters, from today's key or the two older ones."""
        found = self.body.get("rope_parameters") or self.body.get("rope_scaling") or {}
        kind = found.get("rope_type") or found.get("type") or "default"
        return {"rope_theta": self.body.get("rope_theta", _DEFAULT_THETA), **found, "rope_type": kind}

    @property
    def pad_token_id(self) -> object:
        return self.body.get("pad_token_id", 100_277)

    @property
    def eos_token_id(self) -> object:
        return self.body.get("eos_token_id", 100_257)


def read_config(path: Path, *, allow_dense: bool = False) -> CheckpointConfig:
    """The folder's configuration; CheckpointError with the value that cannot be used.

    With `allow_dense` a dense OLMo 2 counts as one expert: an owner's training starts from it.
    """
    file = path / "config.json"
    body = read_json(file)
    kind = body.get("model_type")
    if allow_dense and kind == "olmo2":
        body = {**body, "num_experts": 1, "num_experts_per_tok": 1}
    elif kind != "flex_olmo":
        raise CheckpointError(file, f"model_type is {kind!r}; expert switching needs 'flex_olmo'")
    model = ModelConfig(
        **{field.name: _read_value(file, body, field.name, field.default) for field in fields(ModelConfig)}
    )
    config = CheckpointConfig(model, body)
    _check(file, config)
    return config


def _read_value(file: Path, body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(default, bool):
        is_good, what = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        is_good, what = type(value) is int and value >= 1, "a whole number of at least 1"
    else:
        is_good, what = type(value) in (int, float) and value > 0, "a number above 0"
    if not is_good:
        raise CheckpointError(file, f"{name} is {value!r}; it must be {what}")
    return value


def _check(file: Path, config: CheckpointConfig) -> None:
    model = config.model
    if model.num_experts_per_tok > model.num_experts:
        raise CheckpointError(
            file, f"num_experts_per_tok is {model.num_experts_per_tok}, but there are {model.num_experts} experts"
        )
    if model.hidden_size % model.num_attention_heads or model.head_size % 2:
        raise CheckpointError(file, "hidden_size must be an even multiple of num_attention_heads")
    if model.num_attention_heads % model.n_kv_heads:
        raise CheckpointError(file, "num_attention_heads must be a multiple of num_key_value_heads")
    if config.body.get("hidden_act", "silu") != "silu":
        raise CheckpointError(file, f"hidden_act {config.body['hidden_act']!r} is not supported; FlexOlmo uses 'silu'")
    for name in ("rope_parameters", "rope_scaling"):
        if not isinstance(config.body.get(name) or {}, dict):
            raise CheckpointError(file, f"{name} must be an object")
    if config.rope["rope_type"] not in _ROPE_TYPES:
        raise CheckpointError(
            file, f"rope_type {config.rope['rope_type']!r} is not supported; known: {', '.join(_ROPE_TYPES)}"
        )
    for name in ("rope_theta", "factor"):
        if type(config.rope.get(name, 1.0)) not in (int, float):
            raise CheckpointError(file, f"{name} is {config.rope[name]!r}; it must be a number")


def rotary_tables(config: CheckpointConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines (context, head) in float32 for all positions."""
    rope, size = config.rope, config.model.head_size
    positions = torch.arange(config.model.max_position_embeddings)
    if rope["rope_type"] not in ("default", "linear"):
        return _transformers_tables(config, positions)
    frequencies = 1.0 / (rope["rope_theta"] ** (torch.arange(0, size, 2).float() / size))
    if rope["rope_type"] == "linear":
        frequencies = frequencies / rope.get("factor", 1.0)
    angles = positions[:, None].float() * frequencies
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def _transformers_tables(config: CheckpointConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    from transformers import FlexOlmoConfig
    from transformers.models.flex_olmo.modeling_flex_olmo import FlexOlmoRotaryEmbedding

    rotary = FlexOlmoRotaryEmbedding(FlexOlmoConfig.from_dict(dict(config.body)))
    cos, sin = rotary(torch.zeros(1), positions[None])
    return cos[0], sin[0]
