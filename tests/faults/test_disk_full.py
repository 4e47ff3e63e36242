"""The database's disk is full while somebody votes: SQLite, then PostgreSQL.

- The voter is told: 503, that nothing of this was stored, and when to ask again.
- What was acknowledged is stored once; of what was refused there is nothing, neither vote nor log entry.
- Once there is room the same vote is taken, without anybody mending anything.
- The log verifies.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from benchmarks.production import MissingProgramError, Production, production
from tests.faults.clients import Voter
from tests.faults.embedded import ROOT, EmbeddedSite, embedded_site
from tests.faults.small_disk import NoMountsError, SmallDisk, small_disk
from tests.requirements import unless_missing

VOTES = "SELECT verdict, entry_id FROM arena_vote WHERE battle_id = {} ORDER BY created_at, supersedes_id IS NOT NULL"
LEAVES = "SELECT leaf FROM transparency_entry WHERE kind = 'vote'"
Rows = list[tuple[object, ...]]


@dataclass
class Case:
    """A site whose database is on a small disk."""

    site: EmbeddedSite | Production
    disk: SmallDisk
    query: Callable[[str], Rows]
    revive: Callable[[], object]


def on_sqlite(stack: ExitStack, folder: Path) -> Case:
    disk = stack.enter_context(small_disk(folder / "data", size_mb=48))
    site = stack.enter_context(embedded_site(disk.folder))

    def query(sql: str) -> Rows:
        with closing(sqlite3.connect(f"file:{disk.folder}/fairground.sqlite3?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    return Case(site, disk, query, lambda: None)


def on_postgres(stack: ExitStack, folder: Path) -> Case:
    disk = stack.enter_context(small_disk(folder / "postgres", size_mb=160))
    site = stack.enter_context(production(folder))
    site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
    site.manage("prepare_demo_arena", "--votes", "20")
    for name in ("web", "worker-model", "worker-rank", "beat"):
        site.start(name)

    def query(sql: str) -> Rows:
        with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
            return connection.execute(sql.encode()).fetchall()

    return Case(site, disk, query, site.revive)


@pytest.fixture(params=[on_sqlite, pytest.param(on_postgres, marks=[pytest.mark.postgres, pytest.mark.redis])])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with ExitStack() as stack:
        # Not pytest's own folder, which PostgreSQL's user may not enter.
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="fairground-full-", ignore_cleanup_errors=True))
        with unless_missing("mounts", NoMountsError), unless_missing("services", MissingProgramError):
            yield request.param(stack, Path(name))


def open_battle(voter: Voter) -> str:
    """Start a battle and wait for both answers; return its page."""
    deadline = time.monotonic() + 180
    while not voter.is_ready:
        voter.act()
    started = voter.send("/arena/", "/arena/", {"prompt": "Say a word."})
    assert started is not None
    assert started.status_code == 303, started.text
    page = started.headers["location"]
    while 'name="verdict"' not in voter.http.get(page).text:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return str(page)


def vote(voter: Voter, page: str, verdict: str) -> httpx.Response:
    """Vote once, as a browser does that has the page open already."""
    fields = {"verdict": verdict, "csrfmiddlewaretoken": voter.http.cookies["csrftoken"]}
    return voter.http.post(f"{page}vote/", data=fields)


@pytest.fixture
def voter(case: Case) -> Iterator[Voter]:
    person = Voter(case.site.address, 1)
    yield person
    person.http.close()


def test_full_disk_refuses_a_vote_whole_and_takes_it_later(case: Case, voter: Voter) -> None:
    page = open_battle(voter)
    battle = page.split("/")[3]
    acknowledged: list[str] = []
    case.disk.fill()
    for number in range(5000):  # what the database had room for already is used up first
        verdict = ("a", "b")[number % 2]
        answer = vote(voter, page, verdict)
        if answer.status_code != 303:
            break
        acknowledged.append(verdict)
    else:
        pytest.fail("the disk was never full")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "nothing of this was stored" in answer.text or "away for the moment" in answer.text
    told = answer.text

    case.disk.empty()
    case.revive()
    deadline = time.monotonic() + 180
    while (answer := vote(voter, page, verdict)).status_code != 303:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline, "there is room again, but no vote is taken"
        case.revive()
        time.sleep(0.2)
    acknowledged.append(verdict)

    column = f"'{battle.replace('-', '')}'" if isinstance(case.site, EmbeddedSite) else f"'{battle}'"
    stored = case.query(VOTES.format(column))
    print(f"{len(acknowledged)} votes acknowledged, the last but one before the disk was full; told: {told[-400:]!r}")
    assert [row[0] for row in stored] == acknowledged
    leaves = [json.loads(str(leaf)) for (leaf,) in case.query(LEAVES)]
    of_battle = [leaf for leaf in leaves if leaf["body"]["battle"] == battle]
    assert {leaf["id"].replace("-", "") for leaf in of_battle} == {str(row[1]).replace("-", "") for row in stored}
    assert len(of_battle) == len(stored)
    folder = case.disk.folder.parent / "log-export"
    case.site.manage("export_log", str(folder))
    command = [sys.executable, "-m", "webapp.transparency.verify", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
