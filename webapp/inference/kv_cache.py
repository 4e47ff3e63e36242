"""Keys and values of the rows in flight: one arena, shared out in pages.

A row owns one extent, a run of pages, from admission to its end; it reads nothing but
what it has written there itself, so that rows under different expert masks share nothing
and bad numbers of one row cannot reach another. When free pages are scattered, extents
slide together. The arena is the memory budget: it is taken once and never grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PAGE_TOKENS = 64


@dataclass
class Extent:
    """Positions `start` to `start + n_tokens` of the arena; sliding changes `start`."""

    start: int
    n_tokens: int


class KeyValueCache:
    """`layers[i]` is (2 * kv heads, positions, head), keys before values."""

    def __init__(
        self, n_layers: int, n_heads: int, head_size: int, dtype: torch.dtype, device: torch.device, n_tokens: int
    ) -> None:
        self.n_tokens = n_tokens // PAGE_TOKENS * PAGE_TOKENS
        # The CPU commits pages of untouched memory only when they are written.
        shape = (2 * n_layers, 1, n_heads, self.n_tokens, head_size)
        self._arena = torch.empty(shape, dtype=dtype, device=device)
        self.arena = self._arena.view(n_layers, 2 * n_heads, self.n_tokens, head_size)
        self.layers = self.arena.unbind(0)
        self._extents: list[Extent] = []  # by start

    @property
    def n_free_tokens(self) -> int:
        return self.n_tokens - sum(extent.n_tokens for extent in self._extents)

    def reserve(self, n_tokens: int) -> Extent | None:
        """An extent for at least `n_tokens`, or None when too little is free."""
        size = pages_for(n_tokens) * PAGE_TOKENS
        if size > self.n_free_tokens:
            return None
        extent = self._first_fit(size)
        if extent is None:
            self.compact()
            extent = self._first_fit(size)
        return extent

    def free(self, extent: Extent) -> None:
        """Give an extent back; its owner must not use it any more."""
        self._extents = [other for other in self._extents if other is not extent]

    def seen(self, extent: Extent, n_tokens: int) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values, (1, kv heads, n_tokens, head), of an extent's first positions."""
        parts = self._arena.narrow(3, extent.start, n_tokens).unbind(0)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def compact(self) -> None:
        """Slide all extents to the front, in order, with what they hold."""
        end = 0
        for extent in self._extents:
            if extent.start > end:
                self._move(extent, end)
            end = extent.start + extent.n_tokens

    def _first_fit(self, size: int) -> Extent | None:
        end = 0
        for place, extent in enumerate([*self._extents, Extent(self.n_tokens, 0)]):
            if extent.start - end >= size:
                found = Extent(end, size)
                self._extents.insert(place, found)
                return found
            end = extent.start + extent.n_tokens
        return None

    def _move(self, extent: Extent, target: int) -> None:
        source = slice(extent.start, extent.start + extent.n_tokens)
        for layer in self.layers:
            layer[:, target : target + extent.n_tokens] = layer[:, source].clone()
        extent.start = target


def pages_for(n_tokens: int) -> int:
    """How many pages hold `n_tokens` positions."""
    return -(-n_tokens // PAGE_TOKENS)
