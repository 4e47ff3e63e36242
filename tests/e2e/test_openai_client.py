"""The official `openai` client, unchanged, against the real site."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

PROMPT = "def numpy.mean(a, axis=None)\n\nCompute the"


@pytest.fixture(scope="module")
def client(site: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{site}/v1", api_key="unused", max_retries=0) as made:
        yield made


def test_lists_models(client: openai.OpenAI) -> None:
    [model] = client.models.list()
    assert model.id == "demo"
    assert client.models.retrieve("demo").id == "demo"


def test_completion_equals_its_stream_and_the_seed_repeats_it(client: openai.OpenAI) -> None:
    asked = {"model": "demo", "prompt": PROMPT, "max_tokens": 24, "seed": 3, "temperature": 0.8}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 24
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24


def test_chat_streams_with_usage_and_log_probabilities(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a mean?"}]
    asked = {"model": "demo", "messages": messages, "max_tokens": 12, "seed": 5, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    logs = whole.choices[0].logprobs
    assert logs is not None
    assert logs.content is not None
    assert len(logs.content) == 12
    assert all(len(token.top_logprobs) == 2 for token in logs.content)
    streamed = [token for c in chunks if c.choices and c.choices[0].logprobs for token in c.choices[0].logprobs.content]
    assert streamed == logs.content


def test_stop_string_ends_the_answer(client: openai.OpenAI) -> None:
    asked = {"model": "demo", "prompt": PROMPT, "max_tokens": 40, "temperature": 0}
    full = client.completions.create(**asked).choices[0].text
    stop = full[10:13]
    short = client.completions.create(**asked, stop=stop).choices[0]
    assert short.text == full[: full.index(stop)]
    assert short.finish_reason == "stop"


def test_experts_and_trace_are_extension_fields(client: openai.OpenAI) -> None:
    extra = {"experts": ["public", "numerics"], "trace": True}
    asked = {"model": "demo", "prompt": PROMPT, "max_tokens": 60, "seed": 1, "temperature": 0.3}
    whole = client.completions.create(**asked, extra_body=extra)
    assert whole.model_extra is not None
    assert whole.model_extra["experts"] == ["public", "numerics"]
    assert set(whole.model_extra["routing_shares"]) == {"public", "numerics"}
    trace = whole.model_extra["trace"]
    assert trace["text"] == whole.choices[0].text
    assert trace["spans"]
    *_, last = client.completions.create(**asked, extra_body=extra, stream=True)
    assert last.model_extra is not None
    assert last.model_extra["trace"]["spans"] == trace["spans"]


def test_errors_arrive_as_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Known: demo"):
        client.completions.create(model="nothing", prompt="x")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "x"}], n=2)
    assert caught.value.param == "n"


def test_answer_stops_when_the_client_goes_away(site: str) -> None:
    body = {"model": "demo", "prompt": "def", "max_tokens": 480, "stream": True, "seed": 1, "temperature": 1.5}
    with httpx.Client(base_url=site, timeout=60) as http, http.stream("POST", "/v1/completions", json=body) as answer:
        line = next(line for line in answer.iter_lines() if line.startswith("data: "))
        identifier = json.loads(line[6:])["id"].removeprefix("cmpl-")
    with httpx.Client(base_url=site, timeout=60) as http:
        with http.stream("GET", f"/api/v1/generations/{identifier}/stream/") as events:
            list(events.iter_lines())
        assert http.get(f"/api/v1/generations/{identifier}/").json()["status"] in {"cancelled", "done"}
