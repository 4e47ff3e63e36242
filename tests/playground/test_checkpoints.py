"""Registering checkpoints of every kind, and answering with them."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from django.test import Client
from transformers import AutoModelForCausalLM

from tests.inference.causal_models import make_causal_checkpoint
from tests.inference.tiny import make_checkpoint
from webapp.errors import BadInputError, ConflictError
from webapp.inference import InferenceEngine
from webapp.playground import engines, services
from webapp.playground.checkpoints import add_checkpoint
from webapp.playground.models import Checkpoint, Generation

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


@pytest.fixture(scope="module")
def olmo2_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_causal_checkpoint(tmp_path_factory.mktemp("chat") / "olmo2", "olmo2")
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return path


@pytest.fixture
def chat(db: None, olmo2_path: Path) -> Checkpoint:
    return add_checkpoint(slug="chat", path=olmo2_path)


def made(**values: Any) -> Generation:
    """Ask, run the job in this process, return the row."""
    options = {"prompt": "Return a", "max_tokens": 6, "seed": 1, **values}
    generation = services.start_generation(**options)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    return generation


def test_command_tells_the_memory_before_loading_and_prints_the_digest(db: None, olmo2_path: Path) -> None:
    out, err = StringIO(), StringIO()
    call_command("add_checkpoint", "chat", str(olmo2_path), dtype="float32", device="cpu", stdout=out, stderr=err)
    checkpoint = Checkpoint.objects.get()
    assert out.getvalue().strip() == checkpoint.digest
    assert "GB of weights" in err.getvalue()
    assert (checkpoint.backend, checkpoint.is_chat, checkpoint.dtype) == ("transformers", True, "float32")
    assert not checkpoint.experts.exists()


def test_command_refuses_what_is_neither_folder_nor_hub_id(db: None) -> None:
    with pytest.raises(CommandError, match="neither a folder nor a hub id"):
        call_command("add_checkpoint", "x", "no such folder")


def test_too_large_checkpoint_is_refused_with_the_figure(
    db: None, olmo2_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.inference.placement.free_bytes", lambda device: 1000)
    with pytest.raises(CommandError, match=r"needs .* GB of weights"):
        call_command("add_checkpoint", "x", str(olmo2_path), stderr=StringIO())
    assert not Checkpoint.objects.exists()


def test_experts_are_named_by_a_file_of_the_operators_own(db: None, tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "bare")
    (path / "experts.json").unlink()
    names = tmp_path / "names.json"
    experts = [{"slug": s, "title": s, "owner": "Ai2"} for s in ("public", "math", "news", "code")]
    names.write_text(json.dumps({"experts": experts}))
    checkpoint = add_checkpoint(slug="flex", path=path, experts_file=names)
    names.unlink()
    assert list(checkpoint.experts.values_list("slug", flat=True)) == ["public", "math", "news", "code"]
    assert set(made(experts=["math", "code"]).routing_shares) == {"math", "code"}
    out = tmp_path / "reduced"
    call_command("export_checkpoint", "flex", str(out), experts="math,code", stdout=StringIO())
    assert [e["slug"] for e in json.loads((out / "experts.json").read_text())["experts"]] == ["math", "code"]


def test_experts_cannot_be_named_for_a_model_that_has_none(db: None, olmo2_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="Only a FlexOlmo"):
        add_checkpoint(slug="x", path=olmo2_path, experts_file=tmp_path / "names.json")


@pytest.mark.parametrize(("slug", "error"), [("chat", ConflictError), ("Not A Slug", BadInputError)])
def test_slug_must_be_new_and_well_formed(
    chat: Checkpoint, olmo2_path: Path, slug: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        add_checkpoint(slug=slug, path=olmo2_path)


def test_chat_checkpoint_reads_its_template_with_system_prompt_and_turns(chat: Checkpoint) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    generation = made(system_prompt="Be brief.", messages=turns)
    assert generation.model_prompt == "<system>Be brief.<user>Hi<assistant>Hello<user>Return a<assistant>"
    assert generation.status == "done"
    assert made(is_chat=False).model_prompt == "Return a"


def test_base_checkpoint_continues_text_or_reads_the_plain_template(checkpoint: Checkpoint) -> None:
    assert made().model_prompt == "Return a"
    assert made(system_prompt="Be brief.").model_prompt == "Be brief.\n\nReturn a"
    talked = made(messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    assert talked.model_prompt == "User: Hi\n\nAssistant: Hello\n\nUser: Return a\n\nAssistant:"
    assert talked.stop == ["\n\nUser:"]


def test_stop_and_log_probabilities_are_stored(checkpoint: Checkpoint) -> None:
    full = made(max_tokens=20, top_logprobs=2)
    assert len(full.logprobs) == len(full.token_ids)
    assert len(full.logprobs[0]["top"]) == 2
    stop = full.text[4:6]
    assert made(max_tokens=20, stop=[stop]).text == full.text[: full.text.index(stop)]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"thinking": {"min_tokens": 0, "max_tokens": 5}}, "thinking"),
        ({"experts": ["public"]}, "experts"),
        ({"system_prompt": "x" * 200_000}, "prompt"),
    ],
)
def test_bad_value_is_named_and_nothing_is_stored(chat: Checkpoint, values: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInputError) as caught:
        services.start_generation(prompt="Return", **values)
    assert caught.value.field == field
    assert not Generation.objects.exists()


def test_thinking_is_opened_and_closed_within_its_bounds(db: None, olmo2_path: Path) -> None:
    checkpoint = add_checkpoint(slug="thinker", path=olmo2_path, thinks=True)
    generation = made(thinking={"min_tokens": 0, "max_tokens": 4}, max_tokens=40)
    assert checkpoint.thinks
    assert generation.model_prompt.endswith("<think>")
    assert "</think>" in generation.text
    for bounds in ({"min_tokens": 9, "max_tokens": 5}, {"min_tokens": 0, "max_tokens": 999}, {"max_tokens": "x"}):
        with pytest.raises(BadInputError, match="thinking needs"):
            services.start_generation(prompt="x", max_tokens=40, thinking=bounds)


def test_interface_takes_a_conversation(client: Client, chat: Checkpoint) -> None:
    body = {"prompt": "Bye", "system_prompt": "S", "messages": [{"role": "user", "content": "Hi"}], "stop": ["§"]}
    created = client.post("/api/v1/generations/", body, content_type="application/json").json()
    assert created["model_prompt"] == "<system>S<user>Hi<user>Bye<assistant>"
    assert created["stop"] == ["§"]
    listed = client.get("/api/v1/checkpoints/").json()["results"][0]
    assert (listed["backend"], listed["is_chat"], listed["thinks"]) == ("transformers", True, False)


def test_page_says_that_nothing_can_be_switched(client: Client, chat: Checkpoint) -> None:
    assert "no experts to switch" in client.get("/playground/").content.decode()


@pytest.mark.parametrize("shard_gb", [4.0, 0.00002])
def test_exported_subset_answers_in_transformers_as_here(
    checkpoint: Checkpoint, tmp_path: Path, shard_gb: float
) -> None:
    out = tmp_path / "reduced"
    call_command("export_checkpoint", "tiny", str(out), experts="web,symbolic", shard_gb=shard_gb, stdout=StringIO())
    assert (len(list(out.glob("*.safetensors"))) > 1) == (shard_gb < 1)
    here = made(experts=["web", "symbolic"], temperature=0, max_tokens=20)
    model, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = engines.tokenizer_for(str(checkpoint.folder), checkpoint.digest).encode("Return a").ids
    there = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :].tolist()
    assert there == here.token_ids


def test_operator_bounds_rows_memory_and_threads(checkpoint: Checkpoint, settings: Any) -> None:
    engines.close_engines()
    settings.INFERENCE_ROWS, settings.INFERENCE_CACHE_GB, settings.INFERENCE_THREADS = 3, 0.0005, 1
    engine = engines.engine_for(checkpoint)
    try:
        assert isinstance(engine, InferenceEngine)
        assert (engine.max_rows, engine._n_threads) == (3, 1)
        n_bytes = engine._cache.n_tokens * engine.checkpoint.decoder.cache_bytes_per_token
        assert 400_000 < n_bytes <= 500_000
        assert made().status == "done"
    finally:
        engines.close_engines()


def test_export_of_a_model_without_experts_is_refused(chat: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="flex_olmo"):
        call_command("export_checkpoint", "chat", str(tmp_path / "out"), experts="public")
