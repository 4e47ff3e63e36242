"""One task a shard on two workers, with PostgreSQL and Redis of its own; one of them is killed half way."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.production import MissingProgramError, Production, production
from tests.conftest import REQUIRED

N_SHARDS = 6


@pytest.fixture
def site() -> Iterator[Production]:
    # Not pytest's own folder, which PostgreSQL's user may not enter.
    temporary = tempfile.TemporaryDirectory(prefix="fairground-build-", ignore_cleanup_errors=True)
    try:
        with temporary as name, production(Path(name), FAIRGROUND_STALE_AFTER_S="15") as made:
            yield made
    except MissingProgramError as error:
        if "services" in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))


def _write_texts(folder: Path) -> None:
    """Write three files of random words, 12 MB, so that a shard takes a second or two."""
    chance = random.Random(3)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(20_000)]
    folder.mkdir()
    for part in range(3):
        lines = (json.dumps({"text": " ".join(chance.choices(words, k=300))}) for _ in range(2000))
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")


def _n_running(site: Production) -> int:
    return len(_query(site, "SELECT 1 FROM tracer_shardbuild WHERE status = 'running'"))


def _query(site: Production, sql: str) -> list[tuple[object, ...]]:
    import psycopg

    with psycopg.connect(site.environment["DATABASE_URL"], autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def test_a_killed_worker_leaves_its_shard_to_the_other(site: Production) -> None:
    _write_texts(site.folder / "texts")
    about = ["--owner", "Fair", "--licence", "CC0-1.0", "--title", "Words"]
    site.manage("add_corpus", "words", str(site.folder / "texts"), *about)
    site.start("worker-build")
    site.start("worker-build-two", [*site.commands["worker-build"], "--name", "two"])
    site.start("worker-trace")  # gives what lost its worker back to the queue
    site.start("beat")
    build = site.manage("build_index", "words", "--shards", str(N_SHARDS), "--workers", "--no-wait").strip()
    deadline = time.monotonic() + 300
    killed = False
    status = ""
    while status != "done" and time.monotonic() < deadline:
        [(status, error)] = _query(site, f"SELECT status, error FROM tracer_indexbuild WHERE id = '{build}'")
        assert status != "failed", error
        if not killed and _n_running(site) == 2:
            stopped = site.running["worker-build-two"].pid
            os.killpg(stopped, signal.SIGSTOP)
            if killed := _n_running(site) == 2:  # it has not ended its shard between the look and the signal
                site.kill("worker-build-two")
            else:
                os.killpg(stopped, signal.SIGCONT)
        time.sleep(0.1)
    assert killed
    assert status == "done"
    shards = _query(site, "SELECT status, n_starts FROM tracer_shardbuild ORDER BY number")
    assert [shard_status for shard_status, _ in shards] == ["done"] * N_SHARDS
    assert sorted(n_starts for _, n_starts in shards) == [1] * (N_SHARDS - 1) + [2]
    [(digest,)] = _query(site, "SELECT digest FROM tracer_index")
    alone = site.manage("build_index", "words", "--shards", str(N_SHARDS)).strip()
    assert alone == digest, "one process alone builds the very same index"
    left = [path.name for path in (Path(site.environment["FAIRGROUND_DATA_DIR"]) / "indexes" / "words").iterdir()]
    assert left == [str(digest)[:16]]
