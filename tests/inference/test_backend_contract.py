"""Promises that every backend keeps, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.inference.causal_models import make_causal_checkpoint
from tests.inference.tiny import TEXT, make_checkpoint
from tests.inference.v1_server import V1Server
from webapp.inference import (
    EngineClosedError,
    FinishEvent,
    GenerationRequest,
    InferenceEngine,
    RequestError,
    TokenEvent,
    UnknownExpertError,
    load_checkpoint,
)
from webapp.inference.backend import Backend
from webapp.inference.causal import load_causal_model
from webapp.inference.causal_engine import CausalEngine
from webapp.inference.remote import RemoteEngine, RemoteServer

LONG = 5000
KINDS = ["flex_olmo", "olmo2", "olmoe", "remote chat", "remote completions"]


@pytest.fixture(scope="module", params=KINDS)
def make_backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Backend]]:
    """Makes backends of one kind over the same tiny checkpoint, not started yet."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp("contract") / kind
    if kind == "flex_olmo":
        path = make_checkpoint(folder, max_position_embeddings=LONG + 200)
        yield lambda: InferenceEngine(load_checkpoint(path), max_rows=4)
        return
    architecture = "olmo2" if kind.startswith("remote") else kind
    path = make_causal_checkpoint(folder, architecture, max_position_embeddings=LONG + 200)
    if not kind.startswith("remote"):
        yield lambda: CausalEngine(load_causal_model(path), max_rows=4)
        return
    with CausalEngine(load_causal_model(path)) as behind, V1Server(behind).running() as server:
        elsewhere = RemoteServer(server.url, "tiny", is_chat=kind == "remote chat")
        yield lambda: RemoteEngine(elsewhere, private_hosts=["127.0.0.1"])


@pytest.fixture
def backend(make_backend: Callable[[], Backend]) -> Iterator[Backend]:
    running = make_backend()
    running.start()
    yield running
    running.close()


def asked(backend: Backend, seed: int = 0, **changes: Any) -> GenerationRequest:
    values = {"prompt": f"Return {seed}", "max_tokens": 16, "temperature": 1.0, "top_p": 0.9, "seed": seed}
    return GenerationRequest(**{**values, "experts": frozenset(backend.expert_slugs), **changes})


def answer(backend: Backend, **changes: Any) -> FinishEvent:
    return backend.submit(asked(backend, **changes)).result()


def test_pieces_join_to_the_text_and_the_last_event_ends_it(backend: Backend) -> None:
    handle = backend.submit(asked(backend, temperature=1.5, max_tokens=40))
    *tokens, finish = handle
    assert isinstance(finish, FinishEvent)
    assert [token.index for token in tokens if isinstance(token, TokenEvent)] == list(range(len(tokens)))
    assert "".join(token.text for token in tokens) == finish.text
    assert finish.reason == "length"
    assert 1 <= len(tokens) <= 40
    if finish.token_ids:  # a server elsewhere tells neither ids nor how its pieces are cut
        assert len(tokens) == len(finish.token_ids) == 40
    assert handle.next_event(0) is None


def test_seed_gives_the_same_text_whatever_else_is_asked(backend: Backend) -> None:
    requests = [
        asked(backend, seed, temperature=seed % 3 / 2, max_tokens=6 + seed, prompt=TEXT[seed : 9 * seed + 3])
        for seed in range(7)
    ]
    alone = [backend.submit(request).result().text for request in requests]
    together = [handle.result().text for handle in [backend.submit(request) for request in requests]]
    assert alone == together


def test_another_seed_gives_another_text(backend: Backend) -> None:
    assert len({answer(backend, seed=seed, prompt="Return").text for seed in range(4)}) == 4


def test_stop_string_ends_the_answer_and_never_shows(backend: Backend) -> None:
    full = answer(backend, max_tokens=30).text
    stop = full[7:10]
    handle = backend.submit(asked(backend, max_tokens=30, stop=(stop,)))
    *tokens, finish = handle
    assert isinstance(finish, FinishEvent)
    assert finish.reason == "stop"
    assert finish.text == full[: full.index(stop)] == "".join(token.text for token in tokens)


def test_log_probabilities_come_with_their_alternatives(backend: Backend) -> None:
    events = list(backend.submit(asked(backend, temperature=0.0, max_tokens=5, top_logprobs=2)))
    for event in events[:-1]:
        assert isinstance(event, TokenEvent)
        assert event.logprob is not None
        assert len(event.top_logprobs) == 2
        assert event.logprob.logprob == pytest.approx(event.top_logprobs[0].logprob, abs=1e-4)
        assert event.top_logprobs[0].logprob >= event.top_logprobs[1].logprob


def test_cancel_ends_a_running_answer(backend: Backend) -> None:
    handle = backend.submit(asked(backend, max_tokens=LONG))
    events = iter(handle)
    next(events)
    handle.cancel()
    assert handle.result().reason == "cancelled"
    assert answer(backend, max_tokens=3).reason == "length"


def test_cancel_leaves_the_others_alone(backend: Backend) -> None:
    expected = [answer(backend, seed=seed, max_tokens=30).text for seed in range(5)]
    handles = [backend.submit(asked(backend, seed, max_tokens=30 if seed < 5 else LONG)) for seed in range(10)]
    for handle in handles[5:]:
        handle.cancel()
    assert [handle.result().text for handle in handles[:5]] == expected
    assert {handle.result().reason for handle in handles[5:]} == {"cancelled"}


def test_time_cap_ends_the_answer(backend: Backend) -> None:
    assert answer(backend, max_tokens=LONG, max_seconds=0.001).reason == "time"


def test_timings_are_in_order(backend: Backend) -> None:
    timings = answer(backend).timings_ms
    assert 0 <= timings["queued"] <= timings["first_token"] <= timings["total"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"prompt": ""}, RequestError),
        ({"prompt": "\ud800"}, RequestError),
        ({"max_tokens": 0}, RequestError),
        ({"top_p": 0}, RequestError),
        ({"experts": frozenset(["nobody"])}, UnknownExpertError),
        ({"top_logprobs": 21}, RequestError),
    ],
)
def test_bad_request_is_refused_at_once(backend: Backend, changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        backend.submit(asked(backend, **changes))


def test_close_cancels_and_refuses(make_backend: Callable[[], Backend]) -> None:
    backend = make_backend()
    with pytest.raises(EngineClosedError):
        backend.submit(asked(backend))
    backend.start()
    handles = [backend.submit(asked(backend, seed, max_tokens=LONG)) for seed in range(6)]
    backend.close()
    assert {handle.result().reason for handle in handles} == {"cancelled"}
    with pytest.raises(EngineClosedError):
        backend.submit(asked(backend))
    with pytest.raises(EngineClosedError):
        backend.start()
