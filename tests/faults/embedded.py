"""A laptop's site: one process, SQLite, no services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.production import START_TIMEOUT_S, free_port

ROOT = Path(__file__).resolve().parents[2]


class EmbeddedSite:
    """`manage.py serve` in a data folder; `before` begins its command line (such as `faketime …`)."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        kept = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
        self.environment = {
            **kept,
            "FAIRGROUND_DATA_DIR": str(folder),
            "FAIRGROUND_LIMITS": "read=0,trace=0,generate=0,arena=0,manage=0",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *command: str) -> str:
        """Run a command of manage.py to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"manage.py {' '.join(command)}: {done.stderr[-3000:]}"
        return done.stdout

    def start(self) -> None:
        """Serve, and wait until it answers."""
        log = self.folder.parent / "web.log"
        with log.open("ab") as out:
            command = [sys.executable, "manage.py", "serve", "--port", str(self.port)]
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.address}/health/live", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"the site did not start: {log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it by its own process."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextmanager
def embedded_site(folder: Path, **settings: str) -> Iterator[EmbeddedSite]:
    """Yield a migrated site with the demonstration's checkpoint and an arena, which answers."""
    site = EmbeddedSite(folder, **settings)
    try:
        site.manage("migrate", "--verbosity", "0")
        site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        site.manage("prepare_demo_arena", "--votes", "20")
        site.start()
        yield site
    finally:
        site.stop()
