"""Writes a trained model as a checkpoint that transformers and this site load."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from webapp.inference.card import EXPERTS_FILE, CheckpointCard, ExpertCard, read_json
from webapp.inference.contributions import ContributionRecord, write_contributions
from webapp.inference.errors import CheckpointError
from webapp.inference.reduce import COPIED_FILES, MAX_SHARD_BYTES, UNTUNED_ROUTER, write_shards
from webapp.inference.training.data import END_OF_TEXT, PADDING
from webapp.inference.training.load import tensor_names
from webapp.inference.training.model import ModelShape, TrainingModel


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself: its experts in router order, its card in Markdown.

    `untuned_rows` (layers, experts, width) are the router's rows from before tuning; with them
    `opt_out_exact` must be false, since tuned rows were fitted to text of all domains. `contributions` is what
    owners sent.
    """

    experts: Sequence[ExpertCard]
    card: str
    opt_out_exact: bool = True
    untuned_rows: Tensor | None = None
    contributions: Sequence[ContributionRecord] = ()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder that becomes `out` when all went well. Raises `CheckpointError` when `out` exists."""
    if out.exists():
        raise CheckpointError(out, "exists already; choose a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        part = Path(folder) / out.name
        part.mkdir()
        yield part
        part.rename(out)


def export_new(
    model: TrainingModel, tokenizer: Tokenizer, manifest: Manifest, out: Path, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write a model with its own tokenizer to the new folder `out`."""
    with new_folder(out) as part:
        tokenizer.save(str(part / "tokenizer.json"))
        _write(model, manifest, new_config(model.shape, tokenizer, dtype), dtype, part)


def export_on(base: Path, model: TrainingModel, manifest: Manifest, out: Path) -> None:
    """Write a model that grew out of the checkpoint `base`, with its tokenizer, configuration and dtype."""
    body = read_json(base / "config.json")
    dtype = getattr(torch, str(body.get("dtype") or body.get("torch_dtype") or "bfloat16"), torch.bfloat16)
    n_experts = model.shape.n_experts
    body |= {
        "architectures": ["FlexOlmoForCausalLM"],
        "model_type": "flex_olmo",
        "num_experts": n_experts,
        "num_experts_per_tok": model.shape.top_k or n_experts,
        "norm_topk_prob": False,
    }
    with new_folder(out) as part:
        for name in COPIED_FILES:
            if (base / name).is_file():
                shutil.copy(base / name, part / name)
        _write(model, manifest, body, dtype, part)


def transformers_weights(model: TrainingModel) -> dict[str, Tensor]:
    """Return the weights under the names of published FlexOlmo checkpoints, one key an expert."""
    ours = dict(model.named_parameters())
    return {theirs: ours[name].detach() for name, theirs in tensor_names(model.shape)}


def new_config(shape: ModelShape, tokenizer: Tokenizer, dtype: torch.dtype) -> dict[str, Any]:
    """Return config.json of a `FlexOlmoForCausalLM` of this shape; every expert is active."""
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
        "rms_norm_eps": shape.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(END_OF_TEXT),
        "pad_token_id": tokenizer.token_to_id(PADDING),
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people to read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write(model: TrainingModel, manifest: Manifest, config: dict[str, Any], dtype: torch.dtype, folder: Path) -> None:
    weights = transformers_weights(model)
    write_shards(((n, w.to("cpu", dtype).contiguous()) for n, w in weights.items()), folder, MAX_SHARD_BYTES)
    write_json(folder / "config.json", config)
    card = CheckpointCard(tuple(manifest.experts), manifest.opt_out_exact)
    (folder / EXPERTS_FILE).write_text(card.to_json(), encoding="utf-8")
    (folder / "README.md").write_text(manifest.card, encoding="utf-8")
    write_contributions(folder, manifest.contributions)
    if manifest.untuned_rows is not None:
        names = [theirs for ours, theirs in tensor_names(model.shape) if ours.endswith(".router")]
        rows = zip(names, manifest.untuned_rows, strict=True)
        (folder / UNTUNED_ROUTER).parent.mkdir()
        save_file({name: row.to("cpu", dtype).contiguous() for name, row in rows}, folder / UNTUNED_ROUTER)
