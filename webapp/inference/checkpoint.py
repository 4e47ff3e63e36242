"""Loading a FlexOlmo checkpoint from safetensors, whole or with some experts only."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from webapp.inference import layout
from webapp.inference.announcing import Announce, say_nothing
from webapp.inference.card import EXPERTS_FILE, CheckpointCard, read_checkpoint_card
from webapp.inference.config import CheckpointConfig, ModelConfig, read_config, rotary_tables
from webapp.inference.decoder import (
    Decoder,
    DecoderShape,
    DecoderWeights,
    ExpertWeights,
    LayerWeights,
    working_dtype,
)
from webapp.inference.errors import CheckpointError
from webapp.inference.linear import Linear, WithheldLinear, make_linear, make_router, pick_way
from webapp.inference.placement import check_memory, give_back_memory, pick_device, pick_dtype
from webapp.inference.text_files import eos_token_ids, read_tokenizer


@dataclass
class LoadedCheckpoint:
    """A checkpoint in memory. `expert_slugs` names the resident experts in router order.

    Those `withheld` have a place among them, but neither weights nor router rows.
    """

    path: Path
    digest: str
    card: CheckpointCard
    expert_slugs: tuple[str, ...]
    tokenizer: Tokenizer
    context_length: int
    n_parameters: int
    eos_token_ids: frozenset[int]
    memory: layout.MemoryEstimate
    config: CheckpointConfig
    decoder: Decoder
    experts_file: Path | None = None
    withheld: frozenset[str] = frozenset()

    @property
    def available_slugs(self) -> tuple[str, ...]:
        """The experts that a request may enable, in router order."""
        return tuple(slug for slug in self.expert_slugs if slug not in self.withheld)

    def withhold(self, slug: str) -> None:
        """Take an expert out of memory. Not while a forward pass runs."""
        self.decoder.withhold(self.expert_slugs.index(slug))
        self.withheld |= {slug}
        give_back_memory(self.decoder.device)

    def restore(self, slug: str, layers: Sequence[ExpertWeights]) -> None:
        """Put an expert of `read_expert` back into memory. Not while a forward pass runs."""
        self.decoder.restore(self.expert_slugs.index(slug), layers)
        self.withheld -= {slug}

    def mask_for(self, experts: Sequence[str] | frozenset[str]) -> tuple[bool, ...]:
        """The mask over resident experts with exactly `experts` on."""
        return tuple(slug in experts for slug in self.expert_slugs)


def checkpoint_digest(path: Path, experts_file: Path | None = None) -> str:
    """SHA-256 over names and contents of all files that decide what the model says."""
    names = ["config.json", "generation_config.json", "tokenizer.json", EXPERTS_FILE]
    files = {name: path / name for name in names if (path / name).is_file()}
    files |= {file.name: file for file in layout.weight_files(path)}
    if experts_file is not None:
        files[EXPERTS_FILE] = experts_file
    total = hashlib.sha256()
    for name, file in sorted(files.items()):
        with file.open("rb") as stream:
            total.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def load_checkpoint(
    path: Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    resident_experts: Sequence[str] | None = None,
    withheld_experts: Collection[str] = (),
    experts_file: Path | None = None,
    multiply: str = "auto",
    announce: Announce = say_nothing,
) -> LoadedCheckpoint:
    """Read a checkpoint folder; with `resident_experts`, only these experts' weights.

    Of `withheld_experts` nothing is read, but they may be put in later. `experts_file` names
    the experts in place of the folder's own experts.json. `announce` is told the memory
    needed before any weight is read.

    dtype "auto" is float32 on the CPU (bfloat16 above 500 million parameters) and
    bfloat16 on CUDA. `multiply` is "auto", "compiled" or "torch" (`linear.pick_way`).
    Raises CheckpointError, with the file and the reason, before any weight is read when
    files, tensors or memory are missing.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(path, "is not a folder; give the folder that holds config.json")
    config = read_config(path)
    card = read_checkpoint_card(path, experts_file)
    indices = _resident_indices(path, card, resident_experts)
    withheld = frozenset(card.slugs[index] for index in indices) & frozenset(withheld_experts)
    n_read = len(indices) - len(withheld)
    if not n_read:
        raise CheckpointError(path / EXPERTS_FILE, "has no expert left: all that would be loaded are withheld")
    stored = layout.stored_tensors(path)
    layout.check_tensors(path, config.model, stored)
    tokenizer = read_tokenizer(path, config.model.vocab_size)
    target = pick_device(path, device)
    memory = layout.estimate_memory(config.model, n_read, 1)
    torch_dtype = pick_dtype(dtype, target, memory.weight_bytes)
    n_parameters = memory.weight_bytes
    memory = layout.estimate_memory(
        config.model, n_read, torch_dtype.itemsize, working_dtype(torch_dtype, target).itemsize
    )
    check_memory(path, memory, target, announce)
    digest = checkpoint_digest(path, experts_file)
    try:
        way = pick_way(multiply, torch_dtype, target)
    except ValueError as error:
        raise CheckpointError(path, f"cannot be loaded as asked: {error}") from error
    with ExitStack() as stack:
        source = _Source(stack, stored, torch_dtype, target, way)
        try:
            weights = _read_weights(config, source, indices, [card.slugs[index] in withheld for index in indices])
        except (SafetensorError, OSError) as error:
            raise CheckpointError(path, f"the weights cannot be read ({error})") from error
    return LoadedCheckpoint(
        path=path,
        digest=digest,
        card=card,
        expert_slugs=tuple(card.slugs[index] for index in indices),
        tokenizer=tokenizer,
        context_length=config.model.max_position_embeddings,
        n_parameters=n_parameters,
        eos_token_ids=eos_token_ids(path, config.eos_token_id, config.model.vocab_size),
        memory=memory,
        config=config,
        decoder=Decoder(_decoder_shape(config.model, len(indices)), weights, way),
        experts_file=experts_file,
        withheld=withheld,
    )


def read_expert(checkpoint: LoadedCheckpoint, slug: str) -> list[ExpertWeights]:
    """One expert's weights, read from the folder again, a part a block.

    Raises CheckpointError when the folder is no longer what was loaded.
    """
    path, decoder = checkpoint.path, checkpoint.decoder
    if checkpoint_digest(path, checkpoint.experts_file) != checkpoint.digest:
        raise CheckpointError(path, "was changed since it was loaded; restart the worker")
    stored = layout.stored_tensors(path)
    with ExitStack() as stack:
        source = _Source(stack, stored, decoder.dtype, decoder.device, decoder.way)
        index = checkpoint.card.slugs.index(slug)
        try:
            return [source.read_expert(layer, index) for layer in range(decoder.shape.n_layers)]
        except (SafetensorError, OSError) as error:
            raise CheckpointError(path, f"the weights cannot be read ({error})") from error


class _Source:
    """Tensors by name, each read straight from its file to the device."""

    def __init__(
        self,
        stack: ExitStack,
        stored: dict[str, layout.StoredTensor],
        dtype: torch.dtype,
        device: torch.device,
        way: str,
    ) -> None:
        self._stored = stored
        self._way = way
        self._dtype, self._device = dtype, device
        files = {tensor.file for tensor in stored.values()}
        self._open = {file: stack.enter_context(safe_open(file, "pt")) for file in files}

    def read(self, name: str) -> Tensor:
        return self._cast(self._open[self._stored[name].file].get_tensor(name))

    def read_norm(self, name: str) -> Tensor:
        """A norm's weights, in the dtype in which the decoder works between products."""
        return self.read(f"{name}.weight").to(working_dtype(self._dtype, self._device))

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        return make_linear(weight, bias, way=self._way)

    def read_linear(self, *names: str) -> Linear:
        """Matrices stored (out, in) and their biases, if they have any, side by side as one product."""
        weights = [self.read(f"{name}.weight") for name in names]
        biases = [self.read(f"{name}.bias") for name in names if f"{name}.bias" in self._stored]
        return self.linear(torch.cat(weights), torch.cat(biases) if biases else None)

    def read_linear_part(self, name: str, index: int) -> Linear:
        """One expert's matrix of a fused tensor, without reading the others."""
        part = self._open[self._stored[name].file].get_slice(name)[index : index + 1][0]
        return self.linear(self._cast(part))

    def read_expert(self, layer: int, expert: int) -> ExpertWeights:
        """One expert's part of a block."""
        root = f"model.layers.{layer}.mlp."
        name = f"{root}experts."
        if layout.is_fused(self._stored):
            gate_up = self.read_linear_part(f"{name}gate_up_proj", expert)
            down = self.read_linear_part(f"{name}down_proj", expert)
        else:
            gate_up = self.read_linear(*(f"{name}{expert}.{part}_proj" for part in ("gate", "up")))
            down = self.read_linear(f"{name}{expert}.down_proj")
        router = self._open[self._stored[f"{root}gate.weight"].file].get_slice(f"{root}gate.weight")
        return ExpertWeights(self._cast(router[expert : expert + 1][0]), gate_up, down)

    def withheld_expert(self, hidden_size: int) -> ExpertWeights:
        """What stands in the place of an expert of which nothing is read."""
        row = torch.zeros(hidden_size, dtype=self._dtype, device=self._device)
        return ExpertWeights(row, WithheldLinear(), WithheldLinear())

    def _cast(self, tensor: Tensor) -> Tensor:
        # A copy, so that no weight stays mapped to a file that may be replaced.
        return torch.empty(tensor.shape, dtype=self._dtype, device=self._device).copy_(tensor)


def _read_weights(
    config: CheckpointConfig, source: _Source, experts: Sequence[int], is_withheld: Sequence[bool]
) -> DecoderWeights:
    embedding = source.read("model.embed_tokens.weight")
    norm = source.read_norm("model.norm")
    nothing = source.withheld_expert(config.model.hidden_size)
    layers = []
    for layer in range(config.model.num_hidden_layers):
        parts = [
            nothing if is_out else source.read_expert(layer, expert)
            for expert, is_out in zip(experts, is_withheld, strict=True)
        ]
        layers.append(_read_layer(source, layer, parts))
    head = source.linear(embedding) if config.model.tie_word_embeddings else source.read_linear("lm_head")
    cos, sin = rotary_tables(config)
    return DecoderWeights(embedding, norm, head, layers, cos.to(embedding.device), sin.to(embedding.device))


def _read_layer(source: _Source, layer: int, experts: Sequence[ExpertWeights]) -> LayerWeights:
    root = f"model.layers.{layer}."
    attention = f"{root}self_attn."
    router_rows = torch.stack([part.router_row for part in experts])
    q_norm, k_norm = source.read_norm(f"{attention}q_norm"), source.read_norm(f"{attention}k_norm")
    is_pair = q_norm.shape == k_norm.shape and q_norm.dtype == torch.float32
    return LayerWeights(
        qkv=source.read_linear(*(f"{attention}{letter}_proj" for letter in "qkv")),
        out=source.read_linear(f"{attention}o_proj"),
        q_norm=q_norm,
        k_norm=k_norm,
        qk_norm=torch.stack((q_norm, k_norm)) if is_pair else None,
        attention_norm=source.read_norm(f"{root}post_attention_layernorm"),
        feed_forward_norm=source.read_norm(f"{root}post_feedforward_layernorm"),
        router=make_router(router_rows),
        router_rows=router_rows,
        gate_up=[part.gate_up for part in experts],
        down=[part.down for part in experts],
    )


def _decoder_shape(config: ModelConfig, n_experts: int) -> DecoderShape:
    return DecoderShape(
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        n_kv_heads=config.n_kv_heads,
        head_size=config.head_size,
        hidden_size=config.hidden_size,
        inner_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        n_experts=n_experts,
        top_k=min(config.num_experts_per_tok, n_experts),
        norm_top_k=config.norm_topk_prob,
        epsilon=config.rms_norm_eps,
    )


def _resident_indices(path: Path, card: CheckpointCard, resident: Sequence[str] | None) -> list[int]:
    if resident is None:
        return list(range(len(card.experts)))
    unknown = sorted(set(resident) - set(card.slugs))
    if unknown or not resident:
        asked = f"has no expert {unknown[0]!r}" if unknown else "would be loaded without any expert"
        raise CheckpointError(path / EXPERTS_FILE, f"{asked}; it has {', '.join(card.slugs)}")
    return [index for index, slug in enumerate(card.slugs) if slug in resident]
