"""Products with weight matrices, laid out for the device when the weights are loaded.

On CPUs with wide vectors a matrix is laid out for compiled code, which reads it at the
speed of memory; else it is repacked for oneDNN. Both give every row the same bits however
many rows are multiplied together; an answer therefore does not depend on what else is in
the batch. Elsewhere, and where neither takes a dtype, it is a plain matrix product.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)
WAYS = ("auto", "compiled", "torch")
_NO_SCALARS: list[float] = []


class Linear(Protocol):
    """x (n, in) → x Wᵀ + b (n, out)."""

    def __call__(self, x: Tensor) -> Tensor: ...


def pick_way(way: str, dtype: torch.dtype, device: torch.device) -> str:
    """How matrices are multiplied: "compiled" or "torch". "auto" is compiled where that is possible.

    The first use on a machine compiles for some seconds, and keeps the result on disk. ValueError for another
    `way`, and for "compiled" where it is not possible.
    """
    if way not in WAYS:
        raise ValueError(f"way of multiplying {way!r} is unknown; choose {', '.join(WAYS)}")
    if way == "torch":
        return way
    reason = _why_not_compiled(dtype, device)
    if not reason:
        return "compiled"
    if way == "compiled":
        raise ValueError(f"products cannot be compiled here: {reason}")
    return "torch"


def _why_not_compiled(dtype: torch.dtype, device: torch.device) -> str:
    if device.type != "cpu":
        return f"the device is {device.type}"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"the dtype is {str(dtype).removeprefix('torch.')}"
    try:
        from webapp.inference import kernels, streamed  # import numba

        if not kernels.HAS_WIDE_VECTORS:
            return "the CPU has no avx512"
        streamed.warm_up()
    except Exception as error:  # numba or LLVM may fail in any way, and torch serves
        logger.exception("products are not compiled")
        return f"numba fails ({type(error).__name__}: {error})"
    return ""


def make_linear(weight: Tensor, bias: Tensor | None = None, *, way: str = "torch") -> Linear:
    """The product with `weight` (out, in), which may be freed afterwards. `way` is of `pick_way`."""
    if way == "compiled":
        from webapp.inference.streamed import StreamedLinear

        return StreamedLinear(weight, bias)
    if weight.device.type == "cpu":
        try:
            return PackedLinear(weight, bias)
        except (RuntimeError, AttributeError):  # no oneDNN, or none for this dtype on this CPU
            pass
    return PlainLinear(weight, bias)


def make_router(weight: Tensor) -> Linear:
    """The product with few rows, `weight` (experts, in)."""
    return RowwiseLinear(weight) if weight.device.type == "cpu" else PlainLinear(weight)


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


class RowwiseLinear:
    """Sums products one output at a time, in float32: for few outputs.

    A call of oneDNN costs more than such sums, and its plain products give other bits to other numbers of rows.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.float()

    def __call__(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) * self._weight).sum(-1)


class PackedLinear:
    """Packed for oneDNN. RuntimeError where that is not possible."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = bias
        self._multiply = torch.ops.mkldnn._linear_pointwise.default
        self._is_alone_different = _is_alone_different(weight.shape[1], weight.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        is_doubled = self._is_alone_different and x.shape[0] == 1  # two rows take the kernel of many
        product: Tensor = self._multiply(
            torch.cat((x, x)) if is_doubled else x, self._packed, self._bias, "none", _NO_SCALARS, ""
        )
        return product.narrow(0, 0, 1) if is_doubled else product


@lru_cache(maxsize=64)
def _is_alone_different(n_inputs: int, dtype: torch.dtype) -> bool:
    """Whether oneDNN adds up a row that is multiplied alone in another order, as it does with many inputs.

    Every sum here is of numbers and their opposites, shuffled: nothing is left of it but what rounding in that
    order left. With any other sums the difference would seldom outlast rounding to bfloat16, and show in an
    answer all the same. RuntimeError where oneDNN cannot pack the dtype.
    """
    generator = torch.Generator().manual_seed(0)
    half, rows = (torch.randn(n, n_inputs // 2, generator=generator) for n in (64, 3))
    order = torch.randperm(n_inputs // 2 * 2, generator=generator)
    weight = F.pad(torch.cat((half, -half), 1)[:, order], (0, n_inputs % 2)).to(dtype)
    x = F.pad(torch.cat((rows, rows), 1)[:, order], (0, n_inputs % 2)).to(dtype)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    together, alone = (
        torch.ops.mkldnn._linear_pointwise(each, packed, None, "none", _NO_SCALARS, "") for each in (x, x[:1])
    )
    return not torch.equal(together[:1], alone)
