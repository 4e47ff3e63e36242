"""A Redis of a test's own, which it may kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from benchmarks.production import MissingProgramError, find_program, free_port
from tests.conftest import REQUIRED

ROOT = Path(__file__).resolve().parents[2]


class KillableRedis:
    """A server on a port of its own that keeps nothing on disk."""

    def __init__(self, program: str) -> None:
        port = str(free_port())
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 180
        while True:
            try:
                redis.Redis.from_url(self.url).ping()
                return
            except redis.RedisError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


@contextmanager
def killable_redis() -> Iterator[KillableRedis]:
    """Yield a Redis; skip the test where its program is missing."""
    try:
        made = KillableRedis(find_program("redis-server"))
    except MissingProgramError as error:
        if "services" in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield made
    made.kill()


def migrated(folder: Path, **values: str) -> dict[str, str]:
    """Return the environment of a site in this folder, with its tables on SQLite."""
    kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    kept |= {"FAIRGROUND_SECRET_KEY": "x", "FAIRGROUND_DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env=kept, check=True, capture_output=True)
    return kept | values
