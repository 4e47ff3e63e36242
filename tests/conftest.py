"""Rules for all tests: services and a browser that CI requires may not be skipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

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
