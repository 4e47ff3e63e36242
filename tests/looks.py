"""Looks for jobs without a sign of life, without the time that lies between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import pytest


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """Let the looker's monotonic clock be ahead by so many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webapp.silence.monotonic", lambda: monotonic() + seconds)
        yield


def look_twice(look: Callable[[], int], *, apart_s: float) -> int:
    """Look, and again so many seconds later, with no sign of life in between; return what both found."""
    n_found = look()
    with later(apart_s):
        return n_found + look()
