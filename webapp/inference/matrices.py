"""The digest of an expert's feed-forward matrices, the same in what an owner sends and in the merged weights.

The router's rows are left out: they are sent in float32, merged in the checkpoint's dtype and may be tuned
afterwards. Shared weights are left out too: they are the base's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from webapp.inference import layout
from webapp.inference.card import CheckpointCard
from webapp.inference.config import read_config
from webapp.inference.contributions import CONTRIBUTIONS_FILE, ContributionRecord
from webapp.inference.errors import CheckpointError

PARTS = ("gate", "up", "down")


def digest_matrices(matrices: Iterable[Tensor]) -> str:
    """Return the SHA-256 of the matrices' bytes as they are stored: each layer's gate, up, down, first layer first."""
    total = hashlib.sha256()
    for matrix in matrices:
        total.update(matrix.cpu().contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()


def stored_digest(path: Path, position: int) -> str:
    """Return the digest of the expert at `position` of the router in a checkpoint folder, one matrix in memory.

    Raises `CheckpointError` when the folder's tensors are not those of its configuration.
    """
    return digest_matrices(_stored_matrices(path, position))


def check_contributions(path: Path, card: CheckpointCard, records: Mapping[str, ContributionRecord]) -> None:
    """Raise `CheckpointError` for a record whose digest is not that of the weights beside it.

    Records without digest, and those of experts that `card` does not name, are left alone.
    """
    for position, slug in enumerate(card.slugs):
        record = records.get(slug)
        if record and record.matrices_sha256 and record.matrices_sha256 != stored_digest(path, position):
            reason = (
                f"records other matrices of the expert {slug!r} than the weights hold; copy the merged folder again"
            )
            raise CheckpointError(path / CONTRIBUTIONS_FILE, reason)


def _stored_matrices(path: Path, position: int) -> Iterator[Tensor]:
    config = read_config(path).model
    stored = layout.stored_tensors(path)
    layout.check_tensors(path, config, stored)
    fused = layout.is_fused(stored)
    for layer in range(config.num_hidden_layers):
        root = f"model.layers.{layer}.mlp.experts."
        if fused:
            both = _slice(stored[f"{root}gate_up_proj"].file, f"{root}gate_up_proj", position)
            yield from torch.chunk(both, 2)  # gate, then up
            yield _slice(stored[f"{root}down_proj"].file, f"{root}down_proj", position)
            continue
        for part in PARTS:
            name = f"{root}{position}.{part}_proj.weight"
            with safe_open(stored[name].file, "pt") as handle:
                yield handle.get_tensor(name)


def _slice(file: Path, name: str, position: int) -> Tensor:
    with safe_open(file, "pt") as handle:
        part: Tensor = handle.get_slice(name)[position : position + 1][0]
        return part
