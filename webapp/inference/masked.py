"""transformers' FlexOlmo with an expert mask as an argument, for `generate` and evaluation.

The engine's own decoder is faster; this subclass is for code that wants a
transformers model: training, evaluation, comparison. No hooks, no globals:

    model = MaskedFlexOlmoForCausalLM.from_pretrained(path)
    model.generate(ids, attention_mask=mask, expert_mask=torch.tensor([[True, False]]))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import FlexOlmoForCausalLM
from transformers.models.flex_olmo.modeling_flex_olmo import (
    FlexOlmoDecoderLayer,
    FlexOlmoSparseMoeBlock,
    FlexOlmoTopKRouter,
)


class RoutingRecord:
    """Each expert's share of the routing weight in every layer: (rows × tokens, experts)."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, weights: Tensor) -> None:
        shares = weights / weights.sum(-1, keepdim=True)
        self._sum = shares if self._sum is None else self._sum + shares

    def take(self) -> Tensor:
        """Shares averaged over layers, which add up to 1 for every token; forgets them."""
        if self._sum is None:
            raise ValueError("no forward pass was recorded")
        shares = self._sum / self._sum.sum(-1, keepdim=True)
        self._sum = None
        return shares


class MaskedTopKRouter(FlexOlmoTopKRouter):  # type: ignore[misc]  # transformers is untyped
    """−inf for disabled experts before the softmax; picks without weight become the sentinel."""

    def forward(
        self, hidden_states: Tensor, expert_mask: Tensor | None = None, record: RoutingRecord | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, experts), weights (n, top-k) and experts (n, top-k).

        `expert_mask` is (n, experts), True where an expert is on. Index `num_experts` is the
        sentinel that the experts' module skips, so a disabled expert is never computed.
        """
        hidden_states = hidden_states.reshape(-1, self.hidden_dim)
        logits = F.linear(hidden_states, self.weight)
        if expert_mask is not None:
            logits = logits.masked_fill(~expert_mask, float("-inf"))
        weights, picked = torch.topk(F.softmax(logits, dim=-1, dtype=torch.float), self.top_k, dim=-1)
        if self.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        if record is not None:
            record.add(weights.new_zeros(len(logits), self.num_experts).scatter(1, picked, weights).detach())
        if expert_mask is not None:
            picked = picked.masked_fill(weights == 0, self.num_experts)
        return logits, weights.to(logits.dtype), picked


class MaskedSparseMoeBlock(FlexOlmoSparseMoeBlock):  # type: ignore[misc]
    """Passes each row's mask on to every token of the row."""

    def forward(
        self, hidden_states: Tensor, expert_mask: Tensor | None = None, record: RoutingRecord | None = None
    ) -> Tensor:
        n_rows, n_tokens, size = hidden_states.shape
        flat = hidden_states.reshape(-1, size)
        spread = None if expert_mask is None else expert_mask.repeat_interleave(n_tokens, dim=0)
        _, weights, picked = self.gate(flat, spread, record)
        mixed: Tensor = self.experts(flat, picked, weights)
        return mixed.reshape(n_rows, n_tokens, size)


class MaskedDecoderLayer(FlexOlmoDecoderLayer):  # type: ignore[misc]
    """The block with a mask for its feed-forward part."""

    def forward(
        self,
        hidden_states: Tensor,
        expert_mask: Tensor | None = None,
        routing_record: RoutingRecord | None = None,
        **kwargs: Any,
    ) -> Tensor:
        attended, _ = self.self_attn(hidden_states=hidden_states, **kwargs)
        hidden_states = hidden_states + self.post_attention_layernorm(attended)
        mixed = self.mlp(hidden_states, expert_mask, routing_record)
        result: Tensor = hidden_states + self.post_feedforward_layernorm(mixed)
        return result


class MaskedFlexOlmoForCausalLM(FlexOlmoForCausalLM):  # type: ignore[misc]
    """FlexOlmo that takes `expert_mask` (rows, experts) in `forward` and `generate`."""

    # transformers looks for a decorator in the subclass's own source file and would
    # silently change the experts' implementation when it finds none.
    _can_set_experts_implementation_cached_value = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.__class__ = MaskedDecoderLayer
            layer.mlp.__class__ = MaskedSparseMoeBlock
            layer.mlp.gate.__class__ = MaskedTopKRouter
            layer.mlp.experts._is_expert_parallel = True  # every implementation then skips the sentinel

    def forward(
        self,
        input_ids: Tensor | None = None,
        expert_mask: Tensor | None = None,
        routing_record: RoutingRecord | None = None,
        **kwargs: Any,
    ) -> Any:
        """As in transformers. ValueError when a row has no enabled expert."""
        if expert_mask is not None and not bool(expert_mask.any(-1).all()):
            raise ValueError("a row has no enabled expert; switch at least one on")
        return super().forward(input_ids=input_ids, expert_mask=expert_mask, routing_record=routing_record, **kwargs)
