"""A demonstration's site of its own for benchmarks that speak HTTP: prepared in a temporary folder, ended after."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 60


@contextmanager
def demonstration_site(*, corpora: str = "web,numerics") -> Iterator[str]:
    """Yield the address of a running site with the shipped checkpoint and the named demonstration corpora.

    Raises `RuntimeError` with the site's own output when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="fairground-benchmark-") as folder:
        environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
        environment["FAIRGROUND_DATA_DIR"] = folder
        for command in (
            ["migrate", "--verbosity", "0"],
            ["build_demo_corpora", "--only", corpora],
            ["add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint")],
        ):
            _manage(command, environment)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = Path(folder) / "site.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(port)],
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_answering(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _manage(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {command[0]} failed: {done.stderr[-2000:]}")


def _wait_until_answering(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/about/", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the site did not start: {log.read_text()[-2000:]}")
