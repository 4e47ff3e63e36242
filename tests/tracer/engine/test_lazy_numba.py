"""Importing the engine does not import numba; the first call compiles, also when several threads come first at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracer.engine import lazy_numba

CODE = """
import sys, threading
import numpy as np
from tracer.engine import lazy_numba, tokens, vocabulary, window_search, search
assert "numba" not in sys.modules, "the import alone loaded numba"
stand_ins = [v for m in (search, tokens, vocabulary, window_search) for v in vars(m).values() if hasattr(v, "py_func")]
assert len(stand_ins) > 10
kept = tokens._join  # as a module would hold it that is not of the engine
flat, begin, ids = np.frombuffer(b"round", np.uint8), np.array([0, 2, 5]), np.array([1, 0, 1])
results = []
threads = [threading.Thread(target=lambda: results.append(kept(flat, begin, ids, np.zeros(4, np.int64)).tobytes()))
           for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert results == [b"undround"[:3] + b"ro" + b"und"] * 4, results
left = [(n, k) for n, m in sys.modules.items() if n.startswith("tracer.engine")
        for k, v in vars(m).items() if isinstance(v, lazy_numba._StandIn)]
assert left == [], left
assert kept(flat, begin, ids, np.zeros(4, np.int64)).tobytes() == tokens._join.py_func(
    flat, begin, ids, np.zeros(4, np.int64)).tobytes()
later = lazy_numba.njit(nogil=True)(lambda x: x + 1)
assert type(later).__module__.startswith("numba") and later(1) == 2
"""


def test_numba_is_loaded_by_the_first_call_alone() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_thread_that_calls_while_another_loads_waits_until_all_is_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_numba, "_is_loaded", False)
    monkeypatch.setattr(lazy_numba, "_waiting", [])
    in_place: list[bool] = []
    first = lazy_numba.njit()(lambda: in_place.append(second.compiled is not None))
    second = lazy_numba.njit()(lambda: None)
    meanwhile = threading.Thread(target=first)

    def compile_slowly(function: Callable[..., Any], _: Any) -> Callable[..., Any]:
        if first.compiled is not None:  # the second is next: between the two another thread calls the first
            meanwhile.start()
            meanwhile.join(0.3)
        return function

    monkeypatch.setattr(lazy_numba, "_compiled", compile_slowly)
    lazy_numba.load()
    meanwhile.join()
    assert in_place == [True]


WITHOUT_CACHE = """
import os, shutil, sys
from pathlib import Path
from numba.core import caching
from tracer.engine import lazy_numba
if sys.argv[1] == "none":
    caching.CacheImpl._locator_classes = []
lazy_numba.load()
if sys.argv[1] == "lost":  # as good as full or closed: no file can be made in it
    shutil.rmtree(os.environ["NUMBA_CACHE_DIR"])
    Path(os.environ["NUMBA_CACHE_DIR"]).write_text("")
from tracer.engine import tokens
import numpy as np
flat, begin, ids = np.frombuffer(b"round", np.uint8), np.array([0, 2, 5]), np.array([1, 0, 1])
arguments = (flat, begin, ids, np.zeros(4, np.int64))
assert tokens._join(*arguments).tobytes() == tokens._join.py_func(*arguments).tobytes()
"""


@pytest.mark.parametrize("kind", ["none", "lost"])
def test_a_cache_that_cannot_be_used_costs_a_compilation_and_not_the_search(tmp_path: Path, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CACHE, kind],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
