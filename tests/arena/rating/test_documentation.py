"""docs/arena-rating.md says what the code does: its worked example and its table of defaults."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from arena.rating import FILE_VERDICTS, RatingOptions, VoteTable, rate

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "arena-rating.md").read_text(encoding="utf-8")


def table_below(heading: str, first_column: str) -> list[list[str]]:
    """Return the cells of a Markdown table by the section's heading and the first column's name."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = section.split(f"| {first_column} |")[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_worked_example_gives_the_documented_ratings() -> None:
    rows = table_below("Vector", "side a")
    assert len(rows) == 8
    votes = VoteTable.from_columns(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        p_pair=[Fraction(1, 6) if "cedar" in row[:2] else Fraction(1, 2) for row in rows],
        voter=[row[3] for row in rows],
    )
    result = rate(votes)
    assert table_below("Vector", "contestant") == [
        [
            row.contestant,
            f"{row.rating:.2f}",
            f"{row.lower:.2f} to {row.upper:.2f}",
            str(row.n_votes),
            f"{row.rank_low}–{row.rank_high}",
        ]
        for row in result.ratings
    ]
    assert [row.contestant for row in result.unrankable] == ["dahlia"]


def test_documented_defaults_are_those_of_the_options() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in table_below("Options and defaults", "option")}
    defaults = {field.name: field.default for field in fields(RatingOptions)}
    assert documented == {
        name: value.value if isinstance(value, StrEnum) else str(value) for name, value in defaults.items()
    }


def test_documented_words_for_verdicts_are_those_of_files() -> None:
    documented = {
        word.strip(" `"): row[0].strip("`")
        for row in table_below("From votes to counts", "verdict")
        for word in row[1].split(",")
    }
    assert documented == {word: verdict.value for word, verdict in FILE_VERDICTS.items()}
