"""Products with weight matrices, laid out for the device when the weights are loaded.

On CPUs a matrix is repacked once for oneDNN, which multiplies few rows about twice as
fast as transformers' layout and gives every row the same bits however many rows are
multiplied together; an answer therefore does not depend on what else is in the batch.
Elsewhere, and where oneDNN cannot pack a dtype, it is a plain matrix product.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Linear(Protocol):
    """x (n, in) → x Wᵀ + b (n, out)."""

    def __call__(self, x: Tensor) -> Tensor: ...


def make_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """The product with `weight` (out, in), which may be freed afterwards."""
    if weight.device.type == "cpu":
        try:
            return PackedLinear(weight, bias)
        except (RuntimeError, AttributeError):  # no oneDNN, or none for this dtype on this CPU
            pass
    return PlainLinear(weight, bias)


class WithheldLinear:
    """Stands where a matrix was taken out of memory. RuntimeError when it is multiplied."""

    def __call__(self, x: Tensor) -> Tensor:
        raise RuntimeError("an expert whose weights are withheld was to be computed")


class PlainLinear:
    """Stored (in, out): fewer rows are then read faster than with (out, in)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight.t().contiguous()
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self._weight if self._bias is None else torch.addmm(self._bias, x, self._weight)


class PackedLinear:
    """Packed for oneDNN. RuntimeError where that is not possible."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = bias
        self._multiply = torch.ops.mkldnn._linear_pointwise.default
        self._is_alone_different = False
        rows = torch.linspace(-1, 1, 3 * weight.shape[1]).view(3, -1).to(weight.dtype)
        # Single rows of some wide matrices take another kernel; such rows are then doubled.
        self._is_alone_different = not torch.equal(self(rows)[:1], self(rows[:1]))

    def __call__(self, x: Tensor) -> Tensor:
        if self._is_alone_different and x.shape[0] == 1:
            return self._apply(x.expand(2, -1).contiguous())[:1]
        return self._apply(x)

    def _apply(self, x: Tensor) -> Tensor:
        product: Tensor = self._multiply(x, self._packed, self._bias, "none", [], "")
        return product
