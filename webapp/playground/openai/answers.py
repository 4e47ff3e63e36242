"""Answers and errors in OpenAI's shapes. Extension fields stand beside OpenAI's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import JsonResponse

from webapp.errors import BusyError, FairgroundError, NotFoundError
from webapp.inference import FinishReason
from webapp.playground import engines
from webapp.playground.availability import available_slugs
from webapp.playground.models import BackendChoice, Checkpoint, Generation

_FINISH = {FinishReason.LENGTH: "length", FinishReason.TIME: "length"}


def error_body(error: FairgroundError) -> dict[str, Any]:
    """Return an error as OpenAI's clients expect it."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}


def error_response(error: FairgroundError) -> JsonResponse:
    """Return the response of a refused request."""
    response = JsonResponse(error_body(error), status=error.status)
    if isinstance(error, BusyError):
        response["Retry-After"] = str(error.retry_after_s)
    return response


class ModelNotFoundError(NotFoundError):
    """A request for a checkpoint that does not exist."""

    code = "model_not_found"


def model_body(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as a model, with its experts as an extension."""
    return {
        "id": checkpoint.slug,
        "object": "model",
        "created": int(checkpoint.created_at.timestamp()),
        "owned_by": "fairground",
        "context_length": checkpoint.context_length or None,
        "experts": available_slugs(checkpoint),
    }


def head(generation: Generation, *, is_chat: bool, is_chunk: bool) -> dict[str, Any]:
    """Return the members that every answer and every chunk of it begin with."""
    kinds = {
        (True, True): "chat.completion.chunk",
        (True, False): "chat.completion",
        (False, True): "text_completion",
        (False, False): "text_completion",
    }
    return {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{generation.id}",
        "object": kinds[is_chat, is_chunk],
        "created": int(generation.created_at.timestamp()),
        "model": generation.checkpoint.slug,
        "system_fingerprint": generation.checkpoint_digest[:16],
    }


def finish_reason(generation: Generation) -> str:
    """Return why an answer ended, in OpenAI's words."""
    return _FINISH.get(FinishReason(generation.finish_reason), "stop")


def usage(generation: Generation) -> dict[str, int] | None:
    """Return how many tokens were read and made; None where a server elsewhere counts."""
    if generation.checkpoint.backend == BackendChoice.REMOTE:
        return None
    tokenizer = engines.tokenizer_for(str(generation.checkpoint.folder), generation.checkpoint_digest)
    encoding = tokenizer.encode(generation.model_prompt, add_special_tokens=not generation.has_own_special_tokens)
    n_read, n_made = len(encoding.ids), len(generation.pieces)
    return {"prompt_tokens": n_read, "completion_tokens": n_made, "total_tokens": n_read + n_made}


def extensions(generation: Generation) -> dict[str, Any]:
    """Return what OpenAI's format has no place for."""
    return {
        "generation": str(generation.id),
        "experts": generation.experts,
        "routing_shares": generation.routing_shares,
        "seed": generation.seed,
    }


def chunk_choice(text: str, logprob: dict[str, Any] | None, offset: int, *, is_chat: bool) -> dict[str, Any]:
    """Return the choice of a chunk that adds `text`, which begins at code point `offset` of the answer."""
    logs = logprobs_body([logprob], [text], offset, is_chat=is_chat) if logprob else None
    if is_chat:
        return {"index": 0, "delta": {"content": text}, "logprobs": logs, "finish_reason": None}
    return {"index": 0, "text": text, "logprobs": logs, "finish_reason": None}


def last_choice(reason: str, *, is_chat: bool) -> dict[str, Any]:
    """Return the choice of the chunk that ends the answer."""
    body: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
    return {"index": 0, **body, "logprobs": None, "finish_reason": reason}


def whole_choice(generation: Generation, *, is_chat: bool) -> dict[str, Any]:
    """Return the choice of an answer that is not streamed."""
    logs = None
    if generation.top_logprobs is not None:
        logs = logprobs_body(generation.logprobs, generation.pieces, 0, is_chat=is_chat)
    body: dict[str, Any] = {"text": generation.text}
    if is_chat:
        body = {"message": {"role": "assistant", "content": generation.text, "refusal": None}}
    return {"index": 0, **body, "logprobs": logs, "finish_reason": finish_reason(generation)}


def logprobs_body(
    logprobs: Sequence[dict[str, Any]], pieces: Sequence[str], offset: int, *, is_chat: bool
) -> dict[str, Any]:
    """Return log probabilities in the shape of chats, or in the older one of completions."""
    if is_chat:
        return {"content": [{**_entry(log), "top_logprobs": [_entry(top) for top in log["top"]]} for log in logprobs]}
    offsets = []
    for piece in pieces:
        offsets.append(offset)
        offset += len(piece)
    return {
        "tokens": [log["token"] for log in logprobs],
        "token_logprobs": [log["logprob"] for log in logprobs],
        "top_logprobs": [{top["token"]: top["logprob"] for top in log["top"]} for log in logprobs],
        "text_offset": offsets[: len(logprobs)],
    }


def _entry(log: dict[str, Any]) -> dict[str, Any]:
    return {"token": log["token"], "logprob": log["logprob"], "bytes": list(log["token"].encode())}
