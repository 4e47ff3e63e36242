"""`/v1/` refuses what it cannot honour, in OpenAI's shape, and lists its models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from webapp.errors import BadInputError
from webapp.playground.models import Checkpoint, Generation
from webapp.playground.openai.questions import read_question

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
TEXT = {"model": "tiny", "prompt": "Return"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {**CHAT, "messages": []}, "messages"),
        ("chat/completions", {**CHAT, "messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ("chat/completions", {**CHAT, "messages": [{"role": "tool", "content": "x"}, *CHAT["messages"]]}, "messages"),
        ("chat/completions", {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ("chat/completions", {**CHAT, "n": 2}, "n"),
        ("chat/completions", {**CHAT, "tools": [{"type": "function"}]}, "tools"),
        ("chat/completions", {**CHAT, "temperature": "hot"}, "temperature"),
        ("chat/completions", {**CHAT, "temperature": 11}, "temperature"),
        ("chat/completions", {**CHAT, "max_tokens": 1.5}, "max_tokens"),
        ("chat/completions", {**CHAT, "max_tokens": 100_000}, "prompt"),
        ("chat/completions", {**CHAT, "stop": [1]}, "stop"),
        ("chat/completions", {**CHAT, "top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 50}, "top_logprobs"),
        ("chat/completions", {**CHAT, "experts": ["nobody"]}, "experts"),
        ("chat/completions", {**CHAT, "stream": "yes"}, "stream"),
        ("chat/completions", {**CHAT, "response_format": {"type": "json_object"}}, "response_format"),
        ("chat/completions", {**CHAT, "frequency_penalty": 1}, "frequency_penalty"),
        ("completions", {**TEXT, "prompt": ["a", "b"]}, "prompt"),
        ("completions", {**TEXT, "prompt": [1, 2]}, "prompt"),
        ("completions", {**TEXT, "echo": True}, "echo"),
        ("completions", {**TEXT, "best_of": 3}, "best_of"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_refuses_with_the_name_of_the_field(
    client: Client, checkpoint: Checkpoint, path: str, body: dict[str, Any], param: str
) -> None:
    answer = client.post(f"/v1/{path}", body, content_type="application/json")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert not Generation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_unknown_model_method_path_and_body_have_the_same_shape(client: Client, checkpoint: Checkpoint) -> None:
    missing = client.post("/v1/completions", {**TEXT, "model": "gpt-9"}, content_type="application/json")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert client.get("/v1/models/gpt-9").json()["error"]["param"] == "model"
    assert client.get("/v1/completions").status_code == 405
    assert client.post("/v1/embeddings", {}, content_type="application/json").json()["error"]["code"] == "not-found"
    assert client.post("/v1/completions", "{", content_type="application/json").status_code == 400


def test_lists_models_with_their_experts(client: Client, checkpoint: Checkpoint) -> None:
    [model] = client.get("/v1/models").json()["data"]
    assert model == client.get("/v1/models/tiny").json()
    assert (model["id"], model["object"]) == ("tiny", "model")
    assert model["experts"] == ["public", "web", "numerics", "symbolic"]


def test_reads_system_prompt_turns_and_both_names_of_the_limit() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "By"}, {"type": "text", "text": "e"}]},
    ]
    body = {"messages": messages, "max_completion_tokens": 5, "max_tokens": 9, "stop": "x", "user": "ignored"}
    asked = read_question(json.dumps(body).encode(), is_chat=True).arguments
    assert (asked["system_prompt"], asked["prompt"], asked["max_tokens"]) == ("Be brief.", "Bye", 5)
    assert [turn["content"] for turn in asked["messages"]] == ["Hi", "Hello"]
    assert (asked["stop"], asked["temperature"], asked["experts"]) == (["x"], 1.0, None)


@pytest.mark.parametrize("body", [b"[]", b"null", b"\xff", b"1"])
def test_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadInputError, match="body"):
        read_question(body, is_chat=True)
