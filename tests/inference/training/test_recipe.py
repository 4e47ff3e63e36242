"""The recipe on made-up text: what is frozen stays, merging joins, the export computes the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from webapp.inference import load_checkpoint, token_logits
from webapp.inference.card import ExpertCard
from webapp.inference.errors import TrainingError
from webapp.inference.training import recipe
from webapp.inference.training.data import (
    END_OF_TEXT,
    TokenStream,
    is_held_out,
    tokenize_domain,
    train_tokenizer,
)
from webapp.inference.training.export import Manifest, export_new
from webapp.inference.training.loop import Budget
from webapp.inference.training.measure import held_out_loss, masks_of_interest
from webapp.inference.training.model import ModelShape, TrainingModel, next_token_loss
from webapp.inference.training.muon import orthogonalise

SHAPE = ModelShape(vocabulary=300, width=32, n_layers=2, feed_forward=48, n_heads=2, context=32)
BUDGET = Budget(seconds=60, max_steps=3, rows=4, length=32, warmup_steps=1)


def texts_about(word: str) -> list[str]:
    return [f"The {word} number {i} goes round, and the {word} sings {word * (i % 5)}.\n" for i in range(150)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(texts_about("horse"), SHAPE.vocabulary)


@pytest.fixture(scope="module")
def streams(tokenizer: Tokenizer) -> list[TokenStream]:
    return [tokenize_domain(word, texts_about(word), tokenizer) for word in ("horse", "swan", "rocket")]


@pytest.fixture(scope="module")
def base(streams: list[TokenStream]) -> TrainingModel:
    return recipe.train_dense(SHAPE, streams[0], BUDGET, 1, lambda _: None)


@pytest.fixture(scope="module")
def contributions(base: TrainingModel, streams: list[TokenStream]) -> list[recipe.Contribution]:
    return [recipe.train_expert(base, streams[0], owner, BUDGET, 2, lambda _: None) for owner in streams[1:]]


def test_owner_training_leaves_the_public_model_bit_for_bit(base: TrainingModel, streams: list[TokenStream]) -> None:
    before = {name: value.clone() for name, value in base.state_dict().items()}
    recipe.train_expert(base, streams[0], streams[1], BUDGET, 2, lambda _: None)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_only_expert_row_and_bias_can_learn(base: TrainingModel) -> None:
    rows = torch.zeros(SHAPE.n_layers, SHAPE.width)
    model = recipe.upcycle(base, rows, rows)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".experts.1." in name or name.endswith(("router", "own_bias")) for name in learning)
    assert len(learning) == SHAPE.n_layers * 5


def test_public_row_stays_and_own_expert_moves(
    base: TrainingModel, streams: list[TokenStream], contributions: list[recipe.Contribution]
) -> None:
    start = recipe.domain_embedding(base, streams[0], BUDGET.length)
    assert torch.allclose(contributions[0].public_rows, start)
    moved = contributions[0].experts[0]["gate.weight"]
    assert not torch.equal(moved, base.layers()[0].experts[0].get_parameter("gate.weight"))


def test_merged_model_with_one_expert_equals_the_public_model(
    base: TrainingModel, streams: list[TokenStream], contributions: list[recipe.Contribution]
) -> None:
    merged = recipe.merge(base, contributions)
    merged.set_mask(torch.tensor([True, False, False]))
    rows = streams[1].held_out[:33][None].long()
    assert next_token_loss(merged, rows).item() == pytest.approx(next_token_loss(base, rows).item(), abs=1e-5)


def test_router_tuning_changes_router_rows_only(
    base: TrainingModel, streams: list[TokenStream], contributions: list[recipe.Contribution]
) -> None:
    merged = recipe.merge(base, contributions)
    before = {name: value.clone() for name, value in merged.state_dict().items()}
    recipe.tune_router(merged, [stream.training for stream in streams], BUDGET, 3, lambda _: None)
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith(".router") for name in changed)


def test_export_computes_the_same_logits(
    tmp_path: Path,
    base: TrainingModel,
    tokenizer: Tokenizer,
    streams: list[TokenStream],
    contributions: list[recipe.Contribution],
) -> None:
    merged = recipe.merge(base, contributions)
    cards = [ExpertCard(word, word, word) for word in ("a", "b", "c")]
    export_new(merged, tokenizer, Manifest(cards, "card"), tmp_path / "out", torch.float32)
    ids = streams[1].held_out[:20].long()
    loaded = load_checkpoint(tmp_path / "out", dtype="float32", device="cpu")
    theirs = token_logits(loaded, ids.tolist(), frozenset({"a", "b", "c"}))
    with torch.no_grad():
        ours = merged(ids[None])[0]
    assert (ours - theirs).abs().max().item() < 1e-4


def test_whole_documents_are_held_out(tokenizer: Tokenizer) -> None:
    texts = texts_about("swan")
    stream = tokenize_domain("swan", texts, tokenizer)
    n_ends = int((stream.held_out == tokenizer.token_to_id(END_OF_TEXT)).sum())
    assert n_ends == sum(map(is_held_out, texts)) > 0


def test_rate_turns_a_loss_per_token_into_one_per_byte(tokenizer: Tokenizer) -> None:
    texts = [f"{text} – größer" for text in texts_about("swan")]
    stream = tokenize_domain("swan", texts, tokenizer)
    n_bytes = sum(len(text.encode()) for text in texts if is_held_out(text))
    assert stream.tokens_per_byte * n_bytes == pytest.approx(len(stream.held_out))


def test_too_little_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TrainingError, match="too few documents"):
        tokenize_domain("swan", ["one text"], tokenizer)


def test_held_out_loss_of_a_uniform_model_is_log_of_the_vocabulary() -> None:
    model = TrainingModel(SHAPE)
    torch.nn.init.zeros_(model.head.weight)
    loss = held_out_loss(model, torch.arange(100), length=16)
    assert loss == pytest.approx(torch.log(torch.tensor(float(SHAPE.vocabulary))).item(), abs=1e-4)


def test_masks_of_interest_are_named_after_what_is_on() -> None:
    assert masks_of_interest(["p", "a"]) == [
        ("p only", ["p"]),
        ("p + a", ["p", "a"]),
        ("all", ["p", "a"]),
        ("all but a", ["p"]),
    ]


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 9), (2, 9, 4)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.5
