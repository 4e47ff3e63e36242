"""Web, tracing worker and model worker as processes of their own, on PostgreSQL and Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
import yaml

from tests.conftest import REQUIRED
from tests.e2e.conftest import ROOT, free_port, wait_until_answering
from tests.redis_databases import own_database

POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432")
REDIS = own_database(os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/13"))
pytestmark = [pytest.mark.postgres, pytest.mark.redis]


def services_are_up() -> bool:
    try:
        psycopg.connect(f"{POSTGRES}/postgres", connect_timeout=2).close()
        redis.Redis.from_url(REDIS, socket_connect_timeout=2).ping()
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
    return True


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Make a database and a data folder with one corpus and the demonstration's checkpoint."""
    if not services_are_up():
        if "services" in REQUIRED:
            pytest.fail("PostgreSQL and Redis are required here and do not answer")
        pytest.skip("PostgreSQL or Redis does not answer")
    name = f"fairground_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    redis.Redis.from_url(REDIS).flushdb()
    folder = tmp_path_factory.mktemp("processes")
    values = os.environ | {
        "FAIRGROUND_DATA_DIR": str(folder),
        "DATABASE_URL": f"{POSTGRES}/{name}",
        "REDIS_URL": REDIS,
        "FAIRGROUND_SECRET_KEY": "for this test only",
        "FAIRGROUND_SLOW_TRACE_MS": "0",
    }
    corpus = folder / "fair.jsonl"
    corpus.write_text(json.dumps({"id": "1", "text": "The carousel turns and the music plays on."}) + "\n")
    _manage(values, "migrate", "--verbosity", "0")
    _manage(values, "add_corpus", "fair", str(corpus), "--owner", "Fair", "--licence", "CC0-1.0", "--title", "Fair")
    _manage(values, "build_index", "fair")
    _manage(values, "add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
    yield values
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _manage(values: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=values, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def compose_commands(port: int) -> dict[str, list[str]]:
    """Return each service's command as deploy/compose.yaml has it, with web on this loopback port."""
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    ours = {name: service for name, service in compose["services"].items() if service["image"] == "fairground"}
    here = {"0.0.0.0": "127.0.0.1", "8000": str(port)}
    return {
        name: [sys.executable, "manage.py", *(here.get(word, word) for word in service["command"])]
        for name, service in ours.items()
    }


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what each service writes to standard error."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def site(environment: dict[str, str], logs: Path) -> Iterator[str]:
    """Start every service by its own command; end each by its own process."""
    port = free_port()
    commands = compose_commands(port)
    subprocess.run(commands.pop("migrate"), cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    running = {name: _start(command, environment, logs / name) for name, command in commands.items()}
    try:
        wait_until_answering(f"http://127.0.0.1:{port}", running["web"], logs / "web")
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)


def finished(client: httpx.Client, location: str, timeout_s: float = 240) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(location).raise_for_status().json()
        if found["status"] not in {"pending", "running"}:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{location} did not end in time")


def test_generation_streams_and_trace_is_made_by_workers(site: str) -> None:
    with httpx.Client(base_url=site, timeout=60) as client:
        asked = {"prompt": "def mean(", "experts": ["public", "numerics"], "max_tokens": 20, "seed": 3}
        created = client.post("/api/v1/generations/", json=asked)
        assert created.status_code == 202
        location = created.headers["Location"]
        with client.stream("GET", f"{location}stream/") as stream:
            lines = list(stream.iter_lines())
        texts = [json.loads(line[6:]).get("text", "") for line in lines if line.startswith("data: ")]
        made = finished(client, location)
        assert made["status"] == "done"
        assert "".join(texts) == made["text"]
        assert set(made["routing_shares"]) <= {"public", "numerics"}
        again = finished(client, client.post("/api/v1/generations/", json=asked).headers["Location"])
        assert again["token_ids"] == made["token_ids"]
        traced = client.post("/api/v1/traces/", json={"text": "See how the carousel turns."})
        trace = finished(client, traced.headers["Location"])
        assert trace["spans"][0]["counts"] == {"fair": 1}


def test_matches_are_found_by_a_trace_worker_while_the_model_worker_answers(site: str) -> None:
    with httpx.Client(base_url=site, timeout=60) as client:
        asked = {"prompt": "def mean(", "max_tokens": 400, "temperature": 1.0, "seed": 3, "is_traced_live": True}
        location = client.post("/api/v1/generations/", json=asked).headers["Location"]
        with client.stream("GET", f"{location}matches/") as stream:
            lines = list(stream.iter_lines())
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        made = finished(client, location)
        trace = finished(client, f"/api/v1/traces/{made['trace']}/")
        *looks, end = events
        assert end == {"trace": made["trace"]}
        assert looks
        lengths = [look["n_characters"] for look in looks]
        assert lengths == sorted(set(lengths))
        assert lengths[-1] <= len(made["text"])
        assert trace["text"] == made["text"]


def test_generation_stops_when_asked_from_another_process(site: str) -> None:
    with httpx.Client(base_url=site, timeout=60) as client:
        asked = {"prompt": "def", "max_tokens": 480, "temperature": 1.5, "seed": 1}
        location = client.post("/api/v1/generations/", json=asked).headers["Location"]
        with client.stream("GET", f"{location}stream/") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: token"):
                    break
        client.post(f"{location}cancel/").raise_for_status()
        assert finished(client, location)["status"] in {"cancelled", "done"}


def test_doctor_finds_every_service_alive(site: str, environment: dict[str, str]) -> None:
    services = {"worker trace", "worker model", "worker rank", "beat", "broker", "cache", "database", "migrations"}
    command = [sys.executable, "manage.py", "doctor", "--format", "json"]
    deadline = time.monotonic() + 180
    while True:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
        faults = {name: finding for name, finding in findings.items() if finding["level"] == "fault"}
        if not faults or time.monotonic() > deadline:
            break
    assert faults == {}
    assert services <= set(findings)


def test_log_entries_get_their_place_by_beat_and_a_worker(site: str, environment: dict[str, str]) -> None:
    def n_changes(client: httpx.Client) -> int:
        entries = client.get("/api/v1/log/entries/", params={"kind": "corpus"}).raise_for_status().json()["entries"]
        return len(entries)

    with httpx.Client(base_url=site, timeout=60) as client:
        before = n_changes(client)
        _manage(environment, "change_disclosure", "fair", "snippet")
        deadline = time.monotonic() + 120
        while n_changes(client) == before and time.monotonic() < deadline:
            time.sleep(0.2)
        assert n_changes(client) == before + 1


def test_worker_logs_the_id_of_the_request_that_asked(site: str, logs: Path) -> None:
    with httpx.Client(base_url=site, timeout=60) as client:
        asked = client.post("/api/v1/traces/", json={"text": "Hear how the music plays on."})
        finished(client, asked.headers["Location"])
    deadline = time.monotonic() + 120
    while "slow trace" not in (logs / "worker-trace").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = [line for line in (logs / "worker-trace").read_text().splitlines() if "slow trace" in line]
    assert any(f"request_id={asked.headers['X-Request-ID']}" in line for line in lines)


def traced(client: httpx.Client) -> dict[str, Any]:
    asked = client.post("/api/v1/traces/", json={"text": "See how the carousel turns."}).raise_for_status()
    return finished(client, asked.headers["Location"])


def test_workers_keep_their_connections_between_tasks(site: str, environment: dict[str, str]) -> None:
    begun = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
    with httpx.Client(base_url=site, timeout=60) as client, psycopg.connect(environment["DATABASE_URL"]) as database:
        database.autocommit = True

        def n_sessions() -> int:
            time.sleep(1.5)  # PostgreSQL counts a session once it was idle for a second
            row = database.execute(begun).fetchone()
            assert row is not None
            return int(row[0])

        for _ in range(4):
            traced(client)
        before = n_sessions()
        for _ in range(20):
            assert traced(client)["status"] == "done"
        assert n_sessions() - before < 10


def test_connections_that_break_between_requests_cost_nobody_an_answer(site: str, environment: dict[str, str]) -> None:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    with httpx.Client(base_url=site, timeout=60) as client, psycopg.connect(environment["DATABASE_URL"]) as database:
        database.autocommit = True
        for _ in range(5):
            traced(client)
            ended = database.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall()
            assert len(ended) >= 2
            trace = traced(client)
            assert trace["status"] == "done"
            row = database.execute("SELECT n_starts FROM tracer_trace WHERE id = %s", [trace["id"]]).fetchone()
            assert row == (1,)
