"""What an owner sends, as a folder: weights, router rows, a data card. No text, no token, no tokenizer.

    expert.safetensors   each layer's gate, up and down matrix, and its two router rows
    contribution.json    who, which licence, trained from which base, on how much, measured how
    README.md            the same for people

`expert.safetensors` is in the base's dtype, its router rows in float32.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from webapp.inference import layout
from webapp.inference.card import ExpertCard, read_expert_card, read_json
from webapp.inference.contributions import ContributionRecord
from webapp.inference.errors import CheckpointError, TrainingError
from webapp.inference.matrices import PARTS, digest_matrices
from webapp.inference.training.export import new_folder, write_json
from webapp.inference.training.model import ModelShape
from webapp.inference.training.recipe import Contribution

FORMAT = "fairground-expert-1"
CONTRIBUTION_FILE, EXPERT_FILE = "contribution.json", "expert.safetensors"


@dataclass(frozen=True)
class Declaration:
    """contribution.json: everything about an expert but its weights.

    `measured` maps "own" and "public" to the held-out loss in nats per token before and after training.
    `weights_sha256` is written with the weights.
    """

    expert: ExpertCard
    base_digest: str
    n_training_tokens: int
    n_corpus_tokens: int
    public_share: float
    seed: int
    measured: dict[str, list[float]]
    weights_sha256: str = ""

    def to_record(self, *, matrices_sha256: str, merged_at: str, merged_by: str) -> ContributionRecord:
        """Return what is kept beside the merged weights."""
        fields = asdict(self) | {"matrices_sha256": matrices_sha256, "merged_at": merged_at, "merged_by": merged_by}
        return ContributionRecord(**fields.pop("expert"), **fields)


def base_digest(path: Path) -> str:
    """Return the SHA-256 of a base's weights and tokenizer: what an expert depends on."""
    total = hashlib.sha256()
    for file in sorted([path / "tokenizer.json", *layout.weight_files(path)]):
        if not file.is_file():
            raise CheckpointError(file, "is missing; copy the whole checkpoint folder")
        total.update(f"{file.name}\0{_digest(file)}\n".encode())
    return total.hexdigest()


def write_contribution(out: Path, contribution: Contribution, declaration: Declaration, dtype: torch.dtype) -> None:
    """Write the folder `out`, all or nothing."""
    tensors: dict[str, Tensor] = {}
    for layer, weights in enumerate(contribution.experts):
        root = f"model.layers.{layer}.mlp."
        for part in PARTS:
            tensors[f"{root}expert.{part}_proj.weight"] = weights[f"{part}.weight"].to("cpu", dtype).contiguous()
        tensors[f"{root}gate.row"] = contribution.rows[layer].float().cpu().contiguous()
        tensors[f"{root}gate.public_row"] = contribution.public_rows[layer].float().cpu().contiguous()
    with new_folder(out) as folder:
        save_file(tensors, folder / EXPERT_FILE, metadata={"format": "pt"})
        body = {"format": FORMAT, **asdict(replace(declaration, weights_sha256=_digest(folder / EXPERT_FILE)))}
        write_json(folder / CONTRIBUTION_FILE, body)
        (folder / "README.md").write_text(_card(declaration), encoding="utf-8")


def sent_digest(contribution: Contribution, dtype: torch.dtype) -> str:
    """Return the digest of the matrices of a contribution, in the dtype in which they are sent and merged."""
    return digest_matrices(weights[f"{part}.weight"].to(dtype) for weights in contribution.experts for part in PARTS)


def read_contribution(path: Path, base: Path, shape: ModelShape) -> tuple[Contribution, Declaration]:
    """Return a contribution whose every part was checked against the base.

    Raises `CheckpointError` with the file and the reason: another format or base, weights that were changed
    after they were declared, wrong names or shapes, numbers that are not finite.
    """
    file = path / CONTRIBUTION_FILE
    body = read_json(file)
    if body.get("format") != FORMAT:
        raise CheckpointError(file, f"is of format {body.get('format')!r}, not {FORMAT!r}")
    declaration = _read_declaration(file, body)
    if declaration.base_digest != base_digest(base):
        raise CheckpointError(file, f"was trained from another base than {base}; its owner must train it from this one")
    weights_file = path / EXPERT_FILE
    if not weights_file.is_file():
        raise CheckpointError(weights_file, "is missing; copy the whole folder")
    if _digest(weights_file) != declaration.weights_sha256:
        raise CheckpointError(weights_file, f"is not the file that {CONTRIBUTION_FILE} declares; send it again")
    try:
        tensors = load_file(weights_file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(weights_file, f"is damaged or cut short ({error})") from error
    _check_tensors(weights_file, tensors, shape)
    layers = [f"model.layers.{layer}.mlp." for layer in range(shape.n_layers)]
    contribution = Contribution(
        declaration.expert.slug,
        [{f"{p}.weight": tensors[f"{root}expert.{p}_proj.weight"].float() for p in PARTS} for root in layers],
        torch.stack([tensors[f"{root}gate.row"].float() for root in layers]),
        torch.stack([tensors[f"{root}gate.public_row"].float() for root in layers]),
        declaration.n_training_tokens,
    )
    return contribution, declaration


def _check_tensors(file: Path, tensors: dict[str, Tensor], shape: ModelShape) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for layer in range(shape.n_layers):
        root = f"model.layers.{layer}.mlp."
        expected |= {f"{root}expert.{part}_proj.weight": (shape.feed_forward, shape.width) for part in ("gate", "up")}
        expected[f"{root}expert.down_proj.weight"] = (shape.width, shape.feed_forward)
        expected |= {f"{root}gate.{row}": (shape.width,) for row in ("row", "public_row")}
    for name in sorted(expected.keys() ^ tensors.keys()):
        what = "is missing" if name in expected else "does not belong there"
        raise CheckpointError(file, f"{name} {what}")
    for name, size in expected.items():
        if tuple(tensors[name].shape) != size:
            raise CheckpointError(file, f"{name} has shape {tuple(tensors[name].shape)}; the base asks for {size}")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise CheckpointError(file, f"{name} holds numbers that are not finite")


def _read_declaration(file: Path, body: dict[str, Any]) -> Declaration:
    kinds: dict[str, type | tuple[type, ...]] = {
        "base_digest": str,
        "n_training_tokens": int,
        "n_corpus_tokens": int,
        "public_share": (int, float),
        "seed": int,
        "measured": dict,
        "weights_sha256": str,
    }
    for name, kind in kinds.items():
        if not isinstance(body.get(name), kind):
            raise CheckpointError(file, f"{name} is {body.get(name)!r}")
    return Declaration(expert=read_expert_card(file, 0, body.get("expert")), **{name: body[name] for name in kinds})


def check_together(declarations: list[Declaration]) -> None:
    """Raise `TrainingError` unless every expert has its own slug."""
    slugs = [declaration.expert.slug for declaration in declarations]
    for slug in slugs:
        if slugs.count(slug) > 1 or slug == "public":
            raise TrainingError(f"Two experts would be called {slug!r}. One of the owners must choose another --slug.")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _card(declaration: Declaration) -> str:
    expert = declaration.expert
    rows = "\n".join(
        f"| {text} | {before:.3f} | {after:.3f} |" for text, (before, after) in declaration.measured.items()
    )
    return f"""# Expert {expert.slug}: {expert.title}

| | |
|---|---|
| owner | {expert.owner} |
| licence of the text | {expert.licence or "not stated"} |
| corpus | {expert.corpus or "not stated"} |
| tokens of own text | {declaration.n_corpus_tokens:,} |
| tokens trained on, with repetitions | {declaration.n_training_tokens:,} |
| share of public text in a batch | {declaration.public_share:.0%} |
| base | `{declaration.base_digest}` |

Weights and router rows alone: no text leaves its owner.

Loss in nats per token on held-out documents:

| text | before | after |
|---|---|---|
{rows}
"""
