"""`contributions.json`: read back as written, and refused with a reason when its form is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from webapp.inference.contributions import (
    CONTRIBUTIONS_FILE,
    FORMAT,
    ContributionRecord,
    read_contributions,
    write_contributions,
)
from webapp.inference.errors import CheckpointError

RECORD = ContributionRecord(
    slug="swan",
    title="Swans",
    owner="swan society",
    licence="CC-BY-4.0",
    corpus=None,
    weights_sha256="a" * 64,
    base_digest="b" * 64,
    n_corpus_tokens=10,
    n_training_tokens=40,
    public_share=0.25,
    seed=3,
    measured={"own": [5.0, 3.0], "public": [2.5, 2.6]},
    merged_at="2026-11-30T12:00:00+00:00",
    merged_by="the museum",
)


def test_reads_what_was_written(tmp_path: Path) -> None:
    assert read_contributions(tmp_path) == {}
    write_contributions(tmp_path, [])
    assert not (tmp_path / CONTRIBUTIONS_FILE).exists()
    write_contributions(tmp_path, [RECORD])
    assert read_contributions(tmp_path) == {"swan": RECORD}


def test_what_was_not_kept_reads_back_as_unknown(tmp_path: Path) -> None:
    unknown = replace(RECORD, weights_sha256=None, merged_at=None, matrices_sha256="c" * 64, note="Found later.")
    write_contributions(tmp_path, [unknown])
    assert read_contributions(tmp_path) == {"swan": unknown}


def test_file_from_before_there_were_digests_of_matrices_is_read(tmp_path: Path) -> None:
    entry = {name: value for name, value in RECORD.to_dict().items() if name not in ("matrices_sha256", "note")}
    (tmp_path / CONTRIBUTIONS_FILE).write_text(json.dumps({"format": FORMAT, "contributions": [entry]}))
    assert read_contributions(tmp_path) == {"swan": RECORD}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"owner": None}, "owner must be a text"),
        ({"licence": "x" * 501}, "licence must be a text"),
        ({"title": "a\0b"}, "title must be a text"),
        ({"corpus": 3}, "corpus must be a text"),
        ({"matrices_sha256": 3}, "matrices_sha256 must be a text"),
        ({"note": None}, "note must be a text"),
        ({"n_corpus_tokens": -1}, "whole number from 0"),
        ({"seed": True}, "whole number from 0"),
        ({"public_share": 1.5}, "from 0 to 1"),
        ({"merged_at": "yesterday"}, "no time in ISO 8601"),
        ({"measured": {"other": [1, 2]}}, "measured must map"),
        ({"measured": {"own": [1]}}, "not a loss before and one after"),
        ({"measured": {"own": [1, float("nan")]}}, "not a loss before and one after"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    body = {"format": FORMAT, "contributions": [RECORD.to_dict() | change]}
    (tmp_path / CONTRIBUTIONS_FILE).write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match=message):
        read_contributions(tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        {"format": "other", "contributions": []},
        {"format": FORMAT, "contributions": {}},
        {"format": FORMAT, "contributions": [1]},
        {"format": FORMAT, "contributions": [RECORD.to_dict(), RECORD.to_dict()]},
    ],
)
def test_other_files_are_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    (tmp_path / CONTRIBUTIONS_FILE).write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match=CONTRIBUTIONS_FILE):
        read_contributions(tmp_path)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    long = ContributionRecord(**{**RECORD.to_dict(), "title": "x" * 501})
    with pytest.raises(CheckpointError, match="title must be a text"):
        write_contributions(tmp_path, [long])
