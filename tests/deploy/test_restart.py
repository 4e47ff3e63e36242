"""Behind the example's Caddy the site is restarted, as for an upgrade, and no request fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks.production import free_port
from tests.e2e.test_proxies import ROOT, caddy


def serve(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start two web processes; probes, which need neither database nor Redis, are all that is asked of them."""
    values = {"REDIS_URL": "redis://127.0.0.1:1/0", "FAIRGROUND_SECRET_KEY": "x", "FAIRGROUND_DATA_DIR": str(folder)}
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | values
    command = [sys.executable, "manage.py", "serve", "--processes", "2", "--port", str(port)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


class Visitors(threading.Thread):
    """Ask again and again, each time over a new connection."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.answers: Counter[int | str] = Counter()
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            try:
                status: int | str = httpx.get(f"{self.address}/health/live", timeout=120).status_code
            except httpx.HTTPError as error:
                status = repr(error)
            self.answers[status] += 1

    def wait_for_more(self, n: int = 5) -> None:
        wanted, deadline = self.answers[200] + n, time.monotonic() + 120
        while self.answers[200] < wanted:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.05)


def test_no_request_fails_while_the_site_is_restarted(tmp_path: Path) -> None:
    port = free_port()
    command, environment, address = caddy(tmp_path, f"127.0.0.1:{port}")
    with ExitStack() as running, (tmp_path / "log").open("wb") as log:

        def started(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
            running.callback(process.wait)
            running.callback(process.terminate)
            return process

        site = started(serve(port, tmp_path / "data"))
        started(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{address}/health/live", timeout=120).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
        visitors = Visitors(address)
        visitors.start()
        running.callback(visitors.is_over.set)
        for _ in range(2):
            visitors.wait_for_more()
            site.terminate()
            assert site.wait(180) == 0
            site = started(serve(port, tmp_path / "data"))
            visitors.wait_for_more()
        visitors.is_over.set()
        visitors.join(120)
        assert set(visitors.answers) == {200}, visitors.answers
