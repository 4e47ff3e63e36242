"""The command that trains the demonstration's model, on little text and for few steps, to a checkpoint that answers."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from webapp.demo.corpora import DEMO_CORPORA
from webapp.inference import GenerationRequest, InferenceEngine, load_checkpoint
from webapp.inference.card import read_checkpoint_card
from webapp.inference.contributions import read_contributions

SLUGS = ["public", *(corpus.slug for corpus in DEMO_CORPORA[1:])]
SMALL = ["--base-steps", "2", "--expert-steps", "2", "--rows", "2", "--max-characters", "120000", "--device", "cpu"]


def train(work: Path, out: Path, *changed: str) -> tuple[str, str]:
    told, printed = StringIO(), StringIO()
    call_command(
        "train_demo_model", "--work", str(work), "--out", str(out), *SMALL, *changed, stdout=printed, stderr=told
    )
    return printed.getvalue(), told.getvalue()


def test_trains_a_checkpoint_that_loads_and_answers(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    tables, told = train(work, out)
    assert "public" in told
    assert "| enabled |" in tables
    assert "Mean share of routing weight" in tables
    loaded = load_checkpoint(out, dtype="float32", device="cpu")
    assert list(loaded.expert_slugs) == SLUGS
    card = read_checkpoint_card(out)
    assert card.opt_out_exact
    assert [expert.licence for expert in card.experts] == [corpus.licence for corpus in DEMO_CORPORA]
    assert list(read_contributions(out)) == SLUGS[1:]
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "(2 steps of 2 × 512" in readme
    assert tables.strip() in readme
    with InferenceEngine(loaded, max_rows=1) as engine:
        answer = engine.submit(
            GenerationRequest("def mean(", frozenset(SLUGS), max_tokens=3, temperature=0.0, seed=1)
        ).result()
    assert len(answer.token_ids) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--base-steps", "0"], "at least one step"),
        (["--max-characters", "10"], "too few documents"),
    ],
)
def test_bad_sizes_say_so_and_leave_the_old_checkpoint(tmp_path: Path, changed: list[str], message: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("before")
    with pytest.raises(CommandError, match=message):
        train(tmp_path / "work", tmp_path / "out", *changed)
    assert (tmp_path / "out" / "config.json").read_text() == "before"
