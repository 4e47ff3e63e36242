"""What goes wrong inside one answer ends that answer, with its reason on page, stream and row; others go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from django.test import Client

from tests.inference.tiny import EXPERTS, make_checkpoint
from tests.playground.test_comparison_stream import parse
from tests.playground.test_generation_api import read_stream
from webapp.inference import GenerationRequest, InferenceEngine
from webapp.playground import engines, services
from webapp.playground.models import Checkpoint, Generation

Break = Callable[[InferenceEngine, pytest.MonkeyPatch], None]


def run_out_of_memory(engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whatever computes for the mask of `numerics` alone."""
    forward, mask = engine.checkpoint.decoder.forward, engine.checkpoint.mask_for(["numerics"])

    def fail(segments: list[Any], *args: Any, **kwargs: Any) -> Any:
        if any(tuple(segment.mask) == mask for segment in segments):
            raise torch.OutOfMemoryError("no memory")
        return forward(segments, *args, **kwargs)

    monkeypatch.setattr(engine.checkpoint.decoder, "forward", fail)


def give_nan(engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make logits of the mask of `numerics` alone no numbers."""
    forward, mask = engine.checkpoint.decoder.forward, engine.checkpoint.mask_for(["numerics"])

    def spoil(segments: list[Any], *args: Any, **kwargs: Any) -> Any:
        logits, routing = forward(segments, *args, **kwargs)
        rows = torch.tensor([[tuple(segment.mask) == mask] for segment in segments])
        return torch.where(rows, float("nan"), logits), routing

    monkeypatch.setattr(engine.checkpoint.decoder, "forward", spoil)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("break_it", "reason"), [(run_out_of_memory, "not enough memory"), (give_nan, "not a number")])
def test_answer_that_cannot_be_computed_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Break, reason: str
) -> None:
    checkpoint: Checkpoint = services.add_checkpoint(slug="own", path=make_checkpoint(tmp_path / "own", seed=5))
    engine = engines.engine_for(checkpoint)
    assert isinstance(engine, InferenceEngine)
    neighbours = [
        GenerationRequest("Return a", frozenset(EXPERTS[place:] or EXPERTS), max_tokens=30, seed=place)
        for place in range(2)
    ]
    alone = [engine.submit(request).result().token_ids for request in neighbours]
    break_it(engine, monkeypatch)
    running = [engine.submit(request) for request in neighbours]
    bad = services.start_generation(prompt="Return a", experts=["numerics"], max_tokens=8, checkpoint="own")
    services.run_generation(bad.id)
    assert [handle.result().token_ids for handle in running] == alone
    bad.refresh_from_db()
    assert (bad.status, bad.finish_reason) == ("failed", "error")
    assert reason in bad.error
    last = parse(read_stream(f"/api/v1/generations/{bad.id}/stream/"))[-1]
    assert (last[1], last[2]["status"], last[2]["error"]) == ("done", "failed", bad.error)
    assert reason in Client().get(bad.get_absolute_url()).content.decode()
    good = services.start_generation(prompt="Return a", experts=["public"], max_tokens=4, checkpoint="own")
    services.run_generation(good.id)
    assert Generation.objects.get(pk=good.pk).status == "done"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"masks": [["public"], ["nobody"]]}, "nobody"),
        ({"masks": [["public"], []]}, "expert"),
        ({"masks": [["public"], ["web"]], "prompt": "word " * 2000}, "prompt"),
    ],
)
def test_comparison_with_one_side_that_cannot_be_asked_stores_none(
    checkpoint: Checkpoint, body: dict[str, Any], message: str
) -> None:
    values = {"kind": "masks", "prompt": "Return a", "max_tokens": 6, **body}
    answer = Client().post("/api/v1/comparisons/", values, "application/json")
    assert answer.status_code == 400
    assert message in answer.content.decode()
    assert not Generation.objects.exists()
