"""Keys and values of the rows in flight: one rectangle a layer, rows packed from 0.

A row belongs to one request and one expert mask; nothing is shared between rows,
because keys and values under different masks differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_TOKENS = 64


class KeyValueCache:
    """Grows when asked; `keys[layer]` and `values[layer]` are (rows, kv heads, tokens, head)."""

    def __init__(self, n_layers: int, n_heads: int, head_size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.n_rows = 0
        self.n_tokens = 0
        self.bytes_per_token = 2 * n_layers * n_heads * head_size * dtype.itemsize
        self._n_heads, self._head_size = n_heads, head_size
        self._dtype, self._device = dtype, device
        self.keys: list[Tensor] = [self._zeros(0, 0) for _ in range(n_layers)]
        self.values: list[Tensor] = [self._zeros(0, 0) for _ in range(n_layers)]

    def _zeros(self, n_rows: int, n_tokens: int) -> Tensor:
        # Zeros, not empty: masked positions are multiplied by 0, and 0 × NaN is NaN.
        return torch.zeros(n_rows, self._n_heads, n_tokens, self._head_size, dtype=self._dtype, device=self._device)

    def bytes_for(self, n_rows: int, n_tokens: int) -> int:
        return n_rows * _round_up(n_tokens) * self.bytes_per_token

    def reserve(self, n_rows: int, n_tokens: int, max_bytes: int) -> bool:
        """Make room for `n_rows` rows of `n_tokens`; False when `max_bytes` forbids it."""
        n_tokens = _round_up(n_tokens)
        if n_rows <= self.n_rows and n_tokens <= self.n_tokens:
            return True
        if self.bytes_for(n_rows, n_tokens) > max_bytes:
            return False
        roomy = (max(n_rows, self.n_rows), max(n_tokens, self.n_tokens))
        if self.bytes_for(*roomy) <= max_bytes:
            n_rows, n_tokens = roomy
        self._resize(n_rows, n_tokens)
        return True

    def _resize(self, n_rows: int, n_tokens: int) -> None:
        rows, tokens = min(n_rows, self.n_rows), min(n_tokens, self.n_tokens)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = self._zeros(n_rows, n_tokens)
                new[:rows, :, :tokens] = old[:rows, :, :tokens]
                tensors[layer] = new
        self.n_rows, self.n_tokens = n_rows, n_tokens

    def move(self, source: int, target: int, n_tokens: int) -> None:
        """Copy the first `n_tokens` positions of a row over another row's."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                tensor[target, :, :n_tokens] = tensor[source, :, :n_tokens]

    def clear(self, row: int) -> None:
        """Forget a row, so that its NaN or infinite values cannot reach a later one."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                tensor[row].zero_()


def _round_up(n_tokens: int) -> int:
    return -(-n_tokens // _BLOCK_TOKENS) * _BLOCK_TOKENS
