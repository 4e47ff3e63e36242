"""Keys and values of several answers as one batch of transformers' cache, padded on the left.

Rows join and leave between steps. Column T-1 is every row's newest token; shorter rows have
unused columns on the left, which the attention mask hides. Shared by no two rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def new_cache() -> Any:
    """An empty cache that keeps every position, also in layers that look at the newest only."""
    from transformers import DynamicCache

    return DynamicCache()


class BatchCache:
    """The batch. `lengths` are the tokens that each row holds; the width is the longest of them."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.cache: Any = None

    @property
    def width(self) -> int:
        return int(self.cache.get_seq_length()) if self.lengths else 0

    def add(self, single: Any, length: int) -> None:
        """Append a row from a cache of one row with `length` tokens."""
        if not self.lengths:
            self.cache = single
        else:
            width = max(self.width, length)
            for mine, new in zip(self.cache.layers, single.layers, strict=True):
                mine.keys = torch.cat([_widen(mine.keys, width), _widen(new.keys, width)])
                mine.values = torch.cat([_widen(mine.values, width), _widen(new.values, width)])
        self.lengths.append(length)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, and the columns that no row uses any more."""
        self.lengths = [self.lengths[row] for row in rows]
        if not rows:
            self.cache = None
            return
        width = max(self.lengths)
        for layer in self.cache.layers:
            chosen = torch.tensor(rows, device=layer.keys.device)
            layer.keys = layer.keys.index_select(0, chosen)[:, :, -width:].contiguous()
            layer.values = layer.values.index_select(0, chosen)[:, :, -width:].contiguous()

    def alone(self, row: int) -> Any:
        """A copy of one row as a cache of its own, without its unused columns."""
        single = new_cache()
        length = self.lengths[row]
        for number, layer in enumerate(self.cache.layers):
            keys, values = layer.keys[row : row + 1, :, -length:], layer.values[row : row + 1, :, -length:]
            single.update(keys.clone(), values.clone(), number)
        return single

    def step_inputs(self, device: torch.device) -> dict[str, Tensor]:
        """Attention mask (rows, width + 1) and positions (rows, 1) for one more token a row."""
        lengths = torch.tensor(self.lengths, device=device)
        columns = torch.arange(self.width + 1, device=device)
        mask = columns[None] >= (self.width - lengths)[:, None]
        return {"attention_mask": mask.long(), "position_ids": lengths[:, None]}

    def advance(self) -> None:
        """Note that every row has one more token."""
        self.lengths = [length + 1 for length in self.lengths]

    def rewind(self, width: int) -> None:
        """Forget what a failed step may have written behind column `width`."""
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :width], layer.values[:, :, :width]


def _widen(tensor: Tensor, width: int) -> Tensor:
    # Zeros, not empty: hidden positions are multiplied by 0, and 0 × NaN is NaN.
    return F.pad(tensor, (0, 0, width - tensor.shape[2], 0))
