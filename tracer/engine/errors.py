"""Errors of the engine.

EngineError
├── CorpusFileError   a corpus file that cannot be read; names file and line
├── IndexFileError    an index that is missing, damaged or replaced; names the file
├── ParameterError    a trace parameter out of its bounds; names it
└── TraceCancelledError
"""

from __future__ import annotations

from pathlib import Path


class EngineError(Exception):
    """Root of the engine's errors; `str(error)` says what happened and what to do."""


class CorpusFileError(EngineError):
    """A corpus file that cannot be read."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path.name}, line {line}: {reason}")
        self.line = line


class IndexFileError(EngineError):
    """An index file that is missing, damaged or not what its manifest says."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"index file {path.name}: {reason}. Build the index again.")
        self.path = path


class ParameterError(EngineError, ValueError):
    """A trace parameter that is unknown or out of bounds."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class TraceCancelledError(EngineError):
    """The caller asked to stop."""
