"""Errors of the engine.

EngineError
├── CorpusFileError   a corpus file that cannot be read; names file and line
├── DiskFullError     a build that could not write on
├── IndexFileError    an index that is missing, damaged or replaced; names the file
├── LittleMemoryError  less memory than cutting a text into tokens may take
├── ParameterError    a trace parameter out of its bounds; names it
├── StockEngineError  the stock infini-gram engine gave no answer
│   ├── StockMissingError   it is not installed on this machine
│   ├── StockCrashError     its process ended; a new one is there for the next question
│   ├── StockBusyError      no answer in time
│   └── StockRefusedError   it refused the arguments
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

    def __init__(self, path: Path, reason: str, remedy: str = "Build the index again.") -> None:
        super().__init__(f"index file {path.name}: {reason}. {remedy}")
        self.path = path


class DiskFullError(EngineError):
    """A build that could not write on."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(
            f"There is no room in {folder}: {error.strerror}. Nothing was registered and finished shards are kept. "
            "Make room (an index takes 5 to 7 times its tokens), then resume the build."
        )


class LittleMemoryError(EngineError):
    """Less memory than cutting a text into tokens may take, which would end the process."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(
            f"This process cannot get the {n_bytes / 1e6:,.0f} MB that cutting the text into tokens may take. "
            "Ask again later or with a shorter text; the operator may raise the worker's limit of memory."
        )


class ParameterError(EngineError, ValueError):
    """A trace parameter that is unknown or out of bounds."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class TraceCancelledError(EngineError):
    """The caller asked to stop."""


class StockEngineError(EngineError):
    """The stock infini-gram engine gave no answer."""


class StockMissingError(StockEngineError):
    """The stock engine is not installed here."""

    def __init__(self) -> None:
        super().__init__(
            "This query needs the package infini-gram, which is not installed here (it has wheels for "
            "Linux on x86-64 and for macOS). Counts and phrase search work without it."
        )


class StockCrashError(StockEngineError):
    """The child process ended."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The n-gram engine's process ended {reason} during this query. It was started anew.")
        self.reason = reason


class StockBusyError(StockEngineError):
    """No answer in time."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The n-gram engine gave no answer in time: {what} took too long.")


class StockRefusedError(StockEngineError):
    """The engine refused the arguments."""
