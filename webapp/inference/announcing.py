"""How long work tells what it is about to do. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable

Announce = Callable[[str], None]


def say_nothing(text: str) -> None:
    """For callers who need not be told."""
