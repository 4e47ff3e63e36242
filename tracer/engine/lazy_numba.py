"""numba, imported when the first compiled function is called: web processes, which never search, do without.

A decorated function is a stand-in until then. The first call of any compiles all of them and puts the compiled
ones in the place of the stand-ins, in every module of the engine, since they call each other by name.

Compiled code is kept for the next process in numba's cache: `NUMBA_CACHE_DIR`, else beside the source, else in the
user's own cache folder. Where none can be read or written, each process compiles for itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

PACKAGE = "tracer.engine"
_lock = threading.Lock()
_waiting: list[_StandIn] = []
_is_loaded = False


class _StandIn:
    """A function that is not compiled yet."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.py_func, self.options = function, options
        self.compiled: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Compile, and call what was compiled; while another thread is at it, wait until it has put all in place."""
        if not _is_loaded:
            load()
        assert self.compiled is not None
        return self.compiled(*arguments)


def njit(**options: Any) -> Any:
    """Return the decorator `numba.njit` with these options, now or at the first call."""
    if _is_loaded:
        return lambda function: _compiled(function, options)

    def declare(function: Callable[..., Any]) -> _StandIn:
        made = _StandIn(function, options)
        _waiting.append(made)
        return made

    return declare


def load() -> None:
    """Compile everything that waits, as the first call does."""
    global _is_loaded
    with _lock:
        if _is_loaded:
            return
        for one in _waiting:
            one.compiled = _compiled(one.py_func, one.options)
        for name, module in list(sys.modules.items()):
            if name.startswith(PACKAGE) and module is not None:
                for key, value in list(vars(module).items()):
                    if isinstance(value, _StandIn):
                        setattr(module, key, value.compiled)
        _is_loaded = True


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    from webapp.compiling import compiled  # imports numba

    return compiled(function, options)
