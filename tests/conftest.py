"""Rules for all tests: services and a browser that CI requires may not be skipped."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.db.backends.base.operations import BaseDatabaseOperations

REQUIRED = frozenset(filter(None, os.environ.get("FAIRGROUND_TEST_REQUIRE", "").split(",")))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# No example is timed, nor its drawing. CI judges a change by the same examples each time; everybody else's runs look
# for new ones.
UNTIMED = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("search", deadline=None, suppress_health_check=UNTIMED)
hypothesis.settings.register_profile(
    "gate", deadline=None, suppress_health_check=UNTIMED, derandomize=True, database=None
)
hypothesis.settings.load_profile("gate" if REQUIRED else "search")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run browser tests last, after which no other test may use the database from this thread.

    Skip browser tests where no Chromium is installed, unless CI says that one must be.
    """
    items.sort(key=lambda item: bool(item.get_closest_marker("browser")))
    if CHROMIUM or "browser" in REQUIRED:
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason="no Chromium: install Debian's package chromium"))


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: object) -> Path:
    """Give every test its own data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    settings.DATA_DIR = folder  # type: ignore[attr-defined]
    settings.STATIC_ROOT = folder  # type: ignore[attr-defined]  # WhiteNoise warns where nothing was collected
    return folder


@pytest.fixture(autouse=True)
def same_draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CI judge a change by the same draws each time, as by the same examples: chance comes from the test's name.

    Epochs' seeds, nonces that the client leaves to the server and voters' salts; processes that a test
    starts draw by the system's chance, as do all tests elsewhere.
    """
    if REQUIRED:
        chance = random.Random(request.node.nodeid)
        for module in ("arena.sampling.draws", "arena.services.draws", "arena.models.votes"):
            monkeypatch.setattr(f"{module}.secrets", SameChance(chance))


class SameChance:
    """The two functions of `secrets` that the arena draws with, from a generator that can be seeded."""

    def __init__(self, chance: random.Random) -> None:
        self.token_bytes = chance.randbytes
        self.token_hex = lambda n_bytes: chance.randbytes(n_bytes).hex()


@pytest.fixture(autouse=True, scope="session")
def flush_past_triggers() -> Iterator[None]:
    """Let the flush after a test with real transactions empty tables whose triggers forbid deletion."""
    flush = BaseDatabaseOperations.execute_sql_flush

    def flush_without_triggers(operations: Any, statements: list[str]) -> None:
        if operations.connection.vendor == "postgresql":
            before, after = ["SET session_replication_role = replica"], ["SET session_replication_role = DEFAULT"]
        else:
            with operations.connection.cursor() as cursor:
                cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
                triggers = cursor.fetchall()
            before, after = [f'DROP TRIGGER "{name}"' for name, _ in triggers], [sql for _, sql in triggers]
        flush(operations, [*before, *statements, *after] if statements else [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", flush_without_triggers)
        yield
