"""Tiny checkpoints, made once a session, and engines over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers.utils import logging as transformers_logging

from tests.inference.tiny import make_checkpoint
from webapp.inference import InferenceEngine, LoadedCheckpoint, load_checkpoint
from webapp.inference.linear import pick_way

transformers_logging.disable_progress_bar()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(params=["compiled", "torch"])
def multiply(request: pytest.FixtureRequest) -> str:
    """Both ways of multiplying, where the machine has both."""
    way = str(request.param)
    if way == "compiled" and pick_way("auto", torch.float32, torch.device("cpu")) != way:
        pytest.skip("products cannot be compiled here")
    return way


@pytest.fixture
def checkpoint(checkpoint_path: Path, multiply: str) -> LoadedCheckpoint:
    return load_checkpoint(checkpoint_path, multiply=multiply)


@pytest.fixture
def engine(checkpoint: LoadedCheckpoint) -> Iterator[InferenceEngine]:
    with InferenceEngine(checkpoint, max_rows=4, max_queued=16) as running:
        yield running
