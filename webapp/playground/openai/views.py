"""`/v1/`: the endpoints that OpenAI's clients call. Plain async Django: DRF does not stream.

No session counts here, so that no foreign page can ask in a visitor's name; answers belong to nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from tracer.models import Trace
from tracer.presentation import present_trace
from webapp.errors import BadInputError, FairgroundError, NotFoundError
from webapp.jobs import JobStatus
from webapp.ownership import NOBODY
from webapp.playground import services
from webapp.playground.bus import token_bus
from webapp.playground.models import Checkpoint, Generation
from webapp.playground.openai import answers
from webapp.playground.openai.questions import Question, read_question
from webapp.playground.streaming import follow

TRACE_POLL_S = 0.1
TRACE_LIMIT_S = 120.0
DONE = b"data: [DONE]\n\n"


def model_list(request: HttpRequest) -> JsonResponse:
    """List the checkpoints."""
    checkpoints = Checkpoint.objects.prefetch_related("experts")
    return JsonResponse({"object": "list", "data": [answers.model_body(checkpoint) for checkpoint in checkpoints]})


def model_detail(request: HttpRequest, slug: str) -> JsonResponse:
    """Return one checkpoint."""
    try:
        return JsonResponse(answers.model_body(_checkpoint(slug)))
    except FairgroundError as error:
        return answers.error_response(error)


@csrf_exempt
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a conversation."""
    return await _answer(request, is_chat=True)


@csrf_exempt
async def completions(request: HttpRequest) -> HttpResponseBase:
    """Continue a text."""
    return await _answer(request, is_chat=False)


@csrf_exempt
def unknown(request: HttpRequest) -> JsonResponse:
    """Answer any other path under /v1/."""
    return answers.error_response(NotFoundError(f"There is no {request.path}. See docs/api.md for what there is."))


async def _answer(request: HttpRequest, *, is_chat: bool) -> HttpResponseBase:
    try:
        if request.method != "POST":
            raise BadInputError("Use POST.", status=405)
        question = read_question(_body(request), is_chat=is_chat)
        generation = await sync_to_async(_start)(question)
        if question.is_streamed:
            response = StreamingHttpResponse(_stream(question, generation), content_type="text/event-stream")
            response["Cache-Control"] = "no-store"
            response["X-Accel-Buffering"] = "no"
            return response
        return JsonResponse(await _whole(question, generation))
    except FairgroundError as error:
        return answers.error_response(error)


def _body(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig as error:
        raise BadInputError("The body is too large. Shorten the prompt.", status=413) from error


def _checkpoint(slug: str | None) -> Checkpoint:
    try:
        return services.default_checkpoint(slug)
    except NotFoundError as error:
        raise answers.ModelNotFoundError(error.message, field="model") from error


def _start(question: Question) -> Generation:
    try:
        checkpoint = _checkpoint(question.arguments["checkpoint"])
        return services.start_generation(**{**question.arguments, "checkpoint": checkpoint.slug}, author=NOBODY)
    finally:
        _give_back()


def _give_back() -> None:
    """A stream must not hold a database connection."""
    if not connection.in_atomic_block:
        connection.close()


async def _whole(question: Question, generation: Generation) -> dict[str, Any]:
    await _until_done(generation)
    finished = await sync_to_async(_finished)(generation)
    body = await sync_to_async(_whole_body)(finished, question)
    if question.is_traced:
        body["trace"] = await _trace(finished)
    return body


async def _until_done(generation: Generation) -> None:
    """Wait for the end; a client that goes away stops the answer."""
    try:
        async for _ in follow(generation.id):
            pass
    except asyncio.CancelledError:
        token_bus().request_cancel(str(generation.id))
        raise


def _whole_body(generation: Generation, question: Question) -> dict[str, Any]:
    return {
        **answers.head(generation, is_chat=question.is_chat, is_chunk=False),
        "choices": [answers.whole_choice(generation, is_chat=question.is_chat)],
        "usage": answers.usage(generation),
        **answers.extensions(generation),
    }


def _finished(generation: Generation) -> Generation:
    """Return the stored answer; raises `FairgroundError` when it failed."""
    try:
        row: Generation = Generation.objects.select_related("checkpoint").get(pk=generation.pk)
    finally:
        _give_back()
    if row.status == JobStatus.FAILED:
        raise FairgroundError(row.error, status=500, code="generation-failed")
    return row


async def _stream(question: Question, generation: Generation) -> AsyncIterator[bytes]:
    head = answers.head(generation, is_chat=question.is_chat, is_chunk=True)
    n_characters, is_done = 0, False
    try:
        if question.is_chat:
            first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            yield _line({**head, "choices": [first]})
        async for event in follow(generation.id):
            if event is None:
                yield b": ping\n\n"
            elif event.kind == "token":
                text = event.data["text"]
                if text or event.data.get("logprob"):
                    logprob = event.data.get("logprob")
                    choice = answers.chunk_choice(text, logprob, n_characters, is_chat=question.is_chat)
                    yield _line({**head, "choices": [choice]})
                n_characters += len(text)
        is_done = True
        finished = await sync_to_async(_finished)(generation)
        async for line in _end_lines(question, finished, head):
            yield line
    except FairgroundError as error:
        is_done = True
        yield _line(answers.error_body(error))
    finally:
        if not is_done:
            token_bus().request_cancel(str(generation.id))


async def _end_lines(question: Question, finished: Generation, head: dict[str, Any]) -> AsyncIterator[bytes]:
    choice = answers.last_choice(answers.finish_reason(finished), is_chat=question.is_chat)
    yield _line({**head, "choices": [choice], **answers.extensions(finished)})
    if question.has_usage_chunk:
        yield _line({**head, "choices": [], "usage": await sync_to_async(answers.usage)(finished)})
    if question.is_traced:
        yield _line({**head, "choices": [], "trace": await _trace(finished)})
    yield DONE


async def _trace(generation: Generation) -> dict[str, Any] | None:
    """Return the trace of an answer once it is made; None for an answer without words."""
    if not generation.text.strip():
        return None
    trace = await sync_to_async(services.trace_generation)(generation.id, author=NOBODY)
    for _ in range(int(TRACE_LIMIT_S / TRACE_POLL_S)):
        shown = await sync_to_async(_finished_trace)(trace)
        if shown is not None:
            return shown
        await asyncio.sleep(TRACE_POLL_S)
    raise FairgroundError(f"The trace {trace.id} takes long; look for it later.", status=504, code="trace-late")


def _finished_trace(trace: Trace) -> dict[str, Any] | None:
    try:
        row = Trace.objects.get(pk=trace.pk)
        return present_trace(row) if row.is_finished else None
    finally:
        _give_back()


def _line(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body)}\n\n".encode()
