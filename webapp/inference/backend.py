"""What every way of answering offers: our FlexOlmo engine, transformers, a remote server.

One contract suite tests all of them. Knows none of them.
"""

from __future__ import annotations

from typing import Protocol

from webapp.inference.requests import GenerationHandle, GenerationRequest


class Backend(Protocol):
    """Answers requests over one checkpoint. `start` before `submit`; `close` ends all."""

    @property
    def expert_slugs(self) -> tuple[str, ...]:
        """The experts that a request may enable; none where nothing can be switched."""

    def start(self) -> None:
        """Begin to answer."""

    def close(self) -> None:
        """End all requests as cancelled."""

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request. Raises RequestError (a ValueError), EngineBusyError, EngineClosedError."""
