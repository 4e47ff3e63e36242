"""Packed products against plain ones, and rows that do not depend on their neighbours."""

from __future__ import annotations

import pytest
import torch

from webapp.inference.linear import PackedLinear, PlainLinear, make_linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(48, 32), (5, 64), (768, 1536), (257, 130)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_packed_product_equals_the_plain_one(dtype: torch.dtype, shape: tuple[int, int], has_bias: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape).to(dtype)
    bias = torch.randn(shape[0]).to(dtype) if has_bias else None
    x = torch.randn(40, shape[1]).to(dtype)
    expected = PlainLinear(weight.double(), None if bias is None else bias.double())(x.double())
    with torch.inference_mode():
        for linear in (make_linear(weight, bias), PlainLinear(weight, bias)):
            error = (linear(x).double() - expected).abs().max() / expected.abs().max()
            assert error < (1e-5 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_inputs", [32, 512, 1536])
def test_a_row_is_the_same_to_the_last_bit_in_every_batch(dtype: torch.dtype, n_inputs: int) -> None:
    torch.manual_seed(1)
    linear = PackedLinear(torch.randn(96, n_inputs).to(dtype))
    x = torch.randn(64, n_inputs).to(dtype)
    with torch.inference_mode():
        whole = linear(x)
        for size in (1, 2, 3, 4, 5, 7, 8, 13, 16, 33):
            assert torch.equal(linear(x[:size].clone()), whole[:size])


def test_dtype_that_cannot_be_packed_is_multiplied_plainly() -> None:
    weight, x = torch.randn(4, 8).half(), torch.randn(2, 8).half()
    assert torch.allclose(make_linear(weight)(x).float(), x.float() @ weight.float().t(), atol=0.05)
