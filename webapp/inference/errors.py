"""What can go wrong in inference, each with a sentence that says what to do.

InferenceError
├── CheckpointError              a checkpoint folder that cannot be used: file, reason
├── EngineBusyError              the queue is full; ask again later
├── EngineClosedError            the engine was not started, or has been closed
├── TrainingError                training that cannot begin or go on
└── RequestError (ValueError)    a request that can never be answered
    ├── UnknownExpertError       names no loaded expert, or none at all
    └── ContextOverflowError     prompt and answer do not fit the context
"""

from __future__ import annotations

from pathlib import Path


class InferenceError(Exception):
    """The root; `str(error)` is a sentence for people."""


class CheckpointError(InferenceError):
    """A checkpoint that cannot be used; `file` is the file to look at."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class TrainingError(InferenceError):
    """Text, settings or contributions with which nothing can be trained or merged."""


class EngineBusyError(InferenceError):
    """The engine's queue is full."""


class EngineClosedError(InferenceError):
    """The engine does not run."""


class RequestError(InferenceError, ValueError):
    """A request with a value that cannot be used."""


class UnknownExpertError(RequestError):
    """An expert mask that names an unknown expert, or no expert."""


class ContextOverflowError(RequestError):
    """Prompt and answer together are longer than the model's context."""
