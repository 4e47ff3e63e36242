"""What is sent to an OpenAI-compatible server and what its stream of events says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from webapp.inference.requests import GenerationRequest, TokenLogprob

MAX_SENT_STOPS = 4  # what the hosted servers take; the others are looked for here


class BadAnswerError(Exception):
    """A server that does not keep to the protocol, or says that it failed."""


@dataclass(frozen=True)
class Chunk:
    """One event: some text, perhaps with log probabilities, perhaps the reason of the end."""

    text: str
    logprobs: tuple[tuple[TokenLogprob, tuple[TokenLogprob, ...]], ...] = field(default=())
    finish_reason: str | None = None


def request_body(request: GenerationRequest, *, model: str, is_chat: bool) -> bytes:
    """The JSON of a request for the chat or the completions endpoint."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
    }
    if request.stop:
        body["stop"] = list(request.stop[:MAX_SENT_STOPS])
    if is_chat:
        body["messages"] = [asdict(m) for m in request.messages] or [{"role": "user", "content": request.prompt}]
        if request.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    else:
        body["prompt"] = request.prompt
        if request.top_logprobs is not None:
            body["logprobs"] = request.top_logprobs
    return json.dumps(body).encode()


def read_chunks(stream: Iterable[bytes], max_bytes: int) -> Iterator[Chunk]:
    """The chunks of an event stream, to `[DONE]` or the stream's end. BadAnswerError."""
    for data in _event_data(stream, max_bytes):
        if data == "[DONE]":
            return
        try:
            body = json.loads(data)
        except ValueError as error:
            raise BadAnswerError("The server sent an event that is not JSON.") from error
        if not isinstance(body, dict):
            raise BadAnswerError("The server sent an event of an unknown shape.")
        if body.get("error"):
            raise BadAnswerError(f"The server reports: {error_text(body)}")
        for choice in body.get("choices") or ():
            yield _chunk(choice)


def error_text(body: object) -> str:
    """The message in a server's error, shortened."""
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(message).split())[:200]


def _event_data(stream: Iterable[bytes], max_bytes: int) -> Iterator[str]:
    """The `data` of each event; comments and other fields are skipped."""
    n_bytes, rest = 0, b""
    for part in stream:
        n_bytes += len(part)
        if n_bytes > max_bytes:
            raise BadAnswerError(f"The server sent more than {max_bytes} bytes.")
        *lines, rest = (rest + part).split(b"\n")
        yield from (text for line in lines if (text := _data_of(line)) is not None)
    if (text := _data_of(rest)) is not None:
        yield text


def _data_of(line: bytes) -> str | None:
    line = line.rstrip(b"\r")
    return line[5:].strip().decode("utf-8", "replace") if line.startswith(b"data:") else None


def _chunk(choice: object) -> Chunk:
    if not isinstance(choice, dict):
        raise BadAnswerError("The server sent a choice of an unknown shape.")
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    reason = choice.get("finish_reason")
    return Chunk(
        text if isinstance(text, str) else "",
        tuple(_logprobs(choice.get("logprobs"))),
        reason if isinstance(reason, str) else None,
    )


def _logprobs(body: object) -> Iterator[tuple[TokenLogprob, tuple[TokenLogprob, ...]]]:
    """Log probabilities in the shape of chats, or in the older one of completions."""
    if not isinstance(body, dict):
        return
    try:
        if "content" in body:
            for entry in body["content"] or ():
                tops = tuple(TokenLogprob(-1, t["token"], float(t["logprob"])) for t in entry.get("top_logprobs") or ())
                yield TokenLogprob(-1, entry["token"], float(entry["logprob"])), _sorted(tops)
        else:
            rows = zip(body["tokens"], body["token_logprobs"], body.get("top_logprobs") or (), strict=False)
            for token, value, others in rows:
                tops = tuple(TokenLogprob(-1, text, float(log)) for text, log in (others or {}).items())
                yield TokenLogprob(-1, token, float(value)), _sorted(tops)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswerError("The server sent log probabilities of an unknown shape.") from error


def _sorted(tops: tuple[TokenLogprob, ...]) -> tuple[TokenLogprob, ...]:
    return tuple(sorted(tops, key=lambda top: -top.logprob))
