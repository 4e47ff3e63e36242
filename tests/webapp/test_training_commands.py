"""The commands by which owners contribute: base, expert, merge, evaluation."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.inference.training.test_recipe import texts_about
from webapp.errors import BadInputError
from webapp.inference.contributions import CONTRIBUTIONS_FILE
from webapp.playground.checkpoints import refresh_contributions
from webapp.playground.models import Checkpoint

SMALL = ["--steps", "2", "--rows", "4", "--length", "32", "--device", "cpu"]


def corpus(folder: Path, word: str) -> str:
    file = folder / f"{word}.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts_about(word)), encoding="utf-8")
    return str(file)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def card(slug: str) -> list[str]:
    return ["--slug", slug, "--owner", f"{slug} society", "--licence", "CC0-1.0"]


def check_records_are_compared_with_weights(merged: Path) -> None:
    """Find the registered record again, and refuse one of other weights, at registration and afterwards."""
    registered = Checkpoint.objects.get(slug="merged")
    record = registered.experts.get(slug="swan").contribution
    registered.experts.update(contribution={})
    refresh_contributions(registered)
    assert [expert.contribution for expert in registered.experts.all()] == [{}, record]
    file = merged / CONTRIBUTIONS_FILE
    file.write_text(file.read_text().replace(record["matrices_sha256"], "0" * 64))
    with pytest.raises(CommandError, match="records other matrices of the expert 'swan'"):
        run("add_checkpoint", "again", str(merged))
    with pytest.raises(BadInputError, match="records other matrices of the expert 'swan'"):
        refresh_contributions(registered)
    assert registered.experts.get(slug="swan").contribution == record


@pytest.mark.django_db
def test_owners_contribute_from_base_to_evaluation(tmp_path: Path) -> None:
    public, own = corpus(tmp_path, "horse"), corpus(tmp_path, "swan")
    base, sent, merged = (str(tmp_path / name) for name in ("base", "sent", "merged"))
    sizes = ["--vocabulary", "300", "--width", "32", "--layers", "2", "--inner", "48", "--heads", "2"]
    assert "nats" in run("train_base", "--corpus", public, "--out", base, *card("public"), *sizes, *SMALL)
    told = run(
        "train_expert", "--base", base, "--corpus", own, "--public", public, "--out", sent, *card("swan"), *SMALL
    )
    assert "own text:" in told
    with pytest.raises(CommandError, match=r"missing\.jsonl.* no such file"):
        run("train_expert", "--base", base, "--corpus", "missing.jsonl", "--out", f"{sent}2", *card("swan"), *SMALL)
    assert run("merge_experts", sent, "--base", base, "--out", merged, "--by", "the museum").strip() == merged
    tables = json.loads(
        run("evaluate_experts", merged, "--domain", f"public={public}", f"swan={own}", "--format", "json")
    )
    assert tables["experts"] == ["public", "swan"]
    assert len(tables["losses"]) == 4
    run("add_checkpoint", "merged", merged)
    public_expert, swan = Checkpoint.objects.get(slug="merged").experts.all()
    assert public_expert.contribution == {}
    assert swan.contribution["merged_by"] == "the museum"
    check_records_are_compared_with_weights(Path(merged))
    assert run("verify_optout", merged).count("times a switched-off expert was computed: 0") == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--base", "nowhere"], "neither a folder nor a registered checkpoint"),
        (["--steps", "0"], "--steps is 0"),
        (["--dropout", "1"], "--dropout is 1.0"),
        (["--slug", "Not A Slug"], "small letters"),
    ],
)
def test_bad_options_say_what_to_do(tmp_path: Path, changed: list[str], message: str) -> None:
    options = ["--base", str(tmp_path), "--corpus", corpus(tmp_path, "swan"), "--out", str(tmp_path / "out")]
    with pytest.raises(CommandError, match=message):
        run("train_expert", *options, *card("swan"), *SMALL, *changed)
