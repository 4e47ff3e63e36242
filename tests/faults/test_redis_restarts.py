"""Every kind of worker outlives restarts of Redis with a job in hand, and takes jobs again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.operations.killable_redis import ROOT, KillableRedis, killable_redis, migrated

KINDS = ("trace", "build", "model", "rank")
#: A worker as it is, with one more task: it says that it began, and ends when it is let go.
WORKER = """
import time
from pathlib import Path
import manage
from webapp.celery import app

@app.task(name="hold")
def hold(path):
    Path(path).touch()
    while not Path(path).with_suffix(".let-go").exists():
        time.sleep(0.05)
    Path(path).with_suffix(".done").touch()

manage.main()
"""


@pytest.fixture
def server() -> Iterator[KillableRedis]:
    with killable_redis() as made:
        yield made


@pytest.fixture
def workers(server: KillableRedis, tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start one worker of each kind."""
    environment = migrated(tmp_path / "data", REDIS_URL=server.url)
    started = {}
    for kind in KINDS:
        code = f"import sys; sys.argv = ['manage.py', 'worker', {kind!r}]\n{WORKER}"
        with (tmp_path / f"{kind}.log").open("wb") as out:
            command = [sys.executable, "-c", code]
            started[kind] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    yield started
    for process in started.values():
        process.terminate()
    for process in started.values():
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.redis
def test_workers_outlive_restarts_of_redis_with_jobs_in_hand(
    server: KillableRedis, workers: dict[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    def wait_for(is_so: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 180
        while waits := [kind for kind in KINDS if not is_so(kind)]:
            ended = {kind: process.poll() for kind, process in workers.items() if process.poll() is not None}
            logs = {kind: (tmp_path / f"{kind}.log").read_text()[-3000:] for kind in (*ended, *waits)}
            assert not ended, f"ended by themselves: {ended}\n{logs}"
            assert time.monotonic() < deadline, f"{waits} wait\n{logs}"
            time.sleep(0.05)

    def in_hand(number: int, kind: str) -> Path:
        return tmp_path / f"{kind}-{number}"

    def n_lost(kind: str) -> int:
        return (tmp_path / f"{kind}.log").read_text().count("Connection to broker lost")

    def let_go(number: int) -> None:
        for kind in KINDS:
            in_hand(number, kind).with_suffix(".let-go").touch()
        wait_for(lambda kind: in_hand(number, kind).with_suffix(".done").exists())

    def give(number: int) -> None:
        with Celery(broker=server.url, set_as_current=False) as client:
            for kind in KINDS:
                client.send_task("hold", (str(in_hand(number, kind)),), queue=kind)
        wait_for(lambda kind: in_hand(number, kind).exists())

    for number in range(3):
        give(number)
        server.kill()
        wait_for(lambda kind, number=number: n_lost(kind) > number)  # type: ignore[misc]
        if number == 1:  # a job that ends while Redis is away
            let_go(number)
            server.start()
        else:
            server.start()
            let_go(number)
    give(3)
    let_go(3)
