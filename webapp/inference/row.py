"""One request in flight: what it has generated so far and when it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from webapp.inference.detokenizer import Detokenizer
from webapp.inference.kv_cache import Extent
from webapp.inference.logprobs import token_logprobs
from webapp.inference.requests import FinishEvent, FinishReason, GenerationHandle, TokenEvent
from webapp.inference.sampling import Sampler
from webapp.inference.thinking import ThinkingBudget

MAX_UNSUMMED = 64


class RowSource(Protocol):
    """What a row needs of the checkpoint that answers it."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def expert_slugs(self) -> tuple[str, ...]: ...

    @property
    def eos_token_ids(self) -> frozenset[int]: ...

    def mask_for(self, experts: Sequence[str] | frozenset[str]) -> tuple[bool, ...]: ...


class Row:
    """State of one answer. `n_cached` counts the positions that the cache holds."""

    def __init__(self, handle: GenerationHandle, checkpoint: RowSource) -> None:
        request = handle.request
        self.handle = handle
        self.mask = checkpoint.mask_for(request.experts)
        self.sampler = Sampler(request.temperature, request.top_p, request.seed)
        self.extent: Extent | None = None  # of the engine's cache, from admission to the end
        self.n_cached = 0
        self.n_total = len(handle.prompt_ids) + request.max_tokens
        self.token_ids: list[int] = []
        self._enabled = [(i, slug) for i, slug in enumerate(checkpoint.expert_slugs) if self.mask[i]]
        self._eos_token_ids = checkpoint.eos_token_ids
        self._tokenizer = checkpoint.tokenizer
        self._detokenizer = Detokenizer(checkpoint.tokenizer, request.stop)
        self._budget: ThinkingBudget | None = None
        if request.thinking is not None:
            self._budget = ThinkingBudget(request.thinking, checkpoint.tokenizer, checkpoint.eos_token_ids)
        self._shares: list[Tensor] = []  # layers, experts: of the latest tokens, and the sum of those before
        self._started_at: float | None = None
        self._first_token_at: float | None = None

    def start(self) -> None:
        self._started_at = time.monotonic()

    def outside_reason(self) -> FinishReason | None:
        """Why the request must end although no token asked for it."""
        if self.handle.is_cancelled:
            return FinishReason.CANCELLED
        return FinishReason.TIME if self._is_out_of_time() else None

    def _is_out_of_time(self) -> bool:
        return self._started_at is not None and time.monotonic() - self._started_at > self.handle.request.max_seconds

    def draw(self, logits: Tensor, best: int) -> int:
        """The next token from `logits` (vocabulary,), whose largest stands at `best`."""
        token_id = best if self.sampler.is_greedy else self.sampler.draw(logits)
        return token_id if self._budget is None else self._budget.steer(token_id)

    def accept(
        self, token_id: int, logits: Tensor, shares: tuple[list[float], Tensor] | None = None
    ) -> FinishReason | None:
        """Hand out one token with its routing shares, (experts,) and (layers, experts); the reason if it is the last.

        `logits` (vocabulary,) are those it was drawn from, for its log probability when asked.
        """
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()
        self.token_ids.append(token_id)
        routing: dict[str, float] = {}
        if shares is not None:
            means, layers = shares
            routing = {slug: means[i] for i, slug in self._enabled}
            self._shares.append(layers)
            if len(self._shares) >= MAX_UNSUMMED:
                self._shares = [torch.stack(self._shares).sum(0)]
        is_eos = token_id in self._eos_token_ids
        text = "" if is_eos else self._detokenizer.push(token_id)
        reason: FinishReason | None = None
        if is_eos or self._detokenizer.is_stopped:
            reason = FinishReason.STOP
        elif len(self.token_ids) >= self.handle.request.max_tokens:
            reason = FinishReason.LENGTH
        elif self._is_out_of_time():
            reason = FinishReason.TIME
        if reason is not None:
            text += self._detokenizer.finish()
        n_top = self.handle.request.top_logprobs
        logprob, top = (None, ()) if n_top is None else token_logprobs(logits, token_id, n_top, self._tokenizer)
        self.handle.put(TokenEvent(len(self.token_ids) - 1, token_id, text, routing, logprob, top))
        return reason

    def end(self, reason: FinishReason, error: str = "") -> None:
        """Hand out the last event."""
        layers: dict[str, tuple[float, ...]] = {}
        if self._shares:
            means = (torch.stack(self._shares).sum(0) / len(self.token_ids)).t().tolist()  # experts, layers
            layers = {slug: tuple(means[i]) for i, slug in self._enabled}
        shares = {slug: sum(values) / len(values) for slug, values in layers.items()}
        ids, timings = tuple(self.token_ids), self._timings()
        self.handle.put(FinishEvent(reason, self._detokenizer.text, ids, shares, timings, error, layers))

    def _timings(self) -> dict[str, float]:
        """Milliseconds since submission, and the wait before admission."""
        submitted = self.handle.submitted_at
        timings = {"total": (time.monotonic() - submitted) * 1000}
        if self._started_at is not None:
            timings["queued"] = (self._started_at - submitted) * 1000
        if self._first_token_at is not None:
            timings["first_token"] = (self._first_token_at - submitted) * 1000
        return timings
