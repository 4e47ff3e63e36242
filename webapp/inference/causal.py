"""Loading any causal language model that transformers knows: OLMo 2, OLMoE, Tülu 3, …

Only safetensors are read and no code of a checkpoint is run. Imports transformers when a
model is loaded, not before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from webapp.inference import layout
from webapp.inference.announcing import Announce, say_nothing
from webapp.inference.card import read_json
from webapp.inference.checkpoint import checkpoint_digest
from webapp.inference.errors import CheckpointError
from webapp.inference.placement import check_memory, pick_device, pick_dtype
from webapp.inference.text_files import eos_token_ids, read_tokenizer

_ATTENTION_TYPES = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
_LENGTH_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass
class CausalModel:
    """A model of transformers in memory, with what answering needs. It has no switchable experts."""

    path: Path
    digest: str
    tokenizer: Tokenizer
    context_length: int
    n_parameters: int
    eos_token_ids: frozenset[int]
    memory: layout.MemoryEstimate
    model: Any

    @property
    def expert_slugs(self) -> tuple[str, ...]:
        return ()

    def mask_for(self, experts: Sequence[str] | frozenset[str]) -> tuple[bool, ...]:
        return ()


def model_type_of(path: Path) -> str:
    """The architecture that config.json names; CheckpointError when it names none."""
    kind = read_json(path / "config.json").get("model_type")
    if not isinstance(kind, str) or not kind:
        raise CheckpointError(path / "config.json", "names no model_type; it must say which architecture this is")
    return kind


def load_causal_model(
    path: Path, *, dtype: str = "auto", device: str = "auto", announce: Announce = say_nothing
) -> CausalModel:
    """Read a checkpoint folder of any architecture that transformers has for causal language models.

    The weights go shard by shard to the device. `announce` is told the memory needed before
    any weight is read. Raises CheckpointError with the file and the reason.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(path, "is not a folder; give the folder that holds config.json")
    kind = model_type_of(path)
    stored = layout.stored_tensors(path)
    config = _read_config(path, kind)
    text = config.get_text_config(decoder=True)
    tokenizer = read_tokenizer(path, text.vocab_size)
    target = pick_device(path, device)
    n_parameters = sum(math.prod(tensor.shape) for tensor in stored.values())
    torch_dtype = pick_dtype(dtype, target, n_parameters)
    memory = layout.MemoryEstimate(
        n_parameters * torch_dtype.itemsize, 0, 0, _cache_values_per_token(text) * torch_dtype.itemsize
    )
    check_memory(path, memory, target, announce)
    return CausalModel(
        path=path,
        digest=checkpoint_digest(path),
        tokenizer=tokenizer,
        context_length=_context_length(path, text),
        n_parameters=n_parameters,
        eos_token_ids=eos_token_ids(path, config.eos_token_id, text.vocab_size),
        memory=memory,
        model=_read_model(path, torch_dtype, target),
    )


def _read_config(path: Path, kind: str) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise CheckpointError(
            path / "config.json",
            f"is of architecture {kind!r}, which the installed transformers has no causal language model for "
            "(code of a checkpoint is never run); serve it elsewhere and add it with add_remote_checkpoint",
        )
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CheckpointError(path / "config.json", f"cannot be used ({_first_line(error)})") from error
    if getattr(config, "quantization_config", None):
        raise CheckpointError(path / "config.json", "is quantized; give the original weights")
    others = set(getattr(config.get_text_config(decoder=True), "layer_types", None) or ()) - _ATTENTION_TYPES
    if others:
        raise CheckpointError(
            path / "config.json",
            f"has layers of type {sorted(others)[0]}, which keep more than keys and values; "
            "serve it elsewhere and add it with add_remote_checkpoint",
        )
    return config


def _read_model(path: Path, dtype: torch.dtype, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise CheckpointError(path, f"the weights cannot be used ({_first_line(error)})") from error
    _check_report(path, report)
    return model.eval()


def _check_report(path: Path, report: Mapping[str, Any]) -> None:
    """transformers fills missing weights with random numbers; nobody wants answers from those."""
    for problem, advice in (
        ("missing_keys", "missing from the safetensors files; download it again"),
        ("mismatched_keys", "of another shape than config.json asks for"),
    ):
        names = sorted(str(name) for name in report.get(problem) or ())
        if names:
            raise CheckpointError(path, f"{names[0]} and {len(names) - 1} more tensors are {advice}")


def _cache_values_per_token(config: Any) -> int:
    n_heads = getattr(config, "num_attention_heads", None) or 1
    n_kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    return int(2 * config.num_hidden_layers * n_kv_heads * head_size)


def _context_length(path: Path, config: Any) -> int:
    for name in _LENGTH_NAMES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    raise CheckpointError(path / "config.json", f"states no context length; add {_LENGTH_NAMES[0]}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
