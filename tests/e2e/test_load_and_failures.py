"""Workers that die, owners who opt out and a thousand questions at once, on PostgreSQL and Redis."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.e2e.conftest import ROOT, free_port, wait_until_answering
from tests.e2e.test_separate_processes import environment, finished

__all__ = ["environment"]
pytestmark = [pytest.mark.postgres, pytest.mark.redis]
LONG = {"prompt": "def", "max_tokens": 400, "temperature": 1.5, "seed": 1}

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def values(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"FAIRGROUND_LIMITS": "read=0,generate=0"}


@pytest.fixture(scope="module")
def client(values: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Start the web process alone; return a client of it."""
    port, log = free_port(), tmp_path_factory.mktemp("web") / "log"
    with log.open("wb") as out:
        web = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port)], cwd=ROOT, env=values, stdout=out, stderr=out
        )
    try:
        wait_until_answering(f"http://127.0.0.1:{port}", web, log)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=240) as made:
            yield made
    finally:
        end(web)


@pytest.fixture
def start_worker(values: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start model workers; end those that still run."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / f"worker-{len(started)}").open("wb") as out:
            command = [sys.executable, "manage.py", "worker", "model", "--name", str(len(started))]
            started.append(subprocess.Popen(command, cwd=ROOT, env=values, stdout=out, stderr=out))
        return started[-1]

    yield start
    for process in started:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def manage(values: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=values, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def requeue(values: dict[str, str]) -> None:
    """Do what beat does when a worker shows no life for two minutes."""
    manage(values, "shell", "-c", "from webapp.requeue import requeue_unfinished_jobs as r; r(older_than_s=0)")


def ask(client: httpx.Client, **changes: Any) -> str:
    created = client.post("/api/v1/generations/", json={**LONG, **changes})
    assert created.status_code == 202, created.text
    return str(created.headers["Location"])


def read_tokens(lines: Iterator[str], n: int | None = None) -> list[str]:
    """Read texts of a stream: `n` of them, or all to its end. An answer that never comes fails in four minutes."""
    texts: list[str] = []
    deadline = time.monotonic() + 240
    for line in lines:  # signs of life among them
        assert time.monotonic() < deadline
        if line.startswith("data: ") and "text" in (data := json.loads(line[6:])):
            texts.append(data["text"])
            if len(texts) == n:
                break
    return texts


def test_answer_starts_over_and_its_stream_goes_on_when_the_worker_is_killed(
    values: dict[str, str], client: httpx.Client, start_worker: Start
) -> None:
    first = start_worker()
    undisturbed = finished(client, ask(client))
    location = ask(client)
    with client.stream("GET", f"{location}stream/") as stream:
        lines = stream.iter_lines()
        begun = read_tokens(lines, 5)
        first.kill()
        first.wait()
        assert client.get(location).json()["status"] == "running"
        start_worker()
        requeue(values)
        rest = read_tokens(lines)
    made = client.get(location).json()
    assert made["status"] == "done"
    assert "".join([*begun, *rest]) == made["text"] == undisturbed["text"]
    assert len(begun) + len(rest) == len(made["token_ids"])


def test_answer_that_ends_its_worker_twice_fails_with_the_reason(
    values: dict[str, str], client: httpx.Client, start_worker: Start
) -> None:
    location = ask(client)
    for n_killed in range(2):
        worker = start_worker()
        with client.stream("GET", f"{location}stream/") as stream:
            read_tokens(stream.iter_lines(), 5)
        wait_for_start(values, location, n_killed + 1)
        worker.kill()
        worker.wait()
        requeue(values)
    start_worker()
    made = finished(client, location)
    assert made["status"] == "failed"
    assert "The worker ended 2 times" in made["error"]


def wait_for_start(values: dict[str, str], location: str, n_starts: int) -> None:
    """Wait until a worker has taken the answer for the `n_starts`th time."""
    query = "SELECT n_starts FROM playground_generation WHERE id = %s"
    with psycopg.connect(values["DATABASE_URL"], autocommit=True) as database:
        deadline = time.monotonic() + 180
        while database.execute(query, [location.rstrip("/").rsplit("/", 1)[1]]).fetchone() != (n_starts,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_opt_out_leaves_a_running_worker_and_its_answers_without_a_restart(
    values: dict[str, str], client: httpx.Client, start_worker: Start
) -> None:
    start_worker()
    kept = finished(client, ask(client, max_tokens=20, experts=["public"]))
    location = ask(client, max_tokens=450)
    with client.stream("GET", f"{location}stream/") as stream:
        lines = stream.iter_lines()
        read_tokens(lines, 1)
        manage(values, "opt_out", "demo/numerics", "--reason", "A test.")
        others = [ask(client, seed=seed, experts=["public", "web"]) for seed in range(4)]
        read_tokens(lines)
    made = finished(client, location)
    if made["status"] != "done":  # it may have been faster than the worker's next look
        assert "withdrawn by its owner" in made["error"]
    assert {finished(client, each)["status"] for each in others} == {"done"}
    refused = client.post("/api/v1/generations/", json={**LONG, "experts": ["numerics"]})
    assert refused.status_code == 400
    assert "has opted out" in refused.json()["detail"]
    assert "numerics" not in [expert["slug"] for expert in client.get("/api/v1/experts/").json()["results"]]
    assert finished(client, ask(client, max_tokens=20, experts=["public"]))["token_ids"] == kept["token_ids"]
    manage(values, "opt_in", "demo/numerics")
    again = finished(client, ask(client, max_tokens=20, experts=["public", "numerics"]))
    assert set(again["routing_shares"]) == {"public", "numerics"}


def test_a_thousand_waiting_questions_are_all_answered_and_one_more_is_told_to_come_back(
    values: dict[str, str], client: httpx.Client, start_worker: Start
) -> None:
    with ThreadPoolExecutor(8) as pool:
        locations = list(pool.map(lambda seed: ask(client, max_tokens=1, seed=seed), range(1000)))
    full = client.post("/api/v1/generations/", json=LONG)
    assert (full.status_code, full.headers["Retry-After"]) == (503, "60")
    start_worker()
    deadline = time.monotonic() + 480
    while client.get(locations[-1]).json()["status"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert {finished(client, each)["status"] for each in locations} == {"done"}
