"""The command that operators prove an opt-out with."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.inference.tiny import EXPERTS, make_checkpoint
from webapp.playground.checkpoints import add_checkpoint


def test_prints_one_proof_for_each_leave_one_out_mask(checkpoint_path: Path) -> None:
    out = StringIO()
    call_command("verify_optout", str(checkpoint_path), "--format", "json", stdout=out)
    proofs = json.loads(out.getvalue())
    assert [set(EXPERTS) - set(proof["experts"]) for proof in proofs] == [{slug} for slug in EXPERTS]
    assert all(proof["max_difference"] <= 1e-4 for proof in proofs)


def test_names_what_is_off_in_plain_text(checkpoint_path: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Raises ValueError", encoding="utf-8")
    out = StringIO()
    call_command("verify_optout", str(checkpoint_path), "--experts", "web", "--file", str(text), stdout=out)
    assert "off: public, numerics, symbolic;" in out.getvalue()
    assert "computed: 0" in out.getvalue()


@pytest.mark.parametrize("arguments", [["--experts", "nobody"], ["--experts", ""], ["--file", "/nowhere"]])
def test_fails_with_one_line_when_the_input_is_bad(checkpoint_path: Path, arguments: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("verify_optout", str(checkpoint_path), *arguments, stdout=StringIO())
    assert "\n" not in str(caught.value)


def test_fails_when_the_difference_is_too_large(checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.management.commands.verify_optout.LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(CommandError, match="promise no opt-out"):
        call_command("verify_optout", str(checkpoint_path), "--experts", "web", stdout=StringIO())


def test_knows_the_names_that_the_operator_gave(db: None, tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "bare")
    (path / "experts.json").unlink()
    names = tmp_path / "names.json"
    experts = [{"slug": slug, "owner": "Ai2"} for slug in ("public", "math", "news", "code")]
    names.write_text(json.dumps({"experts": experts}))
    add_checkpoint(slug="flex", path=path, experts_file=names)
    for arguments in (["flex"], [str(path), "--names", str(names)]):
        out = StringIO()
        call_command("verify_optout", *arguments, "--experts", "public,code", stdout=out)
        assert "off: math, news;" in out.getvalue()
    with pytest.raises(CommandError, match="no expert 'math'"):
        call_command("verify_optout", str(path), "--experts", "math", stdout=StringIO())


def test_says_which_checkpoints_there_are(db: None) -> None:
    with pytest.raises(CommandError, match="no checkpoint"):
        call_command("verify_optout", "nowhere", stdout=StringIO())
