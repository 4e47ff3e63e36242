"""Errors of rating.

RatingError
├── OptionError     an option out of its bounds; names it
├── VoteError       votes that cannot be rated; names the row where it is about one
├── VoteFileError   a file that cannot be read; names file and line
└── FitError        votes from which no finite estimate follows
"""

from __future__ import annotations

from pathlib import Path


class RatingError(ValueError):
    """Root of the errors of rating; `str(error)` is one line that says what to do."""


class OptionError(RatingError):
    """An option out of its bounds."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class VoteError(RatingError):
    """Votes that cannot be rated; `row` counts from 0 and is None when the fault is not in one row."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason if row is None else f"row {row}: {reason}")
        self.reason = reason
        self.row = row


class VoteFileError(RatingError):
    """A file of votes that cannot be read; `line` is the line in text files, the row in Parquet."""

    def __init__(self, path: Path, reason: str, line: int | None = None, unit: str = "line") -> None:
        super().__init__(f"{path.name}{'' if line is None else f', {unit} {line}'}: {reason}")
        self.line = line


class FitError(RatingError):
    """Votes from which no finite estimate follows."""
