"""Every service is killed at random moments under load, and the site keeps its promises.

- No acknowledged vote is lost or counted twice.
- Every acknowledged trace and answer ends: done, or failed with a reason.
- The same idempotency key never makes two traces.
- A stream goes on after a reconnect, without a gap or a repetition.
- The log verifies.

Forty seconds here, and each service once at least; FAIRGROUND_TEST_CHAOS_S=600 for the long run of docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from benchmarks.production import MissingProgramError, Production, production
from tests.conftest import REQUIRED
from tests.faults.clients import WORDS, Client, Reader, Tracer, Voter

ROOT = Path(__file__).resolve().parents[2]
DURATION_S = float(os.environ.get("FAIRGROUND_TEST_CHAOS_S", "40"))
SEED = int(os.environ.get("FAIRGROUND_TEST_CHAOS_SEED", "1"))
SETTLE_S = 180.0
SERVICES = ("web", "worker-trace", "worker-model", "worker-rank", "beat")
VICTIMS = (*SERVICES, "redis", "postgres")


@pytest.fixture(scope="module")
def site() -> Iterator[Production]:
    """Start a production site with one corpus, the demonstration's checkpoint and an arena."""
    # Not pytest's own folder, which PostgreSQL's user may not enter.
    temporary = tempfile.TemporaryDirectory(prefix="fairground-chaos-", ignore_cleanup_errors=True)
    try:
        with temporary as name, production(Path(name), FAIRGROUND_STALE_AFTER_S="5") as made:
            folder = made.folder
            corpus = folder / "fair.jsonl"
            corpus.write_text(json.dumps({"id": "1", "text": " ".join(WORDS)}) + "\n")
            made.manage("add_corpus", "fair", str(corpus), "--owner", "Fair", "--licence", "CC0-1.0", "--title", "Fair")
            made.manage("build_index", "fair")
            made.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
            made.manage("prepare_demo_arena", "--votes", "60")
            for name in SERVICES:
                made.start(name)
            yield made
    except MissingProgramError as error:
        if "services" in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))


def kill_and_restart(site: Production, duration_s: float, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Kill one service after another with SIGKILL and start it again; start what ended by itself, as a supervisor does.

    Return how often each was killed, and how often each ended by itself.
    """
    ended: Counter[str] = Counter()
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    order = list(VICTIMS)
    end = time.monotonic() + duration_s
    while time.monotonic() < end or len(killed) < len(VICTIMS):
        ended.update(site.revive())
        if not order:
            order = list(VICTIMS)
        victim = order.pop(chance.randrange(len(order)))
        time.sleep(chance.uniform(0.5, 3.0))
        site.kill(victim)
        killed[victim] += 1
        time.sleep(chance.uniform(0.0, 1.0))
        site.start(victim)
    time.sleep(2)
    ended.update(site.revive())
    return killed, ended


@pytest.mark.postgres
@pytest.mark.redis
def test_promises_hold_while_everything_is_killed(site: Production) -> None:
    tracers = [Tracer(site.address, 1), Tracer(site.address, 2)]
    readers = [Reader(site.address, 3), Reader(site.address, 4)]
    voters = [Voter(site.address, 5), Voter(site.address, 6)]
    clients: list[Client] = [*tracers, *readers, *voters]
    for client in clients:
        client.start()
    killed, fell = kill_and_restart(site, DURATION_S, SEED)
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(60)
    assert [client.crash for client in clients] == [None] * len(clients)

    asked = [at for tracer in tracers for at in tracer.keys.values()] + [at for r in readers for at in r.asked]
    ended = wait_until_ended(site, asked)
    outcomes = Counter(job["status"] for job in ended.values())
    votes = {battle: verdict for voter in voters for battle, verdict in voter.votes.items()}
    print(f"killed {dict(killed)}; ended by themselves {dict(fell)}; jobs {dict(outcomes)}; votes {len(votes)}")
    print(f"streams resumed {sum(r.n_resumed for r in readers)}; refused {sum(c.n_refused for c in clients)}")

    assert all(job["status"] == "done" or job["error"] for job in ended.values())
    assert outcomes["done"] > outcomes["failed"]
    assert len({at for tracer in tracers for at in tracer.keys.values()}) == sum(len(t.keys) for t in tracers)
    for reader in readers:
        for location, text in reader.read.items():
            if ended[location]["status"] == "done":
                assert text == ended[location]["text"]
    assert_votes_are_stored_once(site, votes)
    assert_log_verifies(site)


def wait_until_ended(site: Production, asked: list[str]) -> dict[str, dict[str, str]]:
    ended: dict[str, dict[str, str]] = {}
    deadline = time.monotonic() + SETTLE_S
    with httpx.Client(base_url=site.address, timeout=30) as http:
        while len(ended) < len(set(asked)) and time.monotonic() < deadline:
            for location in set(asked) - ended.keys():
                job = http.get(location).raise_for_status().json()
                if job["status"] not in {"pending", "running"}:
                    ended[location] = job
            time.sleep(0.5)
    assert set(asked) == ended.keys(), f"{len(set(asked) - ended.keys())} jobs never ended"
    return ended


def assert_votes_are_stored_once(site: Production, votes: dict[str, str]) -> None:
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT v.battle_id::text, v.verdict, count(*) FROM arena_vote v "
            "LEFT JOIN arena_vote later ON later.supersedes_id = v.id WHERE later.id IS NULL GROUP BY 1, 2"
        ).fetchall()
    stored = {battle: (verdict, number) for battle, verdict, number in rows}
    assert votes
    for battle, verdict in votes.items():
        assert stored[battle] == (verdict, 1)


def assert_log_verifies(site: Production) -> None:
    folder = site.folder / "log-export"
    site.manage("export_log", str(folder))
    command = [sys.executable, "-m", "webapp.transparency.verify", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
