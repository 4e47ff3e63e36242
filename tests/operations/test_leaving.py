"""A process that is told to end while a thread of it computes ends at once, and cleanly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.production import free_port
from tests.operations.killable_redis import ROOT, killable_redis, migrated

#: Warms up for ever: torch takes up a thread in C++, again and again. Everything else is the role's own.
ROLE = """
from pathlib import Path
import manage
from webapp import warm_up

def compute_for_ever(paths):
    import torch
    matrix = torch.ones(1500, 1500)
    Path(SIGN).touch()
    while True:
        torch.mm(matrix, matrix)

warm_up._warm_up = compute_for_ever
manage.main()
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a role and waits until it warms up."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*role: str, **values: str) -> subprocess.Popen[bytes]:
        sign, log = tmp_path / "computes", tmp_path / "log"
        environment = migrated(tmp_path / "data", **values)
        code = f"import sys; sys.argv = ['manage.py', *{role!r}]\nSIGN = {str(sign)!r}\n{ROLE}"
        with log.open("wb") as out:
            command = [sys.executable, "-c", code]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        started.append(process)
        deadline = time.monotonic() + 180
        while not sign.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.redis
def test_model_worker_that_warms_up_ends_cleanly(start: Start) -> None:
    with killable_redis() as server:
        worker = start("worker", "model", REDIS_URL=server.url)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(180) == 0


def test_embedded_site_that_warms_up_ends_cleanly(start: Start) -> None:
    site = start("serve", "--port", str(free_port()))
    site.send_signal(signal.SIGINT)
    assert site.wait(180) == 0
