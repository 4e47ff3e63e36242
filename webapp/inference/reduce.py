"""Writing a checkpoint that physically holds only some experts.

The result is a valid transformers checkpoint (keys renumbered, router rows removed),
which other engines can serve. Tensors of removed experts are never read.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from webapp.inference import layout
from webapp.inference.card import EXPERTS_FILE, read_checkpoint_card, read_json
from webapp.inference.config import read_config
from webapp.inference.errors import CheckpointError

_EXPERT_KEY = re.compile(r"(.*\.mlp\.experts\.)(\d+)(\..*)")
_FUSED_KEY = re.compile(r".*\.mlp\.experts\.(gate_up_proj|down_proj)")
_COPIED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")


def reduce_checkpoint(src: Path, out: Path, experts: Sequence[str]) -> None:
    """Write the subset `experts` of `src` to the new folder `out`, all or nothing.

    Raises CheckpointError when `src` is broken, `out` exists, or an expert is unknown.
    """
    src, out = Path(src), Path(out)
    config = read_config(src)
    card = read_checkpoint_card(src)
    unknown = sorted(set(experts) - set(card.slugs))
    if unknown or not experts:
        what = f"has no expert {unknown[0]!r}" if unknown else "cannot be reduced to no expert"
        raise CheckpointError(src / EXPERTS_FILE, f"{what}; choose from {', '.join(card.slugs)}")
    if out.exists():
        raise CheckpointError(out, "exists already; choose a new folder")
    layout.check_tensors(src, config.model, layout.stored_tensors(src))
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
        save_file(_kept_tensors(src, kept), part / "model.safetensors", metadata={"format": "pt"})
        (part / "config.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        slugs = [card.slugs[index] for index in kept]
        (part / EXPERTS_FILE).write_text(card.keeping(slugs).to_json(), encoding="utf-8")
        for name in _COPIED:
            if (src / name).is_file():
                shutil.copy(src / name, part / name)
        part.rename(out)


def _kept_tensors(src: Path, kept: Sequence[int]) -> dict[str, Tensor]:
    places = {expert: place for place, expert in enumerate(kept)}
    tensors: dict[str, Tensor] = {}
    for file in layout.weight_files(src):
        with safe_open(file, "pt") as handle:
            for name in handle.keys():  # noqa: SIM118 (not a mapping)
                match = _EXPERT_KEY.fullmatch(name)
                if match and int(match[2]) in places:
                    tensors[f"{match[1]}{places[int(match[2])]}{match[3]}"] = handle.get_tensor(name)
                elif not match and _FUSED_KEY.fullmatch(name):
                    part = handle.get_slice(name)
                    tensors[name] = torch.stack([part[index : index + 1][0] for index in kept])
                elif name.endswith(".mlp.gate.weight"):
                    tensors[name] = handle.get_tensor(name)[list(kept)].contiguous()
                elif not match:
                    tensors[name] = handle.get_tensor(name)
    return tensors
