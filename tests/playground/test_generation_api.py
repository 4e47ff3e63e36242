"""Generations over REST and in the services: masks, seeds, streams, ends."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.test import AsyncClient, Client

from webapp.errors import BadInputError
from webapp.playground import making, services
from webapp.playground.models import Checkpoint, Generation


def ask(client: Client, **body: Any) -> Any:
    return client.post("/api/v1/generations/", body, content_type="application/json")


def made(client: Client, **body: Any) -> dict[str, Any]:
    """Ask, run the job in this process, return what the resource shows."""
    created = ask(client, **{"prompt": "Return a new", "max_tokens": 8, "seed": 5, **body})
    assert created.status_code == 202
    services.run_generation(created.json()["id"])
    shown: dict[str, Any] = client.get(created.headers["Location"]).json()
    return shown


def test_routes_to_enabled_experts_only_when_others_are_off(client: Client, checkpoint: Checkpoint) -> None:
    shown = made(client, experts=["numerics", "public"])
    assert shown["status"] == "done"
    assert shown["experts"] == ["public", "numerics"]
    assert set(shown["routing_shares"]) == {"public", "numerics"}
    assert sum(shown["routing_shares"].values()) == pytest.approx(1, abs=1e-3)
    routing = Generation.objects.get().get_token_routing()
    assert routing.shape == (len(shown["token_ids"]), 2)


def test_gives_the_same_tokens_when_seed_and_mask_are_the_same(client: Client, checkpoint: Checkpoint) -> None:
    first, second = made(client, temperature=1.0), made(client, temperature=1.0)
    assert first["token_ids"] == second["token_ids"]
    assert first["checkpoint_digest"] == checkpoint.digest


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": "word " * 2000}, "prompt"),
        ({"prompt": "x", "experts": []}, "experts"),
        ({"prompt": "x", "experts": ["nobody"]}, "experts"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "x", "temperature": -1}, "temperature"),
        ({"prompt": "x", "top_p": 0}, "top_p"),
        ({"prompt": "x", "seed": -1}, "seed"),
    ],
)
def test_names_the_field_when_input_is_bad(
    client: Client, checkpoint: Checkpoint, body: dict[str, Any], field: str
) -> None:
    answer = ask(client, **body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert list(answer.json()["errors"]) == [field]
    assert not Generation.objects.exists()


def test_cancels_at_once_when_still_waiting(client: Client, checkpoint: Checkpoint) -> None:
    location = ask(client, prompt="Return").headers["Location"]
    assert client.post(f"{location}cancel/").json()["status"] == "cancelled"
    services.run_generation(Generation.objects.get().id)
    assert Generation.objects.get().token_ids == []


def test_fails_when_the_checkpoint_was_replaced_meanwhile(client: Client, checkpoint: Checkpoint) -> None:
    created = ask(client, prompt="Return").json()
    Checkpoint.objects.update(digest="0" * 64)
    services.run_generation(created["id"])
    failed = Generation.objects.get()
    assert failed.status == "failed"
    assert "replaced" in failed.error


def test_fails_when_its_worker_died_twice(client: Client, checkpoint: Checkpoint) -> None:
    ask(client, prompt="Return")
    Generation.objects.update(n_starts=making.MAX_STARTS)
    services.run_generation(Generation.objects.get().id)
    assert Generation.objects.get().status == "failed"


def test_traces_once_only_when_finished(client: Client, checkpoint: Checkpoint) -> None:
    location = ask(client, prompt="Return").headers["Location"]
    assert client.post(f"{location}trace/").status_code == 409


def read_stream(path: str, **headers: str) -> str:
    """Read an event stream to its end."""

    async def read() -> str:
        response = await AsyncClient().get(path, headers=headers)
        return b"".join([chunk async for chunk in response.streaming_content]).decode()

    return async_to_sync(read)()


@pytest.mark.django_db(transaction=True)
def test_streams_stored_tokens_when_a_reader_comes_late(tiny_path: Path) -> None:
    services.add_checkpoint(slug="tiny", path=tiny_path)
    generation = services.start_generation(prompt="Return a", max_tokens=6, temperature=0, seed=1)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    path = f"/api/v1/generations/{generation.id}/stream/"
    data = [json.loads(line[6:]) for line in read_stream(path).splitlines() if line.startswith("data: ")]
    assert "".join(event.get("text", "") for event in data) == generation.text
    assert data[-1]["status"] == "done"
    assert read_stream(path, **{"Last-Event-ID": "5"}).count("event: token") == 1


def test_lists_experts_with_owner_and_licence_when_asked(client: Client, checkpoint: Checkpoint) -> None:
    listed = client.get("/api/v1/experts/").json()["results"]
    assert [expert["slug"] for expert in listed] == ["public", "web", "numerics", "symbolic"]
    assert {expert["licence"] for expert in listed} == {"MIT"}


def test_page_switches_all_experts_on_when_a_link_names_none(client: Client, checkpoint: Checkpoint) -> None:
    body = client.get("/playground/?prompt=def+mean(").content.decode()

    n_on = len(re.findall(r'name="experts" value="\w+" checked', body))
    assert body.count('name="experts"') == n_on == checkpoint.experts.count()


def test_page_keeps_what_was_typed_when_all_experts_are_off(client: Client, checkpoint: Checkpoint) -> None:
    page = client.post("/playground/", {"prompt": "<b>keep me</b>"})
    body = page.content.decode()
    assert page.status_code == 422
    assert "All experts are off" in body
    assert "&lt;b&gt;keep me&lt;/b&gt;" in body


def test_command_prints_json_alone_when_asked(checkpoint: Checkpoint) -> None:
    out = StringIO()
    call_command("generate", prompt="Return", max_tokens=4, seed=2, format="json", stdout=out)
    answer = json.loads(out.getvalue())
    assert set(answer) == {
        "text",
        "token_ids",
        "experts",
        "routing_shares",
        "seed",
        "checkpoint_digest",
        "timings_ms",
    }


def test_command_says_what_to_choose_from_when_an_expert_is_unknown(checkpoint: Checkpoint) -> None:
    with pytest.raises(CommandError, match="public, web, numerics, symbolic"):
        call_command("generate", prompt="Return", experts="nobody")


def test_names_what_is_missing_when_a_checkpoint_lacks_tensors(db: None, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tests.inference.tiny import make_checkpoint

    folder = make_checkpoint(tmp_path / "short")
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if "experts" in n or "gate" in n)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInputError, match="missing"):
        services.add_checkpoint(slug="short", path=folder)
    assert not Checkpoint.objects.exists()
