"""How many event streams one person, or one address, may hold open at once, over all processes.

A slot is a key in the shared cache that its stream keeps alive; that of a process which died
is free again after `LIFE_S` seconds.
"""

from __future__ import annotations

from django.conf import settings
from django.core.cache import cache

from webapp.errors import FairgroundError

LIFE_S = 30


class TooManyStreamsError(FairgroundError):
    """All of the asker's streams are in use."""

    status = 429
    code = "too-many-streams"


def take_slot(principal: str) -> str:
    """Return the key of a free slot, now taken. Raises `TooManyStreamsError`."""
    for number in range(settings.MAX_STREAMS):
        key = f"stream:{principal}:{number}"
        if cache.add(key, 1, LIFE_S):
            return key
    raise TooManyStreamsError(f"You have {settings.MAX_STREAMS} streams open. Close one, then ask again.")


def keep_slot(key: str) -> None:
    """Say that the stream lives."""
    cache.set(key, 1, LIFE_S)


def free_slot(key: str) -> None:
    """Give the slot back."""
    cache.delete(key)
