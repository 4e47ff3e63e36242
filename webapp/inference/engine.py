"""Continuous batching: one thread, and a row of the cache for each answer in flight.

Every row has its own expert mask, sampling, length and seed. Requests are admitted
in order of arrival as rows and cache allow; long prompts are read in chunks between
decoding steps, so that nobody waits for another's prompt. An error of one request
ends that request alone.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from webapp.inference.checkpoint import LoadedCheckpoint
from webapp.inference.decoder import MaskPlan
from webapp.inference.errors import (
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    RequestError,
    UnknownExpertError,
)
from webapp.inference.requests import FinishReason, GenerationHandle, GenerationRequest
from webapp.inference.row import Row

logger = logging.getLogger(__name__)

PREFILL_CHUNK_TOKENS = 256
_CPU_CACHE_BYTES = 1 << 30
_ONE_THREAD_PARAMETERS = 12_500_000


class InferenceEngine:
    """Answers requests over one checkpoint. `start` before `submit`; `close` ends all."""

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        max_rows: int = 8,
        *,
        max_queued: int = 1024,
        max_cache_bytes: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.max_rows = max_rows
        self.max_queued = max_queued
        self._decoder = checkpoint.decoder
        self._cache = self._decoder.new_cache()
        self._max_cache_bytes = max_cache_bytes or self._default_cache_bytes()
        self._n_threads = n_threads or (1 if checkpoint.n_parameters <= _ONE_THREAD_PARAMETERS else 2)
        self._wake = threading.Condition()
        self._queue: deque[GenerationHandle] = deque()
        self._rows: list[Row] = []  # decoding; row i of the cache
        self._reading: Row | None = None  # its prompt is being read; cache row len(self._rows)
        self._plans: dict[tuple[tuple[bool, ...], ...], MaskPlan] = {}
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the engine's thread, once."""
        if self._thread is not None:
            raise EngineClosedError("The engine was started before; make a new one.")
        self._thread = threading.Thread(target=self._run, name="inference-engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all requests as cancelled and wait for the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> InferenceEngine:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def expert_slugs(self) -> tuple[str, ...]:
        """The experts that a request may enable, in router order."""
        return self.checkpoint.expert_slugs

    @property
    def expert_computations(self) -> dict[str, int]:
        """How many token × layer products each expert has computed since loading."""
        return dict(zip(self.checkpoint.expert_slugs, self._decoder.expert_computations, strict=True))

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request. Raises RequestError (a ValueError), EngineBusyError, EngineClosedError."""
        request.check()
        self._check_experts(request)
        encoding = self.checkpoint.tokenizer.encode(request.prompt, add_special_tokens=request.add_special_tokens)
        prompt_ids = tuple(encoding.ids)
        self._check_length(request, prompt_ids)
        handle = GenerationHandle(request, prompt_ids, self._notify)
        with self._wake:
            if self._thread is None or self._is_closing:
                raise EngineClosedError("The inference engine does not run; start it first.")
            if len(self._queue) >= self.max_queued:
                raise EngineBusyError(f"{len(self._queue)} requests wait already; try again in a moment.")
            self._queue.append(handle)
            self._wake.notify_all()
        return handle

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _check_experts(self, request: GenerationRequest) -> None:
        known = self.checkpoint.expert_slugs
        if not request.experts:
            raise UnknownExpertError(f"All experts are off; switch at least one on: {', '.join(known)}.")
        unknown = sorted(set(request.experts) - set(known))
        if not unknown:
            return
        is_known = unknown[0] in self.checkpoint.card.slugs
        what = f"Expert {unknown[0]!r} is not loaded here" if is_known else f"There is no expert {unknown[0]!r}"
        raise UnknownExpertError(f"{what}; choose from {', '.join(known)}.")

    def _check_length(self, request: GenerationRequest, prompt_ids: Sequence[int]) -> None:
        n_prompt, limit = len(prompt_ids), self.checkpoint.context_length
        if not n_prompt:
            raise RequestError("The prompt has no tokens; write something to continue.")
        if n_prompt + request.max_tokens > limit:
            room = limit - n_prompt
            advice = f"ask for at most {room} tokens or shorten the prompt" if room > 0 else "shorten the prompt"
            raise ContextOverflowError(
                f"The prompt has {n_prompt} tokens and {request.max_tokens} more are asked for, "
                f"but the context holds {limit}; {advice}."
            )
        if self._cache.bytes_for(1, n_prompt + request.max_tokens) > self._max_cache_bytes:
            raise ContextOverflowError("The request needs more key-value cache than this engine has; ask for less.")

    def _default_cache_bytes(self) -> int:
        if self._decoder.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self._decoder.device)[0] * 0.8)
        full = self.max_rows * (self.checkpoint.context_length + 64) * self._cache.bytes_per_token
        return min(full, max(_CPU_CACHE_BYTES, full // self.max_rows))

    # The engine's thread from here on.

    def _run(self) -> None:
        if self._decoder.device.type == "cpu":
            torch.set_num_threads(self._n_threads)
        try:
            while self._wait_for_work():
                self._drop_ended()
                self._read_prompts()
                self._decode()
        except Exception:
            logger.exception("the inference engine stopped")
        finally:
            self._end_all()

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._is_closing or self._queue or self._rows or self._reading):
                self._wake.wait()
            return not self._is_closing

    def _end_all(self) -> None:
        with self._wake:
            was_asked = self._is_closing
            self._is_closing = True
            waiting = list(self._queue)
            self._queue.clear()
        reason = FinishReason.CANCELLED if was_asked else FinishReason.ERROR
        error = "" if was_asked else "The inference engine stopped; start it again."
        rows = [*self._rows, *([self._reading] if self._reading else []), *map(self._new_row, waiting)]
        for row in rows:
            row.end(reason, error)

    def _new_row(self, handle: GenerationHandle) -> Row:
        return Row(handle, self.checkpoint)

    def _drop_ended(self) -> None:
        """End rows and waiting requests that were cancelled or ran out of time."""
        for index in range(len(self._rows) - 1, -1, -1):
            reason = self._rows[index].outside_reason()
            if reason is not None:
                self._remove(index, reason)
        if self._reading is not None:
            reason = self._reading.outside_reason()
            if reason is not None:
                self._reading.end(reason)
                self._reading = None
        with self._wake:
            cancelled = [handle for handle in self._queue if handle.is_cancelled]
            for handle in cancelled:
                self._queue.remove(handle)
        for handle in cancelled:
            self._new_row(handle).end(FinishReason.CANCELLED)

    def _remove(self, index: int, reason: FinishReason, error: str = "") -> None:
        """End a decoding row and close the gap it leaves in the cache."""
        self._rows[index].end(reason, error)
        if reason is FinishReason.ERROR:
            self._cache.clear(index)
        last = self._rows.pop()
        n_left = len(self._rows)
        if index < n_left:
            self._cache.move(n_left, index, last.n_cached)
            self._rows[index] = last
        if self._reading is not None:
            self._cache.move(n_left + 1, n_left, self._reading.n_cached)

    def _admit(self) -> bool:
        """Take the next waiting request into the reading place, if there is room."""
        with self._wake:
            if not self._queue or len(self._rows) >= self.max_rows:
                return False
            row = self._new_row(self._queue[0])
            n_tokens = max([row.n_total, *(other.n_total for other in self._rows)])
            try:
                if not self._cache.reserve(len(self._rows) + 1, n_tokens, self._max_cache_bytes):
                    return False
            except RuntimeError as error:  # no memory left for a larger cache
                if self._rows:
                    return False
                self._queue.popleft()
                row.end(FinishReason.ERROR, f"There is not enough memory for this request ({error}).")
                return True
            self._queue.popleft()
        row.start()
        self._reading = row
        return True

    def _read_prompts(self) -> None:
        """Read up to one chunk of prompt tokens, of one long or several short prompts."""
        budget = PREFILL_CHUNK_TOKENS
        while budget > 0 and (self._reading is not None or self._admit()):
            if self._reading is not None:
                budget -= self._read_chunk(self._reading, budget)

    def _read_chunk(self, row: Row, budget: int) -> int:
        place = len(self._rows)
        ids = row.handle.prompt_ids[row.n_cached : row.n_cached + budget]
        tokens = torch.tensor([ids], device=self._decoder.device)
        try:
            logits, routing = self._decoder.forward(
                tokens, [row.n_cached], self._cache, self._plan([row]), first_row=place
            )
            row.n_cached += len(ids)
            if row.n_cached == len(row.handle.prompt_ids):
                self._reading = None
                self._rows.append(row)
                self._accept(place, logits, routing)
        except Exception as error:
            logger.exception("a request failed while its prompt was read")
            self._cache.clear(place)
            self._reading = None
            self._rows = [other for other in self._rows if other is not row]
            row.end(FinishReason.ERROR, _describe(error))
        return len(ids)

    def _decode(self) -> None:
        """One token for every decoding row; when the batch fails, each row on its own."""
        if not self._rows:
            return
        try:
            self._decode_rows(0, len(self._rows))
        except Exception:
            logger.exception("a decoding step failed; its rows are tried one by one")
            for index in range(len(self._rows) - 1, -1, -1):
                try:
                    self._decode_rows(index, 1)
                except Exception as error:
                    logger.exception("a request failed while decoding")
                    self._remove(index, FinishReason.ERROR, _describe(error))

    def _decode_rows(self, first: int, count: int) -> None:
        rows = self._rows[first : first + count]
        tokens = torch.tensor([[row.token_ids[-1]] for row in rows], device=self._decoder.device)
        starts = [row.n_cached for row in rows]
        logits, routing = self._decoder.forward(tokens, starts, self._cache, self._plan(rows), first_row=first)
        for row in rows:
            row.n_cached += 1
        self._accept(first, logits, routing)

    def _accept(self, first: int, logits: Tensor, routing: Tensor) -> None:
        """Draw and hand out one token for each row of `logits` (rows, vocabulary)."""
        is_finite = torch.isfinite(logits.sum(-1)).tolist()
        best = logits.argmax(-1).tolist()
        shares = (routing / routing.sum(-1, keepdim=True)).tolist()
        for offset in range(len(best) - 1, -1, -1):  # backwards: removing a row moves a later one
            row = self._rows[first + offset]
            if not is_finite[offset]:
                self._remove(
                    first + offset, FinishReason.ERROR, "The model's output is not a number (NaN or infinite)."
                )
                continue
            token = row.draw(logits[offset], best[offset])
            reason = row.accept(token, shares[offset], logits[offset])
            if reason is not None:
                self._remove(first + offset, reason)

    def _plan(self, rows: Sequence[Row]) -> MaskPlan:
        key = tuple(row.mask for row in rows)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) > 256:
                self._plans.clear()
            plan = self._plans[key] = MaskPlan.make(key, self._decoder.device)
        return plan


def _describe(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "There was not enough memory for this request; ask for fewer tokens or try again later."
    return f"The model failed on this request ({type(error).__name__}: {error})."
