"""A registered tiny checkpoint, and engines that end with the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.tiny import make_checkpoint
from webapp.playground import services
from webapp.playground.models import Checkpoint


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("playground") / "tiny")


@pytest.fixture
def checkpoint(db: None, tiny_path: Path) -> Checkpoint:
    return services.add_checkpoint(slug="tiny", path=tiny_path)
