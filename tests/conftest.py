"""Rules for all tests: services and a browser that CI requires may not be skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.base.operations import BaseDatabaseOperations

REQUIRED = frozenset(filter(None, os.environ.get("FAIRGROUND_TEST_REQUIRE", "").split(",")))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip browser tests where no Chromium is installed, unless CI says that one must be."""
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
