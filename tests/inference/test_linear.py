"""Packed products against plain ones, and rows that do not depend on their neighbours."""

from __future__ import annotations

import pytest
import torch

from webapp.inference.linear import PackedLinear, PlainLinear, make_linear, make_router


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_inputs", [32, 512, 1024, 1088, 1536, 2048])
@pytest.mark.parametrize("n_outputs", [5, 96, 512])
def test_the_order_of_a_sum_is_the_same_in_every_batch(dtype: torch.dtype, n_inputs: int, n_outputs: int) -> None:
    """Each sum is of numbers and their opposites, so that the result is what rounding in that order leaves."""
    torch.manual_seed(2)
    order = torch.randperm(n_inputs)
    half, rows = torch.randn(n_outputs, n_inputs // 2), torch.randn(9, n_inputs // 2)
    linear = PackedLinear(torch.cat((half, -half), 1)[:, order].to(dtype))
    x = torch.cat((rows, rows), 1)[:, order].to(dtype)
    with torch.inference_mode():
        whole = linear(x)
        assert whole.any()
        for size in (1, 2, 3, 5, 8):
            assert torch.equal(linear(x[:size].clone()), whole[:size])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_inputs", [32, 512, 1536, 4096])
def test_router_equals_the_plain_product_and_keeps_rows_apart(dtype: torch.dtype, n_inputs: int) -> None:
    torch.manual_seed(3)
    rows, x = torch.randn(7, n_inputs).to(dtype), torch.randn(33, n_inputs)
    expected = x.double() @ rows.double().t()
    whole = make_router(rows)(x)
    assert (whole - expected).abs().max() < 1e-5 * expected.abs().max()
    for size in (1, 2, 3, 8, 13):
        assert torch.equal(make_router(rows)(x[:size].clone()), whole[:size])


def test_dtype_that_cannot_be_packed_is_multiplied_plainly() -> None:
    weight, x = torch.randn(4, 8).half(), torch.randn(2, 8).half()
    assert torch.allclose(make_linear(weight)(x).float(), x.float() @ weight.float().t(), atol=0.05)
