"""Compiled products and steps against slow ones in torch, and rows that do not depend on their neighbours."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inference.tiny import EXPERTS, make_checkpoint
from webapp.inference import CheckpointError, GenerationRequest, InferenceEngine, load_checkpoint, verify_optout
from webapp.inference.decoder import Decoder, Segment
from webapp.inference.kv_cache import KeyValueCache
from webapp.inference.linear import PlainLinear, pick_way

pytestmark = pytest.mark.skipif(
    pick_way("auto", torch.float32, torch.device("cpu")) != "compiled", reason="products cannot be compiled here"
)
DTYPES = {"float32": 2e-6, "bfloat16": 2e-3}  # largest error, as a share of the largest result
VARIANTS: list[dict[str, Any]] = [
    {},
    {"num_experts_per_tok": 4, "attention_bias": True},
    {"num_experts_per_tok": 3, "norm_topk_prob": True, "intermediate_size": 71, "tie_word_embeddings": True},
    {"num_key_value_heads": 4, "hidden_size": 72, "num_experts_per_tok": 1, "vocab_size": 321},
]


@pytest.fixture(autouse=True)
def _same_threads_after() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@settings(max_examples=60, deadline=None)
@given(
    n_outputs=st.integers(1, 200),
    n_inputs=st.integers(1, 200),
    n_rows=st.integers(0, 13),
    has_bias=st.booleans(),
    n_threads=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 99),
)
def test_product_equals_the_plain_one_and_keeps_rows_apart(
    n_outputs: int, n_inputs: int, n_rows: int, has_bias: bool, n_threads: int, dtype: str, seed: int
) -> None:
    from webapp.inference.streamed import StreamedLinear

    generator = torch.Generator().manual_seed(seed)
    kind = getattr(torch, dtype)
    weight, x = (torch.randn(n, n_inputs, generator=generator).to(kind) for n in (n_outputs, n_rows))
    bias = torch.randn(n_outputs, generator=generator).to(kind) if has_bias else None
    torch.set_num_threads(n_threads)
    linear = StreamedLinear(weight, bias)
    whole = linear(x)
    assert whole.shape == (n_rows, n_outputs)
    if not n_rows:
        return
    expected = PlainLinear(weight.double(), None if bias is None else bias.double())(x.double())
    assert (whole - expected).abs().max() <= 1e-5 * (x.abs().double() @ weight.abs().double().t()).max()
    torch.set_num_threads(1)
    for first in range(n_rows):
        for size in (1, 2, 3, 6):
            assert torch.equal(linear(x[first : first + size]), whole[first : first + size])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_not_a_number_shows_in_its_row_alone(dtype: str) -> None:
    from webapp.inference.streamed import StreamedLinear

    x = torch.ones(5, 8).to(getattr(torch, dtype))
    x[1, 3], x[3, 0] = float("nan"), float("inf")
    out = StreamedLinear(torch.ones(70, 8).to(x.dtype))(x)
    assert out.isfinite().all(-1).tolist() == [True, False, True, False, True]


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], tuple[Decoder, Decoder]]:
    """Decoders over one checkpoint, compiled and in torch."""
    found = {}
    for number, changes in enumerate(VARIANTS):
        path = make_checkpoint(tmp_path_factory.mktemp("compiled") / "model", **changes)
        for dtype in DTYPES:
            compiled, plain = (
                load_checkpoint(path, dtype=dtype, multiply=way).decoder for way in ("compiled", "torch")
            )
            found[number, dtype] = compiled, plain
    return found


Rows = list[tuple[list[int], tuple[bool, ...]]]
masks = st.lists(st.booleans(), min_size=len(EXPERTS), max_size=len(EXPERTS)).filter(any).map(tuple)
mixes = st.lists(st.tuples(st.lists(st.integers(0, 319), min_size=2, max_size=70), masks), min_size=1, max_size=9)


def read(decoder: Decoder, rows: Rows) -> tuple[KeyValueCache, list[Segment]]:
    """A cache that holds all but the last token of every row, and the segments that come next."""
    cache = decoder.new_cache(64 * 2 * len(rows))
    following = []
    for ids, mask in rows:
        extent = cache.reserve(len(ids))
        assert extent is not None
        decoder.forward([Segment(extent, 0, ids[:-1], mask)], cache)
        following.append(Segment(extent, len(ids) - 1, ids[-1:], mask))
    return cache, following


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=mixes,
    number=st.integers(0, len(VARIANTS) - 1),
    dtype=st.sampled_from(list(DTYPES)),
    n_threads=st.integers(1, 3),
)
def test_step_equals_the_one_in_torch_and_keeps_rows_apart(
    variants: dict[tuple[int, str], tuple[Decoder, Decoder]], rows: Rows, number: int, dtype: str, n_threads: int
) -> None:
    compiled, plain = variants[number, dtype]
    torch.set_num_threads(n_threads)
    cache, following = read(compiled, rows)
    logits, routing = compiled.forward(following, cache)
    for (_, mask), shares in zip(rows, routing, strict=True):
        assert not shares[:, ~torch.tensor(mask)].any()
        assert (shares[:, torch.tensor(mask)] != 0).sum(-1).eq(min(sum(mask), compiled.shape.top_k)).all()
    if dtype == "float32":  # in bfloat16 rounding decides which expert is picked
        other, shares = plain.forward(*read(plain, rows)[::-1])
        assert (logits - other).abs().max() < 1e-4
        assert (routing - shares).abs().max() < 1e-4
    torch.set_num_threads(1)
    prompt = Segment(following[0].extent, 0, rows[0][0][:-1], rows[0][1])
    for place, segment in enumerate(following):
        alone, own = compiled.forward([segment], cache)
        assert torch.equal(alone[0], logits[place])
        assert torch.equal(own[0], routing[place])
        if place and len(prompt.ids) > 1:  # beside a prompt that is read
            beside, own = compiled.forward([prompt, segment], cache)
            assert torch.equal(beside[1], logits[place])
            assert torch.equal(own[1], routing[place])


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_step_is_near_the_one_in_torch_in_each_dtype_where_all_experts_are_used(
    variants: dict[tuple[int, str], tuple[Decoder, Decoder]], dtype: str
) -> None:
    rows: Rows = [([5, 9, 200, 31 + i], (True,) * 4) for i in range(6)]
    (one, _), (other, _) = (decoder.forward(*read(decoder, rows)[::-1]) for decoder in variants[1, dtype])
    assert (one - other).abs().max() < (1e-4 if dtype == "float32" else 0.4)
    assert (one - other).abs().mean() < (1e-5 if dtype == "float32" else 0.05)


def test_counts_every_product_and_fails_on_withheld_weights(checkpoint_path: Path) -> None:
    decoder = load_checkpoint(checkpoint_path, multiply="compiled").decoder
    both = (True, False, False, True)
    cache, following = read(decoder, [([4, 5], both), ([6, 7], (True, False, False, False))])
    before = list(decoder.expert_computations)
    decoder.forward(following, cache)
    counted = [after - had for after, had in zip(decoder.expert_computations, before, strict=True)]
    n_layers = decoder.shape.n_layers
    assert counted == [2 * n_layers, 0, 0, n_layers]
    matrices = [weakref.ref(layer.down[3]) for layer in decoder.weights.layers]
    decoder.withhold(3)
    gc.collect()
    assert [matrix() for matrix in matrices] == [None] * n_layers
    with pytest.raises(RuntimeError, match="withheld"):
        decoder.forward(following, cache)
    decoder.forward(following[1:], cache)


def test_proof_of_opt_out_goes_through_the_compiled_step(
    checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.inference.streamed import CompiledStep

    steps = []
    step = CompiledStep.__call__
    monkeypatch.setattr(CompiledStep, "__call__", lambda self, *rest: steps.append(1) or step(self, *rest))
    proof = verify_optout(checkpoint_path, ["public", "numerics"], ["Return a new array with the same shape."])
    assert proof.max_difference < 1e-4
    assert proof.computations["web"] == proof.computations["symbolic"] == 0
    assert steps


def test_ways_are_chosen_by_name_dtype_and_setting(checkpoint_path: Path) -> None:
    assert load_checkpoint(checkpoint_path, dtype="float16").decoder.way == "torch"
    assert load_checkpoint(checkpoint_path, multiply="torch").decoder.way == "torch"
    assert load_checkpoint(checkpoint_path).decoder.way == "compiled"
    with pytest.raises(CheckpointError, match="dtype is float16"):
        load_checkpoint(checkpoint_path, dtype="float16", multiply="compiled")
    with pytest.raises(CheckpointError, match="choose auto"):
        load_checkpoint(checkpoint_path, multiply="magic")


def test_torch_serves_where_numba_fails(checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("LLVM is out of order")

    monkeypatch.setattr("webapp.inference.streamed.warm_up", fail)
    assert load_checkpoint(checkpoint_path).decoder.way == "torch"
    with pytest.raises(CheckpointError, match="LLVM is out of order"):
        load_checkpoint(checkpoint_path, multiply="compiled")


def test_engines_side_by_side_share_the_threads_and_give_the_same_answers(checkpoint_path: Path) -> None:
    request = GenerationRequest("Return a new", frozenset(EXPERTS), max_tokens=40)
    loaded = [load_checkpoint(checkpoint_path, multiply="compiled") for _ in range(2)]
    with InferenceEngine(loaded[0], n_threads=1) as engine:
        expected = engine.submit(request).result().token_ids
    with InferenceEngine(loaded[0], n_threads=2) as one, InferenceEngine(loaded[1], n_threads=3) as other:
        handles = [engine.submit(request) for _ in range(4) for engine in (one, other)]
        assert {handle.result().token_ids for handle in handles} == {expected}
