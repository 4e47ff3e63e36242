"""numba's compilation of a function, kept on disk for the next process where that is possible. Imports numba."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numba


def compiled(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Return `numba.njit(**options)(function)`, which does without a cache where there is no folder for one."""
    try:
        made: Any = numba.njit(**options)(function)
    except RuntimeError:  # numba has no folder for its cache
        made = numba.njit(**{**options, "cache": False})(function)
    for name in ("load_overload", "save_overload"):
        setattr(made._cache, name, _or_nothing(getattr(made._cache, name)))
    return cast(Callable[..., Any], made)


def _or_nothing(use_cache: Callable[..., Any]) -> Callable[..., Any]:
    """Let a cache that is full, gone or somebody else's cost a compilation and not the work."""

    def use(*arguments: Any) -> Any:
        with suppress(OSError):
            return use_cache(*arguments)

    return use
