"""Writing a checkpoint that physically holds only some experts.

The result is a valid transformers checkpoint (keys renumbered, router rows removed),
which other engines can serve. Tensors of removed experts are never read.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from webapp.inference import layout
from webapp.inference.card import EXPERTS_FILE, read_checkpoint_card, read_json
from webapp.inference.config import read_config
from webapp.inference.contributions import keep_contributions
from webapp.inference.errors import CheckpointError

MAX_SHARD_BYTES = 4_000_000_000
UNTUNED_ROUTER = "before_tuning/router.safetensors"
_EXPERT_KEY = re.compile(r"(.*\.mlp\.experts\.)(\d+)(\..*)")
_FUSED_KEY = re.compile(r".*\.mlp\.experts\.(gate_up_proj|down_proj)")
COPIED_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)


def reduce_checkpoint(
    src: Path,
    out: Path,
    experts: Sequence[str],
    *,
    experts_file: Path | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    before_tuning: bool = False,
) -> None:
    """Write the subset `experts` of `src` to the new folder `out`, all or nothing.

    `before_tuning` takes the router's rows from before they were tuned on text of all domains, so that
    nothing of the removed experts' data is left.

    `experts_file` names the experts in place of the folder's own experts.json. Weights are
    streamed: at most one shard of `max_shard_bytes` is held in memory.

    Raises CheckpointError when `src` is broken, `out` exists, or an expert is unknown.
    """
    src, out = Path(src), Path(out)
    config = read_config(src)
    card = read_checkpoint_card(src, experts_file)
    unknown = sorted(set(experts) - set(card.slugs))
    if unknown or not experts:
        what = f"has no expert {unknown[0]!r}" if unknown else "cannot be reduced to no expert"
        raise CheckpointError(src / EXPERTS_FILE, f"{what}; choose from {', '.join(card.slugs)}")
    if out.exists():
        raise CheckpointError(out, "exists already; choose a new folder")
    layout.check_tensors(src, config.model, layout.stored_tensors(src))
    untuned = src / UNTUNED_ROUTER if before_tuning else None
    if untuned and not untuned.is_file():
        raise CheckpointError(untuned, "is missing: the rows from before tuning were not kept; export without them")
    kept = [index for index, slug in enumerate(card.slugs) if slug in experts]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        part = Path(folder) / out.name
        part.mkdir()
        body = read_json(src / "config.json")
        body["num_experts"] = len(kept)
        body["num_experts_per_tok"] = min(config.model.num_experts_per_tok, len(kept))
        if isinstance(config.pad_token_id, int) and config.pad_token_id >= config.model.vocab_size:
            body["pad_token_id"] = None  # transformers' default; it refuses to build a smaller vocabulary with it
        write_shards(_kept_tensors(src, kept, untuned), part, max_shard_bytes)
        (part / "config.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        slugs = [card.slugs[index] for index in kept]
        reduced = card.keeping(slugs)
        if untuned:
            reduced = replace(reduced, opt_out_exact=True)
        (part / EXPERTS_FILE).write_text(reduced.to_json(), encoding="utf-8")
        keep_contributions(src, part, slugs)
        for name in COPIED_FILES:
            if (src / name).is_file():
                shutil.copy(src / name, part / name)
        part.rename(out)


def write_shards(tensors: Iterator[tuple[str, Tensor]], folder: Path, max_bytes: int) -> None:
    """Write `tensors` as transformers does: one file, or numbered shards with an index."""
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    n_held = n_total = 0
    for name, tensor in tensors:
        n_bytes = tensor.numel() * tensor.itemsize
        if held and n_held + n_bytes > max_bytes:
            shards.append(_save(held, folder, len(shards)))
            held, n_held = {}, 0
        held[name] = tensor
        n_held, n_total = n_held + n_bytes, n_total + n_bytes
    shards.append(_save(held, folder, len(shards)))
    names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    for number, name in enumerate(names):
        (folder / _part_name(number)).rename(folder / name)
    if len(shards) > 1:
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": n_total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _save(tensors: dict[str, Tensor], folder: Path, number: int) -> list[str]:
    save_file(tensors, folder / _part_name(number), metadata={"format": "pt"})
    return list(tensors)


def _part_name(number: int) -> str:
    return f"part-{number}"


def _kept_tensors(src: Path, kept: Sequence[int], untuned: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of the reduced checkpoint, read one by one; router rows from `untuned` where given."""
    places = {expert: place for place, expert in enumerate(kept)}
    rows = load_file(untuned) if untuned else {}
    for file in layout.weight_files(src):
        with safe_open(file, "pt") as handle:
            for name in handle.keys():  # noqa: SIM118 (not a mapping)
                match = _EXPERT_KEY.fullmatch(name)
                if match and int(match[2]) in places:
                    yield f"{match[1]}{places[int(match[2])]}{match[3]}", handle.get_tensor(name)
                elif not match and _FUSED_KEY.fullmatch(name):
                    part = handle.get_slice(name)
                    yield name, torch.stack([part[index : index + 1][0] for index in kept])
                elif name.endswith(".mlp.gate.weight"):
                    yield name, rows.get(name, handle.get_tensor(name))[list(kept)].contiguous()
                elif not match:
                    yield name, handle.get_tensor(name)
