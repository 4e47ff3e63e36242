"""Continuous batching: one thread, and a row of the cache for each answer in flight.

Every row has its own expert mask, sampling, length and seed, and its own extent of the
key-value cache. Clients take turns; a client's requests are admitted in order of arrival
as rows and cache allow. One forward pass reads a chunk of the new prompts and makes a
token for every other row, so that nobody waits for another's prompt. An error of one
request ends that request alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from webapp.inference.admission import FairQueue
from webapp.inference.checkpoint import LoadedCheckpoint, read_expert
from webapp.inference.decoder import ExpertWeights, Segment
from webapp.inference.errors import (
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    RequestError,
    UnknownExpertError,
)
from webapp.inference.kv_cache import PAGE_TOKENS, pages_for
from webapp.inference.requests import FinishReason, GenerationHandle, GenerationRequest
from webapp.inference.row import Row
from webapp.inference.threads import pick_threads

logger = logging.getLogger(__name__)

PREFILL_CHUNK_TOKENS = 256
_CPU_CACHE_BYTES = 1 << 30
_ONE_THREAD_PARAMETERS = 12_500_000


@dataclass
class _Change:
    """Experts to take out of memory before the next step, and the weights of those that come back."""

    withheld: frozenset[str] = frozenset()
    restored: dict[str, list[ExpertWeights]] = field(default_factory=dict)
    is_done: threading.Event = field(default_factory=threading.Event)


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
        records_routing: bool = True,
    ) -> None:
        """`n_threads` None: as many as are fastest here, tried at the start.

        `records_routing` False leaves the shares of events empty; only to measure what they cost."""
        self.checkpoint = checkpoint
        self.max_rows = max_rows
        self.max_queued = max_queued
        self._decoder = checkpoint.decoder
        n_bytes = max_cache_bytes or self._default_cache_bytes()
        self._cache = self._decoder.new_cache(n_bytes // self._decoder.cache_bytes_per_token)
        self._n_threads = n_threads or (1 if checkpoint.n_parameters <= _ONE_THREAD_PARAMETERS else None)
        self._wake = threading.Condition()
        self._restoring = threading.Lock()
        self._queue = FairQueue()
        self._records_routing = records_routing
        self._rows: list[Row] = []  # in order of admission
        self._is_closing = False
        self._changes: list[_Change] = []
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
        return self.checkpoint.available_slugs

    @property
    def expert_computations(self) -> dict[str, int]:
        """How many token × layer products each expert has computed since loading."""
        return dict(zip(self.checkpoint.expert_slugs, self._decoder.expert_computations, strict=True))

    def withhold(self, experts: Collection[str]) -> None:
        """Take experts out of memory; returns when it is done, between two steps.

        Requests that use one of them end with an error, further ones are refused.
        """
        self._change(_Change(frozenset(experts) & frozenset(self.checkpoint.expert_slugs)))

    def restore(self, experts: Collection[str]) -> None:
        """Read withheld experts from the checkpoint's folder again; CheckpointError when that is not possible.

        This may take minutes, in which answers go on and other experts may be withheld.
        """
        with self._restoring:
            wanted = self.checkpoint.withheld & frozenset(experts)
            if wanted:
                self._change(_Change(restored={slug: read_expert(self.checkpoint, slug) for slug in wanted}))

    def _change(self, change: _Change) -> None:
        with self._wake:
            is_running = self._thread is not None and not self._is_closing
            if is_running:
                self._changes.append(change)
                self._wake.notify_all()
        if is_running:
            change.is_done.wait()
        else:
            self._apply(change)

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request. Raises RequestError (a ValueError), EngineBusyError, EngineClosedError."""
        request.check()
        self._check_experts(request)  # again below, where none can be withdrawn meanwhile
        encoding = self.checkpoint.tokenizer.encode(request.prompt, add_special_tokens=request.add_special_tokens)
        prompt_ids = tuple(encoding.ids)
        self._check_length(request, prompt_ids)
        handle = GenerationHandle(request, prompt_ids, self._notify)
        with self._wake:
            if self._thread is None or self._is_closing:
                raise EngineClosedError("The inference engine does not run; start it first.")
            self._check_experts(request)
            if len(self._queue) >= self.max_queued:
                raise EngineBusyError(f"{len(self._queue)} requests wait already; try again in a moment.")
            self._queue.push(handle)
            self._wake.notify_all()
        return handle

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _check_experts(self, request: GenerationRequest) -> None:
        known = self.checkpoint.available_slugs
        if not request.experts:
            raise UnknownExpertError(f"All experts are off; switch at least one on: {', '.join(known)}.")
        unknown = sorted(set(request.experts) - set(known))
        if not unknown:
            return
        slug = unknown[0]
        what = f"There is no expert {slug!r}"
        if slug in self.checkpoint.withheld:
            what = f"Expert {slug!r} was withdrawn by its owner"
        elif slug in self.checkpoint.card.slugs:
            what = f"Expert {slug!r} is not loaded here"
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
        if pages_for(n_prompt + request.max_tokens) * PAGE_TOKENS > self._cache.n_tokens:
            raise ContextOverflowError("The request needs more key-value cache than this engine has; ask for less.")

    def _default_cache_bytes(self) -> int:
        if self._decoder.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self._decoder.device)[0] * 0.8)
        row = pages_for(self.checkpoint.context_length) * PAGE_TOKENS * self._decoder.cache_bytes_per_token
        return min(self.max_rows * row, max(_CPU_CACHE_BYTES, row))

    # The engine's thread from here on.

    def _run(self) -> None:
        if self._decoder.device.type == "cpu":
            if self._n_threads is None:
                self._n_threads = pick_threads(self._decoder.trial_step(self.checkpoint.mask_for(self.expert_slugs)))
            torch.set_num_threads(self._n_threads)
        try:
            while self._wait_for_work():
                self._apply_changes()
                self._drop_ended()
                self._admit()
                self._advance(self._next_segments())
        except Exception:
            logger.exception("the inference engine stopped")
        finally:
            self._end_all()

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._is_closing or self._changes or len(self._queue) or self._rows):
                self._wake.wait()
            return not self._is_closing

    def _end_all(self) -> None:
        with self._wake:
            was_asked = self._is_closing
            self._is_closing = True
            waiting = self._queue.take(lambda handle: True)
            changes, self._changes = self._changes, []
        for change in changes:
            change.is_done.set()
        reason = FinishReason.CANCELLED if was_asked else FinishReason.ERROR
        error = "" if was_asked else "The inference engine stopped; start it again."
        for row in [*self._rows, *(Row(handle, self.checkpoint) for handle in waiting)]:
            row.end(reason, error)

    def _apply_changes(self) -> None:
        with self._wake:
            changes, self._changes = self._changes, []
        for change in changes:
            try:
                self._apply(change)
            finally:
                change.is_done.set()

    def _apply(self, change: _Change) -> None:
        """Take experts out of memory and put others in; end what used those that are out."""
        for slug in change.withheld - self.checkpoint.withheld:
            self.checkpoint.withhold(slug)
        for slug, layers in change.restored.items():
            self.checkpoint.restore(slug, layers)
        message = "An expert of this request was withdrawn by its owner; ask again without it."
        for row in [row for row in self._rows if row.handle.request.experts & change.withheld]:
            self._remove(row, FinishReason.ERROR, message)
        with self._wake:
            waiting = self._queue.take(lambda handle: bool(handle.request.experts & change.withheld))
        for handle in waiting:
            Row(handle, self.checkpoint).end(FinishReason.ERROR, message)

    def _drop_ended(self) -> None:
        """End rows and waiting requests that were cancelled or ran out of time."""
        for row in list(self._rows):
            reason = row.outside_reason()
            if reason is not None:
                self._remove(row, reason)
        with self._wake:
            cancelled = self._queue.take(lambda handle: handle.is_cancelled)
        for handle in cancelled:
            Row(handle, self.checkpoint).end(FinishReason.CANCELLED)

    def _remove(self, row: Row, reason: FinishReason, error: str = "") -> None:
        self._rows.remove(row)
        if row.extent is not None:
            self._cache.free(row.extent)
        row.end(reason, error)

    def _admit(self) -> None:
        """Give waiting requests rows and room in the cache, while there is any."""
        with self._wake:
            while len(self._rows) < self.max_rows and (handle := self._queue.head()) is not None:
                row = Row(handle, self.checkpoint)
                row.extent = self._cache.reserve(row.n_total)
                if row.extent is None:
                    return
                self._queue.pop()
                row.start()
                self._rows.append(row)

    def _next_segments(self) -> list[tuple[Row, Segment]]:
        """The next token of every decoding row, and up to a chunk of prompt tokens.

        A prompt is always cut at the same places, whatever else is read, so that its
        numbers are the same to the last bit.
        """
        chosen, budget = [], PREFILL_CHUNK_TOKENS
        for row in self._rows:
            prompt = row.handle.prompt_ids
            ids: Sequence[int] = row.token_ids[-1:]
            if row.n_cached < len(prompt):
                ids = prompt[row.n_cached : row.n_cached + PREFILL_CHUNK_TOKENS]
                if len(ids) > budget:
                    continue
                budget -= len(ids)
            assert row.extent is not None
            chosen.append((row, Segment(row.extent, row.n_cached, ids, row.mask)))
        return chosen

    def _advance(self, chosen: Sequence[tuple[Row, Segment]]) -> None:
        """Run the model once; when that fails, once for each row, to find whose fault it is."""
        if not chosen:
            return
        try:
            logits, routing = self._decoder.forward([segment for _, segment in chosen], self._cache)
        except Exception as error:
            if len(chosen) == 1:
                logger.exception("a request failed")
                self._remove(chosen[0][0], FinishReason.ERROR, _describe(error))
                return
            logger.exception("a step failed; its rows are tried one by one")
            for one in chosen:
                self._advance([one])
            return
        for row, segment in chosen:
            row.n_cached += len(segment.ids)
        self._accept([row for row, _ in chosen], logits, routing)

    def _accept(self, rows: Sequence[Row], logits: Tensor, routing: Tensor) -> None:
        """Draw and hand out one token for each row that has read its prompt.

        logits (rows, vocabulary), routing (rows, layers, experts).
        """
        is_finite = torch.isfinite(logits.sum(-1)).tolist()
        best = logits.argmax(-1).tolist()
        shares: list[list[float]] = []
        if self._records_routing:
            if self._decoder.shape.top_k < self._decoder.shape.n_experts:  # else they add up to 1 already
                routing = routing / routing.sum(-1, keepdim=True)
            shares = routing.mean(1).tolist()
        for place, row in enumerate(rows):
            if row.n_cached < len(row.handle.prompt_ids):
                continue
            if not is_finite[place]:
                self._remove(row, FinishReason.ERROR, "The model's output is not a number (NaN or infinite).")
                continue
            try:
                token = row.draw(logits[place], best[place])
                own = (shares[place], routing[place]) if shares else None
                reason = row.accept(token, logits[place], own)
            except Exception as error:
                logger.exception("a request failed")
                self._remove(row, FinishReason.ERROR, _describe(error))
                continue
            if reason is not None:
                self._remove(row, reason)


def _describe(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "There was not enough memory for this request; ask for fewer tokens or try again later."
    return f"The model failed on this request ({type(error).__name__}: {error})."
