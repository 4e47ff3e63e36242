"""What a FlexOlmo checkpoint folder must contain: files, tensor names, shapes, bytes.

Everything here is decided from `config.json` and the headers of the
safetensors files, before any weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from webapp.inference.card import read_json
from webapp.inference.config import ModelConfig
from webapp.inference.errors import CheckpointError

_INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies and how large it is."""

    file: Path
    shape: tuple[int, ...]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a loaded checkpoint takes."""

    shared_bytes: int
    expert_bytes: int
    n_experts: int
    cache_bytes_per_token: int

    @property
    def weight_bytes(self) -> int:
        return self.shared_bytes + self.n_experts * self.expert_bytes

    def __str__(self) -> str:
        gb = 1e9
        parts = f" ({self.shared_bytes / gb:.2f} GB shared, {self.n_experts} × {self.expert_bytes / gb:.2f} GB experts)"
        return (
            f"{self.weight_bytes / gb:.2f} GB of weights{parts if self.n_experts else ''}, "
            f"{self.cache_bytes_per_token / 1e6:.3f} MB of key-value cache a token"
        )


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a folder, all present."""
    index = path / _INDEX_FILE
    if index.exists():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(index, 'needs an object "weight_map" of file names')
        names = sorted(set(weight_map.values()))
        files = [path / name for name in names if Path(name).name == name]
        if len(files) != len(names):
            raise CheckpointError(index, "names a file outside the checkpoint folder")
    else:
        files = sorted(path.glob("*.safetensors"))
    if not files:
        others = [file.name for file in path.glob("*.bin")] + [file.name for file in path.glob("*.pt")]
        hint = f"; {others[0]} is not read, convert it to safetensors" if others else ""
        raise CheckpointError(path, f"has no .safetensors file{hint}")
    for file in files:
        if not file.is_file():
            raise CheckpointError(file, f"is missing, but {_INDEX_FILE} lists it; download it again")
    return files


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder by name, from the files' headers alone."""
    found: dict[str, StoredTensor] = {}
    for file in weight_files(path):
        try:
            with safe_open(file, "pt") as handle:
                for name in handle.keys():  # noqa: SIM118 (not a mapping)
                    found[name] = StoredTensor(file, tuple(handle.get_slice(name).get_shape()))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(file, f"is damaged or cut short ({error}); download it again") from error
    return found


def shared_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor that is not an expert's, router rows included."""
    hidden = config.hidden_size
    head = config.head_size
    wide = {"q": config.num_attention_heads * head, "k": config.n_kv_heads * head}
    wide["v"] = wide["k"]
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        root = f"model.layers.{layer}."
        for letter, size in wide.items():
            yield f"{root}self_attn.{letter}_proj.weight", (size, hidden)
            if config.attention_bias:
                yield f"{root}self_attn.{letter}_proj.bias", (size,)
        yield f"{root}self_attn.o_proj.weight", (hidden, wide["q"])
        if config.attention_bias:
            yield f"{root}self_attn.o_proj.bias", (hidden,)
        yield f"{root}self_attn.q_norm.weight", (wide["q"],)
        yield f"{root}self_attn.k_norm.weight", (wide["k"],)
        yield f"{root}post_attention_layernorm.weight", (hidden,)
        yield f"{root}post_feedforward_layernorm.weight", (hidden,)
        yield f"{root}mlp.gate.weight", (config.num_experts, hidden)


def expert_shapes(
    config: ModelConfig, experts: Sequence[int], *, is_fused: bool
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of the experts' tensors, one key an expert or fused."""
    hidden, inner = config.hidden_size, config.intermediate_size
    for layer in range(config.num_hidden_layers):
        root = f"model.layers.{layer}.mlp.experts."
        if is_fused:
            yield f"{root}gate_up_proj", (config.num_experts, 2 * inner, hidden)
            yield f"{root}down_proj", (config.num_experts, hidden, inner)
            continue
        for expert in experts:
            yield f"{root}{expert}.gate_proj.weight", (inner, hidden)
            yield f"{root}{expert}.up_proj.weight", (inner, hidden)
            yield f"{root}{expert}.down_proj.weight", (hidden, inner)


def is_fused(stored: dict[str, StoredTensor]) -> bool:
    """Whether a layer's experts are stored as one tensor."""
    return "model.layers.0.mlp.experts.gate_up_proj" in stored


def check_tensors(path: Path, config: ModelConfig, stored: dict[str, StoredTensor]) -> None:
    """CheckpointError unless exactly the tensors of `config` are stored."""
    expected = dict(shared_shapes(config))
    expected.update(expert_shapes(config, range(config.num_experts), is_fused=is_fused(stored)))
    missing = sorted(expected.keys() - stored.keys())
    if missing:
        raise CheckpointError(path, f"{_some(missing)} missing from the safetensors files; download it again")
    allowed = {"lm_head.weight"} if config.tie_word_embeddings else set()
    surplus = sorted(stored.keys() - expected.keys() - allowed)
    if surplus:
        raise CheckpointError(path, f"{_some(surplus)} not part of this configuration; check config.json")
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise CheckpointError(
                stored[name].file, f"{name} has shape {stored[name].shape}, but config.json asks for {shape}"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more tensors are" if len(names) > 1 else " is"
    return f"{names[0]}{more}"


def estimate_memory(
    config: ModelConfig, n_resident: int, bytes_per_value: int, cache_bytes_per_value: int | None = None
) -> MemoryEstimate:
    """Bytes needed for `n_resident` experts of `config` in a dtype of that width."""
    shared = 0
    for _, shape in shared_shapes(config):
        size = shape[0]
        for side in shape[1:]:
            size *= side
        shared += size
    expert = 3 * config.num_hidden_layers * config.hidden_size * config.intermediate_size
    cache = 2 * config.num_hidden_layers * config.n_kv_heads * config.head_size
    width, cache_width = bytes_per_value, cache_bytes_per_value or bytes_per_value
    return MemoryEstimate(shared * width, expert * width, n_resident, cache * cache_width)
