"""Which tokens of a batch may go to which experts, and which do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Picks:
    """Which tokens go to which experts: `tokens` and `places` (token × experts + expert) lie expert by expert."""

    experts: tuple[int, ...]
    sizes: list[int]
    tokens: Tensor
    places: Tensor

    @classmethod
    def make(cls, is_used: Tensor) -> Picks:
        """The picks of a table (tokens, experts)."""
        n_experts = is_used.shape[1]
        sizes = is_used.sum(0).tolist()
        expert, token = is_used.t().nonzero(as_tuple=True)
        experts = tuple(i for i, size in enumerate(sizes) if size)
        return cls(experts, [sizes[i] for i in experts], token, token * n_experts + expert)


@dataclass(frozen=True)
class MaskPlan:
    """What a batch's masks say.

    `blocked` is (tokens, experts), True where an expert is off; None when all are on, and
    then so is `picks`, the experts that each token may see.
    """

    blocked: Tensor | None
    picks: Picks | None

    @classmethod
    def make(cls, masks: Sequence[tuple[bool, ...]], device: torch.device) -> MaskPlan:
        """The plan of tokens with `masks`, one a token."""
        table = torch.tensor(masks, dtype=torch.bool, device=device)
        return cls(None, None) if bool(table.all()) else cls(~table, Picks.make(table))
