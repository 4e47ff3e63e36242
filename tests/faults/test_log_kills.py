"""Writers and sequencers of the log are killed with SIGKILL at random moments, alone, without the rest of the site.

Every acknowledged append is in the log once, nothing is there twice, the log verifies, and it goes on
growing. On SQLite each writer sequences as well; on PostgreSQL two processes sequence side by side.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from benchmarks.production import MissingProgramError, Production
from tests.requirements import unless_missing
from webapp.transparency import verify

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("FAIRGROUND_TEST_LOG_KILLS", "6"))
START_TIMEOUT_S = 120
SPACE = 1_000_000  # numbers of one writer's life


@dataclass
class Worker:
    """A process that is killed and started again; `acknowledged` are the numbers that its lives have printed."""

    task: str
    lane: int
    environment: dict[str, str]
    acknowledged: list[int] = field(default_factory=list)
    n_lives: int = 0

    def start(self) -> None:
        """Start the next life; it is at work when this returns."""
        first = (self.lane * 1_000 + self.n_lives) * SPACE
        self.n_lives += 1
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.log_writer", self.task, str(first)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.is_ready = threading.Event()
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self.reader.start()
        assert self.is_ready.wait(START_TIMEOUT_S), "the process did not start"

    def _read(self, out: IO[str]) -> None:
        for line in out:
            if line == "ready\n":
                self.is_ready.set()
            elif line.endswith("\n"):
                self.acknowledged.append(int(line))

    def kill(self) -> None:
        """Kill it with SIGKILL; all that it had printed is read."""
        assert self.process.poll() is None, f"{self.task} ended by itself"
        self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Yield settings of an empty database; PostgreSQL's is a server of its own, whose commits wait for the disk."""
    kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    # Not pytest's own folder, which PostgreSQL's user may not enter.
    with tempfile.TemporaryDirectory(prefix="fairground-kills-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        kept["FAIRGROUND_DATA_DIR"] = str(folder / "data")
        if request.param == "sqlite":
            manage(kept, "migrate", "--verbosity", "0")
            yield kept
            return
        with unless_missing("services", MissingProgramError):
            server = Production(folder)
        server.start("postgres")
        try:
            server.start("redis")
            made = {k: server.environment[k] for k in ("DATABASE_URL", "REDIS_URL", "FAIRGROUND_SECRET_KEY")}
            manage({**kept, **made}, "migrate", "--verbosity", "0")
            yield {**kept, **made}
        finally:
            server.stop()


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=300)


def test_every_acknowledged_append_is_there_once_whoever_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    chance = random.Random(int(os.environ.get("FAIRGROUND_TEST_CHAOS_SEED", "1")))
    tasks = ["append", "append"] if "DATABASE_URL" not in environment else ["append", "append", "sequence", "sequence"]
    workers = [Worker(task, lane, environment) for lane, task in enumerate(tasks)]
    for worker in workers:
        worker.start()
    sizes = []
    for round_number in range(ROUNDS):
        time.sleep(chance.uniform(0.2, 1.5))
        victims = workers if round_number % 3 == 2 else [workers[round_number % len(workers)]]
        for victim in victims:
            victim.kill()
        if victims == workers:  # nobody writes: the log must be right as it was left
            manage(environment, "check_log", "--whole")
            sizes.append(sum(len(worker.acknowledged) for worker in workers))
        for victim in victims:
            victim.start()
    time.sleep(0.5)
    for worker in workers:
        worker.kill()
    manage(environment, "export_log", str(tmp_path / "export"))
    report = verify.verify(tmp_path / "export")
    assert [str(wrong) for wrong in report.findings] == []
    lines = (tmp_path / "export" / "leaves.jsonl").read_text().splitlines()
    found = Counter(uuid.UUID(json.loads(line)["leaf"]["body"]["takedown"]).int for line in lines)
    acknowledged = [number for worker in workers for number in worker.acknowledged]
    assert len(set(acknowledged)) == len(acknowledged) > 0
    assert [number for number in acknowledged if found[number] != 1] == []
    assert max(found.values()) == 1, "nothing is there twice"
    n_lives = sum(worker.n_lives for worker in workers if worker.task == "append")
    assert len(found) - len(acknowledged) <= n_lives, "at most one append of each life was committed but not yet told"
    assert sizes == sorted(sizes)
    print(f"{len(found)} leaves, {len(acknowledged)} acknowledged, {report.n_checkpoints} checkpoints, {n_lives} lives")


def test_web_process_warns_at_start_when_a_stored_leaf_was_changed(tmp_path: Path) -> None:
    """The real ASGI application is started on a damaged SQLite file; it serves, and its log names the leaf."""
    environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
    environment["FAIRGROUND_DATA_DIR"] = str(tmp_path)
    manage(environment, "migrate", "--verbosity", "0")
    writer = Worker("append", 0, environment)
    writer.start()
    while len(writer.acknowledged) < 5:
        time.sleep(0.05)
    writer.kill()
    manage(environment, "export_log", str(tmp_path / "export"))
    starting = (
        "import asyncio, webapp.asgi\n"
        "sent = []\n"
        "messages = iter([{'type': 'lifespan.startup'}, {'type': 'lifespan.shutdown'}])\n"
        "async def receive(): return next(messages)\n"
        "async def send(message): sent.append(message['type'])\n"
        "asyncio.run(webapp.asgi.application({'type': 'lifespan'}, receive, send))\n"
        "print(sent)\n"
    )

    def start() -> str:
        command = [sys.executable, "-c", starting]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert "['lifespan.startup.complete', 'lifespan.shutdown.complete']" in done.stdout, done.stderr[-2000:]
        return done.stdout + done.stderr

    assert "DAMAGED" not in start()
    with closing(sqlite3.connect(tmp_path / "fairground.sqlite3")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'trans%'")
        for (name,) in names.fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE transparency_entry SET leaf = replace(leaf, 'wiki', 'wild') WHERE \"index\" = 2")
        connection.commit()
    warned = start()
    assert "THE TRANSPARENCY LOG IS DAMAGED" in warned
    assert "Leaf 2: does not have its hash" in warned
