"""The FlexOlmo forward pass over rows of different masks and lengths in one batch.

Equal to transformers' FlexOlmo (OLMo 2 blocks: norms after attention and after
the feed-forward part, q/k norm, rotary positions; Shi et al., arXiv 2507.07024)
with the router's logits of disabled experts at −inf before the softmax, which is
the same as removing these experts and their router rows. A disabled expert is
never multiplied: tokens are gathered per expert by mask and routing. Each row
attends to its own extent of the cache alone. Knows no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from webapp.inference.kv_cache import PAGE_TOKENS, Extent, KeyValueCache
from webapp.inference.linear import Linear, WithheldLinear, make_router
from webapp.inference.mask_plan import MaskPlan, Picks

if TYPE_CHECKING:
    from webapp.inference.streamed import CompiledStep

_MAX_PLANS = 256


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
    """One block; `gate_up` and `down` hold one matrix an expert, `router_rows` what `router` multiplies by."""

    qkv: Linear  # hidden → (heads + 2 kv_heads) * head
    out: Linear  # heads * head → hidden
    q_norm: Tensor
    k_norm: Tensor
    qk_norm: Tensor | None  # both stacked (2, size) where they are of one size
    attention_norm: Tensor
    feed_forward_norm: Tensor
    router: Linear  # hidden → experts
    router_rows: Tensor  # experts, hidden
    gate_up: list[Linear]  # each hidden → 2 * inner
    down: list[Linear]  # each inner → hidden


@dataclass
class ExpertWeights:
    """One expert's part of one block."""

    router_row: Tensor  # hidden
    gate_up: Linear
    down: Linear


@dataclass
class DecoderWeights:
    """All weights, and the rotary tables for the whole context in float32."""

    embedding: Tensor  # vocabulary, hidden
    norm: Tensor
    head: Linear  # hidden → vocabulary
    layers: list[LayerWeights]
    cos: Tensor  # context, head
    sin: Tensor


@dataclass(frozen=True)
class Segment:
    """Tokens `ids` that continue a row whose `extent` holds `start` positions already."""

    extent: Extent
    start: int
    ids: Sequence[int]
    mask: tuple[bool, ...]  # over resident experts


@dataclass
class _Step:
    """What all layers of one forward share."""

    segments: Sequence[Segment]
    slots: Tensor  # each token's position in the arena
    cos: Tensor  # tokens, 1, head
    sin: Tensor  # negative in the first half of a head
    causal: list[Tensor | None]  # a segment's mask (its tokens, positions), or None
    seen: list[list[tuple[Tensor, Tensor]]]  # a segment's keys and values, layer by layer
    plan: MaskPlan


class Decoder:
    """Runs tokens through the blocks. Not safe for use by two threads at once."""

    def __init__(self, shape: DecoderShape, weights: DecoderWeights, way: str = "torch") -> None:
        """`way` is that of the weights' matrices (`linear.pick_way`)."""
        self.shape = shape
        self.way = way
        self.weights = weights
        self.device = weights.embedding.device
        self.dtype = weights.embedding.dtype
        self.expert_computations = [0] * shape.n_experts
        self.working_dtype = working_dtype(self.dtype, self.device)
        self._epsilon = torch.tensor(shape.epsilon, dtype=torch.float32, device=self.device)
        sign = torch.where(torch.arange(shape.head_size, device=self.device) < shape.head_size // 2, -1.0, 1.0)
        self._turns = torch.stack((weights.cos, weights.sin * sign), 1)[:, :, None]  # context, 2, 1, head
        self._plans: dict[tuple[tuple[int, tuple[bool, ...]], ...], MaskPlan] = {}
        self._compiled_step: CompiledStep | None = None
        if way == "compiled":
            from webapp.inference.streamed import CompiledStep

            self._compiled_step = CompiledStep(shape, weights)

    @property
    def cache_bytes_per_token(self) -> int:
        s = self.shape
        return 2 * s.n_layers * s.n_kv_heads * s.head_size * self.working_dtype.itemsize

    def new_cache(self, n_tokens: int) -> KeyValueCache:
        """A cache with room for `n_tokens`, a multiple of the page size."""
        s = self.shape
        return KeyValueCache(s.n_layers, s.n_kv_heads, s.head_size, self.working_dtype, self.device, n_tokens)

    def withhold(self, expert: int) -> None:
        """Free an expert's matrices and router rows. Its place stays, so that nothing else changes by a bit."""
        nothing = WithheldLinear()
        zero = torch.zeros_like(self.weights.layers[0].router_rows[expert])
        self.restore(expert, [ExpertWeights(zero, nothing, nothing) for _ in self.weights.layers])

    def restore(self, expert: int, layers: Sequence[ExpertWeights]) -> None:
        """Put an expert into its place, one part a block."""
        for layer, part in zip(self.weights.layers, layers, strict=True):
            layer.gate_up[expert], layer.down[expert] = part.gate_up, part.down
            rows = layer.router_rows.clone()
            rows[expert] = part.router_row
            layer.router_rows, layer.router = rows, make_router(rows)
        if self._compiled_step is not None:
            self._compiled_step.refresh()

    @torch.inference_mode()
    def forward(
        self, segments: Sequence[Segment], cache: KeyValueCache, *, all_positions: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Logits and routing weights after the last token of each segment (or after every token).

        Returns logits (n, vocabulary) in float32 and routing weights (n, layers, experts),
        with n = segments, or all their tokens with `all_positions`. Where compiled, a segment of one token is
        computed by `CompiledStep`, whatever comes with it, and all others by torch.
        """
        if self._compiled_step is None:
            return self._forward_in_torch(segments, cache, all_positions)
        short = [i for i, segment in enumerate(segments) if len(segment.ids) == 1]
        if not short:
            return self._forward_in_torch(segments, cache, all_positions)
        one = self._forward_compiled([segments[i] for i in short], cache)
        if len(short) == len(segments):
            return one
        long = [i for i, segment in enumerate(segments) if len(segment.ids) > 1]
        many = self._forward_in_torch([segments[i] for i in long], cache, all_positions)
        n_each = [len(segment.ids) if all_positions else 1 for segment in segments]
        ends = torch.tensor(n_each).cumsum(0).tolist()
        order = [list(range(ends[i] - n_each[i], ends[i])) for i in (*short, *long)]
        places = torch.tensor([place for part in order for place in part]).argsort()
        logits, routing = (torch.cat(pair)[places] for pair in zip(one, many, strict=True))
        return logits, routing

    def _forward_compiled(self, segments: Sequence[Segment], cache: KeyValueCache) -> tuple[Tensor, Tensor]:
        assert self._compiled_step is not None
        rows = [(segment.ids[0], segment.extent.start, segment.start, segment.mask) for segment in segments]
        logits, routing, counts = self._compiled_step(rows, cache.arena)
        for expert, n_rows in enumerate(counts):
            self.expert_computations[expert] += n_rows
        return logits, routing

    def _forward_in_torch(
        self, segments: Sequence[Segment], cache: KeyValueCache, all_positions: bool
    ) -> tuple[Tensor, Tensor]:
        ids = [token for segment in segments for token in segment.ids]
        step = self._plan_step(segments, cache)
        hidden = F.embedding(torch.tensor(ids, device=self.device), self.weights.embedding).to(self.working_dtype)
        routing = []
        for number, layer in enumerate(self.weights.layers):
            attended = self._attend(hidden, layer, number, cache.layers[number], step)
            hidden = self._add_normed(hidden, attended, layer.attention_norm)
            mixed, shares = self._mix_experts(hidden, layer, step.plan)
            hidden = self._add_normed(hidden, mixed, layer.feed_forward_norm)
            routing.append(shares)
        stacked = torch.stack(routing, 1)
        if not all_positions and len(ids) > len(segments):
            ends = torch.tensor([len(segment.ids) for segment in segments], device=self.device).cumsum(0) - 1
            hidden, stacked = hidden[ends], stacked[ends]
        return self.weights.head(self._norm(hidden, self.weights.norm).to(self.dtype)).float(), stacked

    def trial_step(self, mask: tuple[bool, ...]) -> Callable[[], object]:
        """A forward pass of one token of one row, to be timed. It counts no computation."""
        cache = self.new_cache(PAGE_TOKENS)
        extent = cache.reserve(1)
        assert extent is not None
        segment = Segment(extent, 0, [0], mask)

        def step() -> None:
            before = list(self.expert_computations)
            self.forward([segment], cache)
            self.expert_computations = before

        return step

    def _plan_step(self, segments: Sequence[Segment], cache: KeyValueCache) -> _Step:
        positions: list[int] = []
        slots: list[int] = []
        causal: list[Tensor | None] = []
        seen = []
        for segment in segments:
            end = segment.start + len(segment.ids)
            positions.extend(range(segment.start, end))
            slots.extend(range(segment.extent.start + segment.start, segment.extent.start + end))
            is_partial = segment.start > 0 and len(segment.ids) > 1
            causal.append(self._causal_mask(len(segment.ids), end) if is_partial else None)
            seen.append(cache.seen(segment.extent, end))
        cos, sin = self._turns.index_select(0, torch.tensor(positions, device=self.device)).unbind(1)
        return _Step(
            segments=segments,
            slots=torch.tensor(slots, device=self.device),
            cos=cos,
            sin=sin,
            causal=causal,
            seen=seen,
            plan=self._mask_plan(segments),
        )

    def _causal_mask(self, n_new: int, n_seen: int) -> Tensor:
        every = torch.ones(n_new, n_seen, dtype=torch.bool, device=self.device)
        return every.tril(n_seen - n_new)

    def _mask_plan(self, segments: Sequence[Segment]) -> MaskPlan:
        key = tuple((len(segment.ids), segment.mask) for segment in segments)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            masks = [mask for n_tokens, mask in key for _ in range(n_tokens)]
            plan = self._plans[key] = MaskPlan.make(masks, self.device)
        return plan

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """`x` over its root mean square along the last dimension of `weight`, times `weight`."""
        if x.is_cuda:
            normed = F.rms_norm(x, weight.shape[-1:], None if weight.ndim > 1 else weight, self.shape.epsilon)
            return normed * weight if weight.ndim > 1 else normed
        return (x * self._inverse_root_mean_square(x)).mul_(weight)

    def _add_normed(self, hidden: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        if x.is_cuda:
            return hidden + self._norm(x, weight)
        return torch.addcmul(hidden, x * self._inverse_root_mean_square(x), weight)

    def _inverse_root_mean_square(self, x: Tensor) -> Tensor:
        """Along the last dimension, which stays; CPUs have no such norm in one piece, and torch's takes seven."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return torch.addcmul(self._epsilon, length, length, value=1 / x.shape[-1]).rsqrt_()

    def _attend(self, x: Tensor, w: LayerWeights, number: int, arena: Tensor, step: _Step) -> Tensor:
        """Attention of layer `number`; writes the tokens' keys and values into its part of the cache."""
        s = self.shape
        q_size, kv_size = s.n_heads * s.head_size, s.n_kv_heads * s.head_size
        qkv = w.qkv(x.to(self.dtype)).to(self.working_dtype)
        qk = qkv.narrow(1, 0, q_size + kv_size)
        if w.qk_norm is not None:
            qk = self._norm(qk.view(-1, 2, q_size), w.qk_norm)
        else:
            q, k = torch.split(qk, [q_size, kv_size], -1)
            qk = torch.cat((self._norm(q, w.q_norm), self._norm(k, w.k_norm)), -1)
        heads = qkv.view(-1, s.n_heads + 2 * s.n_kv_heads, s.head_size)
        turned = heads.narrow(1, 0, s.n_heads + s.n_kv_heads)
        turned.copy_(_rotate(qk.view(turned.shape), step))
        heads = heads.transpose(0, 1).to(arena.dtype)
        arena.index_copy_(1, step.slots, heads.narrow(0, s.n_heads, 2 * s.n_kv_heads))
        queries = heads.narrow(0, 0, s.n_heads).unsqueeze(0)
        mixed, begin = [], 0
        for segment, causal, seen in zip(step.segments, step.causal, step.seen, strict=True):
            n_new = len(segment.ids)
            keys, values = seen[number]
            part = F.scaled_dot_product_attention(
                queries.narrow(2, begin, n_new),
                keys,
                values,
                attn_mask=causal,
                is_causal=n_new > 1 and causal is None,
                enable_gqa=s.n_kv_heads != s.n_heads,
            )
            mixed.append(part[0])
            begin += n_new
        joined = torch.cat(mixed, 1) if len(mixed) > 1 else mixed[0]
        return w.out(joined.transpose(0, 1).reshape(-1, q_size).to(self.dtype)).to(self.working_dtype)

    def _route(self, x: Tensor, w: LayerWeights, blocked: Tensor | None) -> Tensor:
        """Routing weights (n, experts) in float32: softmax over enabled experts, then top-k."""
        logits = w.router(x).float()
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
        picks = plan.picks if self.shape.top_k >= self.shape.n_experts else _picked(shares, plan.blocked)
        if picks is None:
            n_experts = self.shape.n_experts
            scales = shares.t().reshape(-1, 1)
            outputs = self._feed_forward([x.to(self.dtype)] * n_experts, w, range(n_experts), scales)
            return torch.stack(outputs).to(self.working_dtype).sum(0), shares
        chosen = torch.split(x.to(self.dtype).index_select(0, picks.tokens), picks.sizes)
        scales = shares.view(-1).index_select(0, picks.places)[:, None]
        outputs = self._feed_forward(chosen, w, picks.experts, scales)
        # One addition an expert, in which no token comes twice: the order of the sum is fixed on any device.
        mixed = torch.zeros_like(x)
        for tokens, output in zip(torch.split(picks.tokens, picks.sizes), outputs, strict=True):
            mixed.index_add_(0, tokens, output.to(self.working_dtype))
        return mixed, shares

    def _feed_forward(
        self, inputs: Sequence[Tensor], w: LayerWeights, experts: Sequence[int], scales: Tensor
    ) -> list[Tensor]:
        """What each of `experts` makes of its input (n, hidden), times `scales` (all n, 1), which follow the inputs.

        What is done to each number alone is done for all experts at once; scaling before the last product
        rather than after it needs no further pass.
        """
        products = []
        for expert, rows in zip(experts, inputs, strict=True):
            self.expert_computations[expert] += rows.shape[0]
            products.append(w.gate_up[expert](rows))
        gate, up = torch.cat(products).chunk(2, -1)
        inner = F.silu(gate).mul_(up).mul_(scales.to(self.dtype))
        parts = torch.split(inner, [len(rows) for rows in inputs])
        return [w.down[expert](rows) for expert, rows in zip(experts, parts, strict=True)]


def working_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """In what everything between products with weights is done, and keys and values are kept.

    CPUs take several times as long for attention and norms in half precision as in float32.
    """
    return torch.float32 if device.type == "cpu" else dtype


def _picked(shares: Tensor, blocked: Tensor | None) -> Picks:
    """The tokens that the router sends to each expert."""
    is_used = shares != 0  # NaN counts as used, so that it shows
    if blocked is not None:
        is_used &= ~blocked
    return Picks.make(is_used)


def _rotate(x: Tensor, step: _Step) -> Tensor:
    """Rotary positions on (tokens, heads, head), in float32."""
    turned = x.roll(x.shape[-1] // 2, -1)  # the first half's sign is in `sin`
    return torch.addcmul(x * step.cos, turned, step.sin)
