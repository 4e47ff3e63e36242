"""A wall clock for some processes alone, by libfaketime: others, and all that measures durations, keep the true one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REQUIRED

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def preloaded() -> dict[str, str]:
    """Return the environment of a process with another clock; skip the test where libfaketime is missing.

    Its "monotonic fix" is switched off: with it, waits on condition variables end at once, and two busy threads
    of Python take the interpreter's lock from each other without end.
    """
    libraries = [path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])]
    if not libraries:
        if "faketime" in REQUIRED:
            pytest.fail("libfaketime is not installed (Debian: libfaketime)")
        pytest.skip("libfaketime is not installed (Debian: libfaketime)")
    switches = {"DONT_FAKE_MONOTONIC": "1", "FORCE_MONOTONIC_FIX": "0", "DISABLE_SHM": "1"}
    return {"LD_PRELOAD": str(libraries[0]), **{f"FAKETIME_{name}": value for name, value in switches.items()}}


#: Python sleeps by a call that libfaketime answers with EINVAL unless it fakes the clock of durations too.
SLEEP = """
import threading, time

def sleep(seconds):
    threading.Event().wait(seconds)

time.sleep = sleep
"""


class SiteClock:
    """A clock that Python processes with its `environment` share, and that is stepped while they run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SLEEP)
        self._file = folder / "clock"
        shared = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1", "PYTHONPATH": str(folder)}
        self.environment = preloaded() | shared
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let the clock go on from so many seconds after the true time, in all processes at once."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)
