"""Loss per domain × mask, and who is routed where: the figures of the model card."""

from __future__ import annotations

import torch
from torch import Tensor

from webapp.inference.training.data import TokenStream
from webapp.inference.training.loop import half_precision
from webapp.inference.training.model import TrainingModel, next_token_loss


@torch.no_grad()
def held_out_loss(model: TrainingModel, tokens: Tensor, *, length: int = 256, max_tokens: int = 24_576) -> float:
    """Return nats per token on the first `max_tokens` held-out tokens, in windows of `length`."""
    length = min(length, model.shape.context)
    n_rows = min((len(tokens) - 1) // length, max_tokens // length)
    if n_rows == 0:
        n_rows, length = 1, len(tokens) - 1
    starts = range(0, n_rows * length, length)
    rows = torch.stack([tokens[start : start + length + 1] for start in starts])
    total = 0.0
    for part in torch.split(rows.long(), 16):
        with half_precision(model.device):
            total += next_token_loss(model, part.to(model.device)).item() * len(part)
    return total / n_rows


def masks_of_interest(experts: list[str]) -> list[tuple[str, list[str]]]:
    """Return (title, enabled experts): public alone, public with each owner, all, all but each owner."""
    public, owners = experts[0], experts[1:]
    return [
        (f"{public} only", [public]),
        *((f"{public} + {owner}", [public, owner]) for owner in owners),
        ("all", experts),
        *((f"all but {owner}", [e for e in experts if e != owner]) for owner in owners),
    ]


def loss_table(model: TrainingModel, experts: list[str], streams: list[TokenStream]) -> list[tuple[str, list[float]]]:
    """Return one row a mask: its title and the loss on each stream's held-out documents."""
    table = []
    for title, enabled in masks_of_interest(experts):
        model.set_mask(torch.tensor([expert in enabled for expert in experts]))
        table.append((title, [held_out_loss(model, stream.held_out) for stream in streams]))
    model.set_mask(None)
    return table


def routing_table(model: TrainingModel, streams: list[TokenStream]) -> list[tuple[str, list[float]]]:
    """Return each domain's mean share of routing weight per expert, all experts on."""
    table = []
    for stream in streams:
        for block in model.layers():
            block.shares = []
        held_out_loss(model, stream.held_out, max_tokens=8192)
        shares = torch.stack([torch.stack(block.shares or []).mean(0) for block in model.layers()]).mean(0)
        table.append((stream.domain, shares.tolist()))
        for block in model.layers():
            block.shares = None
    return table


def markdown_table(corner: str, columns: list[str], rows: list[tuple[str, list[float]]], digits: int = 2) -> str:
    """Return the rows as a Markdown table."""
    lines = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {title} | {' | '.join(f'{value:.{digits}f}' for value in values)} |" for title, values in rows]
    return "\n".join(lines)
