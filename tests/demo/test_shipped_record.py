"""The record of contributions beside the shipped weights: computed again from the weights, their card and the text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from django.test import Client

from webapp.demo.corpora import DEMO_CORPORA
from webapp.demo.harvest import harvest_corpus
from webapp.identifiers import slug_of_name
from webapp.inference.card import ExpertCard, read_checkpoint_card
from webapp.inference.config import read_config
from webapp.inference.contributions import read_contributions
from webapp.inference.matrices import check_contributions, stored_digest
from webapp.inference.reduce import reduce_checkpoint
from webapp.inference.text_files import read_tokenizer
from webapp.inference.training.contribution import base_digest
from webapp.inference.training.data import END_OF_TEXT, tokenize_domain
from webapp.inference.training.demo import DemoPlan
from webapp.inference.training.load import load_model
from webapp.inference.training.measure import held_out_loss
from webapp.inference.training.recipe import PUBLIC_SHARE
from webapp.playground.checkpoints import add_checkpoint

CHECKPOINT = Path(__file__).resolve().parents[2] / "webapp" / "demo" / "checkpoint"
README = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
CARD = read_checkpoint_card(CHECKPOINT)
RECORDS = read_contributions(CHECKPOINT)
OWNERS = CARD.experts[1:]


def number_after(pattern: str) -> int:
    found = re.search(pattern, README)
    assert found, pattern
    return int(found[1].replace(",", ""))


def card_losses(enabled: str) -> dict[str, float]:
    """Return a row of the card's table of losses in nats per token, by domain."""
    table = README.split("Loss in nats per token")[1].split("The same in nats per byte")[0]
    row = next(line for line in table.splitlines() if line.startswith(f"| {enabled} |"))
    return dict(zip(CARD.slugs, map(float, row.split("|")[2:-1]), strict=True))


def test_every_owner_has_a_record_with_the_digest_of_the_shipped_matrices() -> None:
    assert list(RECORDS) == [expert.slug for expert in OWNERS]
    for position, expert in enumerate(OWNERS, start=1):
        record = RECORDS[expert.slug]
        assert record.matrices_sha256 == stored_digest(CHECKPOINT, position)
        assert ExpertCard(record.slug, record.title, record.owner, record.corpus, record.licence) == expert
    check_contributions(CHECKPOINT, CARD, RECORDS)


def test_base_is_the_shipped_public_model(tmp_path: Path) -> None:
    reduce_checkpoint(CHECKPOINT, tmp_path / "public", ["public"])
    assert {record.base_digest for record in RECORDS.values()} == {base_digest(tmp_path / "public")}


@pytest.mark.parametrize("place", range(len(OWNERS)), ids=[expert.slug for expert in OWNERS])
def test_figures_are_those_of_the_card(place: int) -> None:
    slug = OWNERS[place].slug
    record = RECORDS[slug]
    rows, context = number_after(r"steps of (\d+) ×"), read_config(CHECKPOINT).model.max_position_embeddings
    assert record.n_training_tokens == number_after(r"\(([\d,]+) steps each\)") * rows * context
    assert "a quarter of public text" in " ".join(README.split())
    assert record.public_share == 1 / PUBLIC_SHARE
    assert number_after(r"seed (\d+)") == DemoPlan().seed
    assert record.seed == DemoPlan().seed + 10 + place
    before, after = card_losses("public only"), card_losses(f"public + {slug}")
    assert record.measured == {name: [before[key], after[key]] for name, key in (("own", slug), ("public", "public"))}


def test_what_was_not_kept_is_not_told() -> None:
    for record in RECORDS.values():
        assert (record.weights_sha256, record.merged_at, record.merged_by) == (None, None, "")
        assert "not kept" in record.note


def test_text_and_loss_of_an_owner_come_out_again() -> None:
    texts = [document["text"] for document in harvest_corpus("web")]
    n_characters = number_after(rf"\| web \| {DEMO_CORPORA[1].title} \|.*\| ([\d,]+) \|")
    if sum(map(len, texts)) != n_characters:
        pytest.skip("the packages installed here have other text than the demonstration was trained on")
    model = load_model(CHECKPOINT, torch.device("cpu")).eval()
    tokenizer = read_tokenizer(CHECKPOINT, model.shape.vocabulary)
    stream = tokenize_domain("web", texts, tokenizer, end_of_text=tokenizer.token_to_id(END_OF_TEXT))
    assert RECORDS["web"].n_corpus_tokens == len(stream.training)
    model.set_mask(torch.tensor([slug in ("public", "web") for slug in CARD.slugs]))
    assert held_out_loss(model, stream.held_out) == pytest.approx(RECORDS["web"].measured["own"][1], abs=0.02)


@pytest.mark.django_db
def test_owners_pages_show_the_record() -> None:
    add_checkpoint(slug="demo", path=CHECKPOINT)
    for expert in OWNERS:
        page = Client().get(f"/owners/{slug_of_name(expert.owner)}/").content.decode()
        record = RECORDS[expert.slug]
        for shown in (
            f"{record.n_corpus_tokens:,} tokens; trained on 13,107,200, 25 % public text",
            f"{record.measured['own'][0]:.2f} before, {record.measured['own'][1]:.2f} after",
            str(record.matrices_sha256),
            record.base_digest,
            "<dd>not kept</dd>",
            "at a time that was not kept",
            record.note,
        ):
            assert shown in page
        assert "no <code>contributions.json</code>" not in page
        body = Client().get(f"/api/v1/owners/{slug_of_name(expert.owner)}/").json()
        assert body["experts"][0]["contribution"]["matrices_sha256"] == record.matrices_sha256
        assert body["experts"][0]["contribution"]["weights_sha256"] is None
    public = Client().get(f"/owners/{slug_of_name(CARD.experts[0].owner)}/").content.decode()
    assert "This is the public model from which owners train" in public
