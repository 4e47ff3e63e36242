"""The FlexOlmo forward pass over slots of a key-value cache, with an expert mask a row.

Equal to transformers' FlexOlmo (OLMo 2 blocks: norms after attention and after
the feed-forward part, q/k norm, rotary positions; Shi et al., arXiv 2507.07024)
with the router's logits of disabled experts at −inf before the softmax, which is
the same as removing these experts and their router rows. A disabled expert is
never multiplied: rows are gathered per expert by mask. Knows no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from webapp.inference.kv_cache import KeyValueCache


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a loaded model; `n_experts` counts the resident ones."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_size: int
    hidden_size: int
    inner_size: int
    vocab_size: int
    n_experts: int
    top_k: int
    norm_top_k: bool
    epsilon: float


@dataclass
class LayerWeights:
    """One block; `gate_up` and `down` hold one tensor an expert.

    Matrices are stored (in, out), contiguous: measured on CPUs, products of few rows
    are 1.5 to 2 times faster than with transformers' (out, in).
    """

    qkv: Tensor  # hidden, (heads + 2 kv_heads) * head
    qkv_bias: Tensor | None
    out: Tensor  # heads * head, hidden
    out_bias: Tensor | None
    q_norm: Tensor
    k_norm: Tensor
    attention_norm: Tensor
    feed_forward_norm: Tensor
    router: Tensor  # hidden, experts
    gate_up: list[Tensor]  # each hidden, 2 * inner
    down: list[Tensor]  # each inner, hidden


@dataclass
class DecoderWeights:
    """All weights, and the rotary tables for the whole context in float32."""

    embedding: Tensor  # vocabulary, hidden
    norm: Tensor
    head: Tensor  # hidden, vocabulary
    layers: list[LayerWeights]
    cos: Tensor  # context, head
    sin: Tensor


@dataclass(frozen=True)
class MaskPlan:
    """Which rows of a batch each expert may see.

    `blocked` is (rows, experts), True where an expert is off; None when all are on.
    `groups` lists (expert, row numbers or None for every row) for the experts that
    are on for at least one row.
    """

    blocked: Tensor | None
    groups: tuple[tuple[int, Tensor | None, int], ...]

    @classmethod
    def make(cls, masks: Sequence[tuple[bool, ...]], device: torch.device) -> MaskPlan:
        groups: list[tuple[int, Tensor | None, int]] = []
        for expert in range(len(masks[0])):
            rows = [row for row, mask in enumerate(masks) if mask[expert]]
            if len(rows) == len(masks):
                groups.append((expert, None, len(rows)))
            elif rows:
                groups.append((expert, torch.tensor(rows, device=device), len(rows)))
        is_full = all(all(mask) for mask in masks)
        blocked = None if is_full else ~torch.tensor(masks, dtype=torch.bool, device=device)
        return cls(blocked, tuple(groups))


@dataclass
class _Step:
    """What all layers of one forward share."""

    first_row: int
    n_rows: int
    n_tokens: int
    positions: Tensor  # rows, tokens
    n_seen: int
    cos: Tensor  # rows, 1, tokens, head
    sin: Tensor
    allowed: Tensor | None  # rows, 1, tokens, n_seen
    is_causal: bool
    row_numbers: Tensor


class Decoder:
    """Runs tokens through the blocks. Not safe for use by two threads at once."""

    def __init__(self, shape: DecoderShape, weights: DecoderWeights) -> None:
        self.shape = shape
        self.weights = weights
        self.device = weights.embedding.device
        self.dtype = weights.embedding.dtype
        self.expert_computations = [0] * shape.n_experts
        self._ticks = torch.arange(weights.cos.shape[0], device=self.device)

    def new_cache(self) -> KeyValueCache:
        s = self.shape
        return KeyValueCache(s.n_layers, s.n_kv_heads, s.head_size, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self,
        ids: Tensor,
        starts: Sequence[int],
        cache: KeyValueCache,
        plan: MaskPlan,
        *,
        first_row: int = 0,
        all_positions: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Logits and routing weights of the last (or all) positions.

        ids (rows, tokens) continue the cache rows `first_row…` at positions `starts`;
        several rows need tokens = 1, several tokens need rows = 1. Returns logits
        (n, vocabulary) in float32 and routing weights (n, experts), summed over layers,
        with n = rows, or tokens with `all_positions`.
        """
        step = self._plan_step(ids, starts, first_row)
        hidden = F.embedding(ids.reshape(-1), self.weights.embedding)
        routing: Tensor | None = None
        for index, layer in enumerate(self.weights.layers):
            attended = self._attend(hidden, layer, cache.keys[index], cache.values[index], step)
            hidden = hidden + self._norm(attended, layer.attention_norm)
            mixed, shares = self._mix_experts(hidden, layer, plan)
            hidden = hidden + self._norm(mixed, layer.feed_forward_norm)
            routing = shares if routing is None else routing + shares
        assert routing is not None
        if not all_positions and step.n_tokens > 1:
            hidden, routing = hidden[-1:], routing[-1:]
        logits = self._norm(hidden, self.weights.norm) @ self.weights.head
        return logits.float(), routing

    def _plan_step(self, ids: Tensor, starts: Sequence[int], first_row: int) -> _Step:
        n_rows, n_tokens = ids.shape
        if n_rows > 1 and n_tokens > 1:
            raise ValueError("several rows advance by one token each")
        n_seen = max(starts) + n_tokens
        begin = torch.tensor(starts, device=self.device)
        positions = begin[:, None] + self._ticks[:n_tokens]
        is_causal = n_tokens > 1 and n_seen == n_tokens
        allowed = None
        if not is_causal and n_rows * n_tokens > 1:
            allowed = (self._ticks[:n_seen] <= positions[..., None])[:, None]
        return _Step(
            first_row=first_row,
            n_rows=n_rows,
            n_tokens=n_tokens,
            positions=positions,
            n_seen=n_seen,
            cos=self.weights.cos[positions][:, None],
            sin=self.weights.sin[positions][:, None],
            allowed=allowed,
            is_causal=is_causal,
            row_numbers=self._ticks[:n_rows],
        )

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.shape.epsilon)

    def _attend(self, x: Tensor, w: LayerWeights, keys: Tensor, values: Tensor, step: _Step) -> Tensor:
        s = self.shape
        q_size, kv_size = s.n_heads * s.head_size, s.n_kv_heads * s.head_size
        qkv = _project(x, w.qkv, w.qkv_bias)
        q, k, v = qkv[:, :q_size], qkv[:, q_size : q_size + kv_size], qkv[:, q_size + kv_size :]
        rows, tokens = step.n_rows, step.n_tokens
        q = self._norm(q, w.q_norm).view(rows, tokens, s.n_heads, s.head_size).transpose(1, 2)
        k = self._norm(k, w.k_norm).view(rows, tokens, s.n_kv_heads, s.head_size).transpose(1, 2)
        v = v.reshape(rows, tokens, s.n_kv_heads, s.head_size).transpose(1, 2)
        q, k = _rotate(q, step), _rotate(k, step)
        span = slice(step.first_row, step.first_row + rows)
        key_rows, value_rows = keys[span], values[span]
        if rows == 1:
            fresh = slice(step.n_seen - tokens, step.n_seen)
            key_rows[0, :, fresh] = k[0]
            value_rows[0, :, fresh] = v[0]
        else:
            at = step.positions[:, 0]
            key_rows[step.row_numbers, :, at] = k[:, :, 0]
            value_rows[step.row_numbers, :, at] = v[:, :, 0]
        mixed = F.scaled_dot_product_attention(
            q,
            key_rows[:, :, : step.n_seen],
            value_rows[:, :, : step.n_seen],
            attn_mask=step.allowed,
            is_causal=step.is_causal,
            enable_gqa=s.n_kv_heads != s.n_heads,
        )
        return _project(mixed.transpose(1, 2).reshape(rows * tokens, q_size), w.out, w.out_bias)

    def _route(self, x: Tensor, w: LayerWeights, blocked: Tensor | None) -> Tensor:
        """Routing weights (n, experts) in float32: softmax over enabled experts, then top-k."""
        logits = (x @ w.router).float()
        if blocked is not None:
            logits = logits.masked_fill(blocked, float("-inf"))
        shares = logits.softmax(-1)
        if self.shape.top_k < self.shape.n_experts:
            top, picked = shares.topk(self.shape.top_k, -1)
            if self.shape.norm_top_k:
                top = top / top.sum(-1, keepdim=True)
            shares = torch.zeros_like(shares).scatter_(-1, picked, top)
        return shares

    def _mix_experts(self, x: Tensor, w: LayerWeights, plan: MaskPlan) -> tuple[Tensor, Tensor]:
        """The experts' weighted sum (n, hidden) and the routing weights (n, experts)."""
        shares = self._route(x, w, plan.blocked)
        scales = shares.to(x.dtype)
        n_total = x.shape[0]
        may_skip = n_total == 1 and self.shape.top_k < self.shape.n_experts
        weights = shares[0].tolist() if may_skip else None
        mixed = torch.zeros_like(x)
        for expert, rows, _ in plan.groups:
            if weights is not None and weights[expert] == 0.0:
                continue
            chosen = x if rows is None else x.index_select(0, rows)
            self.expert_computations[expert] += chosen.shape[0]
            gate, up = (chosen @ w.gate_up[expert]).chunk(2, -1)
            part = (F.silu(gate) * up) @ w.down[expert]
            if rows is None:
                mixed.addcmul_(part, scales[:, expert : expert + 1])
            else:
                mixed.index_add_(0, rows, part * scales[:, expert].index_select(0, rows)[:, None])
        return mixed, shares


def _project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight if bias is None else torch.addmm(bias, x, weight)


def _rotate(x: Tensor, step: _Step) -> Tensor:
    """Rotary positions on (rows, heads, tokens, head), in float32."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return (x * step.cos + turned * step.sin).to(x.dtype)
