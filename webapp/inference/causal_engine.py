"""Continuous batching over any causal language model of transformers.

The same promises as the FlexOlmo engine, without experts: rows of different length, sampling
and seed share each step; long prompts are read in chunks between steps; an error of one
request ends that request alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from webapp.inference.causal import CausalModel
from webapp.inference.causal_cache import BatchCache, new_cache
from webapp.inference.errors import ContextOverflowError, RequestError, UnknownExpertError
from webapp.inference.request_queue import RequestQueue
from webapp.inference.requests import FinishReason, GenerationHandle, GenerationRequest
from webapp.inference.row import Row

logger = logging.getLogger(__name__)

PREFILL_CHUNK_TOKENS = 256
_CPU_CACHE_BYTES = 1 << 30
_NO_MEMORY = "There was not enough memory for this request; ask for fewer tokens or try again later."


@dataclass
class _Reading:
    """A request whose prompt is being read, with its own cache."""

    row: Row
    cache: Any = field(default_factory=new_cache)


class CausalEngine:
    """Answers requests over one model. `start` before `submit`; `close` ends all."""

    def __init__(
        self, checkpoint: CausalModel, max_rows: int = 8, *, max_queued: int = 1024, max_cache_bytes: int | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.max_rows = max_rows
        self._model = checkpoint.model
        self._device: torch.device = checkpoint.model.device
        self._max_cache_bytes = max_cache_bytes or self._default_cache_bytes()
        self._queue = RequestQueue(max_queued)
        self._rows: list[Row] = []
        self._batch = BatchCache()
        self._reading: _Reading | None = None
        self._thread: threading.Thread | None = None

    @property
    def expert_slugs(self) -> tuple[str, ...]:
        """None: a causal model has no experts that an owner could switch."""
        return ()

    def start(self) -> None:
        """Start the engine's thread, once."""
        self._queue.open()
        self._thread = threading.Thread(target=self._run, name="causal-engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all requests as cancelled and wait for the thread."""
        for handle in self._queue.close():
            Row(handle, self.checkpoint).end(FinishReason.CANCELLED)
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> CausalEngine:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request. Raises RequestError (a ValueError), EngineBusyError, EngineClosedError."""
        request.check()
        if request.experts:
            raise UnknownExpertError("This checkpoint has no experts to switch; ask without naming any.")
        encode = self.checkpoint.tokenizer.encode
        prompt_ids = tuple(encode(request.prompt, add_special_tokens=request.add_special_tokens).ids)
        self._check_length(request, prompt_ids)
        handle = GenerationHandle(request, prompt_ids, self._queue.notify)
        self._queue.put(handle)
        return handle

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
        if not self._fits(1, n_prompt + request.max_tokens):
            raise ContextOverflowError("The request needs more key-value cache than this engine has; ask for less.")

    def _fits(self, n_rows: int, n_tokens: int) -> bool:
        return n_rows * n_tokens * self.checkpoint.memory.cache_bytes_per_token <= self._max_cache_bytes

    def _default_cache_bytes(self) -> int:
        # A step copies the cache: old and new are held at once.
        if self._device.type == "cuda":
            return int(torch.cuda.mem_get_info(self._device)[0] * 0.4)
        return max(_CPU_CACHE_BYTES, self.checkpoint.context_length * self.checkpoint.memory.cache_bytes_per_token)

    # The engine's thread from here on.

    def _run(self) -> None:
        reason, error = FinishReason.CANCELLED, ""
        try:
            while self._queue.wait_for_work(lambda: bool(self._rows) or self._reading is not None):
                self._drop_ended()
                self._read_prompts()
                self._decode()
        except Exception:
            logger.exception("the engine stopped")
            reason, error = FinishReason.ERROR, "The inference engine stopped; start it again."
        waiting = [Row(handle, self.checkpoint) for handle in self._queue.close()]
        for row in [*self._rows, *([self._reading.row] if self._reading else []), *waiting]:
            row.end(reason, error)

    def _drop_ended(self) -> None:
        """End rows and waiting requests that were cancelled or ran out of time."""
        self._remove({i: r for i, row in enumerate(self._rows) if (r := row.outside_reason()) is not None})
        if self._reading is not None:
            reason = self._reading.row.outside_reason()
            if reason is not None:
                self._reading.row.end(reason)
                self._reading = None
        for handle in self._queue.take_cancelled():
            Row(handle, self.checkpoint).end(FinishReason.CANCELLED)

    def _remove(self, ended: dict[int, FinishReason], error: str = "") -> None:
        """End rows by number; `error` is told to those that end in error."""
        if not ended:
            return
        kept = [index for index in range(len(self._rows)) if index not in ended]
        for index, reason in ended.items():
            self._rows[index].end(reason, error if reason is FinishReason.ERROR else "")
        self._rows = [self._rows[index] for index in kept]
        self._batch.keep(kept)

    def _admit(self) -> bool:
        """Begin to read the next waiting request, if there is room for it."""
        handle = self._queue.peek()
        if handle is None or len(self._rows) >= self.max_rows:
            return False
        row = Row(handle, self.checkpoint)
        longest = max([row.n_total, *(other.n_total for other in self._rows)])
        if self._rows and not self._fits(len(self._rows) + 1, longest):
            return False
        if self._queue.take() is None:
            return False
        row.start()
        self._reading = _Reading(row)
        return True

    def _read_prompts(self) -> None:
        """Read up to one chunk of prompt tokens, of one long or several short prompts."""
        budget = PREFILL_CHUNK_TOKENS
        while budget > 0 and (self._reading is not None or self._admit()):
            if self._reading is not None:
                budget -= self._read_chunk(self._reading, budget)

    def _read_chunk(self, reading: _Reading, budget: int) -> int:
        row = reading.row
        ids = row.handle.prompt_ids[row.n_cached : row.n_cached + budget]
        try:
            positions = torch.arange(row.n_cached, row.n_cached + len(ids), device=self._device)[None]
            seen = torch.ones(1, row.n_cached + len(ids), dtype=torch.long, device=self._device)
            logits = self._forward([list(ids)], reading.cache, attention_mask=seen, position_ids=positions)
            row.n_cached += len(ids)
            if row.n_cached == len(row.handle.prompt_ids):
                self._reading = None
                self._batch.add(reading.cache, row.n_cached)
                self._rows.append(row)
                self._accept({len(self._rows) - 1: logits[0]})
        except Exception as error:
            logger.exception("a request failed while its prompt was read")
            self._reading = None
            if row in self._rows:
                self._remove({self._rows.index(row): FinishReason.ERROR}, _describe(error))
            else:
                row.end(FinishReason.ERROR, _describe(error))
        return len(ids)

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]], cache: Any, **inputs: Tensor) -> Tensor:
        """Logits (rows, vocabulary) of the last position, in float32."""
        tokens = torch.tensor(ids, device=self._device)
        out = self._model(input_ids=tokens, cache=cache, use_cache=True, logits_to_keep=1, **inputs)
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _decode(self) -> None:
        """One token for every row; when the batch fails, each row on its own."""
        if not self._rows:
            return
        width = self._batch.width
        try:
            logits = self._step(self._batch, self._rows)
        except Exception:
            logger.exception("a decoding step failed; its rows are tried one by one")
            self._batch.rewind(width)
            self._decode_one_by_one()
            return
        self._accept(dict(enumerate(logits)))

    def _step(self, batch: BatchCache, rows: Sequence[Row]) -> Tensor:
        newest = [[row.token_ids[-1]] for row in rows]
        logits = self._forward(newest, batch.cache, **batch.step_inputs(self._device))
        batch.advance()
        for row in rows:
            row.n_cached += 1
        return logits

    def _decode_one_by_one(self) -> None:
        survivors: list[tuple[Row, BatchCache]] = []
        logits: dict[int, Tensor] = {}
        for index, row in enumerate(self._rows):
            alone = BatchCache()
            alone.add(self._batch.alone(index), self._batch.lengths[index])
            try:
                logits[len(survivors)] = self._step(alone, [row])[0]
                survivors.append((row, alone))
            except Exception as error:
                logger.exception("a request failed while decoding")
                row.end(FinishReason.ERROR, _describe(error))
        self._rows, self._batch = [row for row, _ in survivors], BatchCache()
        for row, alone in survivors:
            self._batch.add(alone.cache, row.n_cached)
        self._accept(logits)

    def _accept(self, logits: dict[int, Tensor]) -> None:
        """Draw and hand out one token for each row number of `logits`."""
        ended: dict[int, FinishReason] = {}
        for index, values in logits.items():
            row = self._rows[index]
            if not bool(torch.isfinite(values.sum())):
                ended[index] = FinishReason.ERROR
                continue
            token = row.draw(values, int(values.argmax()))
            reason = row.accept(token, values)
            if reason is not None:
                ended[index] = reason
        self._remove(ended, "The model's output is not a number (NaN or infinite).")


def _describe(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return _NO_MEMORY
    return f"The model failed on this request ({type(error).__name__}: {error})."
