"""Rows of the first release, in every table, come through all migrations and back, on both databases; the log too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.production import MissingProgramError, Production
from tests.requirements import unless_missing

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = Path(__file__).with_name("first-release.json")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Yield settings of an empty database; PostgreSQL's is a server of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    # Not pytest's own folder, which PostgreSQL's user may not enter.
    with tempfile.TemporaryDirectory(prefix="fairground-upgrade-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        kept["FAIRGROUND_DATA_DIR"] = str(folder / "data")
        if request.param == "sqlite":
            yield kept
            return
        with unless_missing("services", MissingProgramError):
            server = Production(folder)
        server.start("postgres")
        try:
            url = server.environment["DATABASE_URL"]
            yield {**kept, "DATABASE_URL": url, "FAIRGROUND_SECRET_KEY": "for this run only"}
        finally:
            server.stop()


def test_first_release_has_rows_in_every_table() -> None:
    rows = json.loads(FIXTURE.read_text(encoding="utf-8"))["rows"]
    assert {label.split(".")[0] for label in rows} == {
        "arena",
        "auth",
        "playground",
        "tracer",
        "transparency",
        "webapp",
    }
    assert all(rows.values()), [label for label, found in rows.items() if not found]


def test_rows_and_log_come_through_every_migration_and_back(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tests.upgrade.forward"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    vendor = "postgresql" if "DATABASE_URL" in environment else "sqlite"
    assert f"on {vendor}" in done.stdout
