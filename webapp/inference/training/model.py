"""A small OLMo 2 / FlexOlmo for training: 2-D weights, every expert computed, no cache.

Equal to transformers' FlexOlmo after export (tested). Shapes: B rows, T positions, D width, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NEGATIVE_INFINITY = float("-inf")


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the model; `n_experts` 1 is dense, `top_k` 0 uses all experts for each token."""

    vocabulary: int = 4096
    width: int = 256
    n_layers: int = 4
    feed_forward: int = 512
    n_heads: int = 4
    context: int = 512
    rope_theta: float = 10_000.0
    n_experts: int = 1
    norm_epsilon: float = 1e-6
    top_k: int = 0


class RmsNorm(nn.Module):
    """Root-mean-square normalisation with a learnt scale."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.epsilon)


class FeedForward(nn.Module):
    """SwiGLU: one expert, or the whole feed-forward part of a dense block."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        down: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return down


class Attention(nn.Module):
    """Causal attention with q/k norm and rotary positions."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        width = shape.width
        self.n_heads = shape.n_heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.q_norm, self.k_norm = (RmsNorm(width, shape.norm_epsilon) for _ in range(2))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, width = x.shape
        heads = (rows, length, self.n_heads, width // self.n_heads)
        q = self.q_norm(self.q(x)).view(heads).transpose(1, 2)
        k = self.k_norm(self.k(x)).view(heads).transpose(1, 2)
        v = self.v(x).view(heads).transpose(1, 2)
        q, k = (rotate(each, cos, sin).to(v.dtype) for each in (q, k))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o(mixed.transpose(1, 2).reshape(rows, length, width))
        return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to (…, T, head width)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Block(nn.Module):
    """One layer: norm after attention and after the experts.

    `mask` (E,) disables experts before the softmax; `bias` (E,) is the training-time bias of
    new experts, dropped at merging; `shares` collects mean routing weights when it is a list;
    `dropout` is the share of either part's output that training leaves out.
    """

    mask: Tensor | None
    bias: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.attention_norm, self.feed_forward_norm = (RmsNorm(shape.width, shape.norm_epsilon) for _ in range(2))
        self.experts = nn.ModuleList(FeedForward(shape.width, shape.feed_forward) for _ in range(shape.n_experts))
        self.router = nn.Parameter(torch.zeros(shape.n_experts, shape.width))
        self.own_bias = nn.Parameter(torch.zeros(()))
        self.use_own_bias = False
        self.dropout = 0.0
        self.top_k = shape.top_k
        self.enabled = list(range(shape.n_experts))
        self.mask = None
        self.shares: list[Tensor] | None = None
        self.inputs: list[Tensor] | None = None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self._drop(self.attention_norm(self.attention(x, cos, sin)))
        if self.inputs is not None:
            self.inputs.append(x.detach().reshape(-1, x.shape[-1]).double().sum(0))
        return x + self._drop(self.feed_forward_norm(self._mix(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout) if self.training and self.dropout else x

    def _mix(self, x: Tensor) -> Tensor:
        if len(self.experts) == 1:
            out: Tensor = self.experts[0](x)
            return out
        logits = functional.linear(x, self.router).float()
        if self.use_own_bias:
            logits = torch.cat([logits[..., :-1], logits[..., -1:] + self.own_bias.clamp(max=0)], -1)
        if self.mask is not None:
            logits = logits.masked_fill(~self.mask, NEGATIVE_INFINITY)
        weights = logits.softmax(-1)
        if 0 < self.top_k < len(self.experts):
            top, picked = weights.topk(self.top_k, -1)
            weights = torch.zeros_like(weights).scatter(-1, picked, top)
        if self.shares is not None:
            self.shares.append(weights.detach().reshape(-1, weights.shape[-1]).mean(0))
        mixed: Tensor = torch.stack([weights[..., e : e + 1] * self.experts[e](x) for e in self.enabled]).sum(0)
        return mixed


class TrainingModel(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm = RmsNorm(shape.width, shape.norm_epsilon)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2 and "router" not in name:
                nn.init.normal_(parameter, 0, 0.02)
        cos, sin = rotary_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @classmethod
    def of_weights(cls, shape: ModelShape, weights: dict[str, Tensor]) -> TrainingModel:
        """Return a model over exactly these tensors, by name, without copying them; all on one device."""
        with torch.device("meta"):
            model = cls(shape)
        model.load_state_dict(weights, assign=True)
        device = model.embedding.weight.device
        model.cos, model.sin = (table.to(device) for table in rotary_tables(shape))
        return model

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.embedding.weight.device

    def forward(self, token_ids: Tensor) -> Tensor:
        x = self.embedding(token_ids).float()
        cos, sin = self.cos[: token_ids.shape[1]], self.sin[: token_ids.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def layers(self) -> list[Block]:
        """Return the blocks with their type."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def set_dropout(self, share: float) -> None:
        """Leave out that share of each part's output while training."""
        for block in self.layers():
            block.dropout = share

    def set_mask(self, mask: Tensor | None) -> None:
        """Enable only the experts where `mask` (E,) is true; None enables all."""
        enabled = [e for e in range(self.shape.n_experts) if mask is None or bool(mask[e])]
        for block in self.layers():
            block.mask, block.enabled = None if mask is None else mask.to(self.device), enabled


def rotary_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (context, head width) of the rotary positions, in float32."""
    head_width = shape.width // shape.n_heads
    frequencies = 1 / shape.rope_theta ** (torch.arange(0, head_width, 2, device="cpu").float() / head_width)
    angles = torch.arange(shape.context, device="cpu").float()[:, None] * frequencies
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def next_token_loss(model: TrainingModel, token_ids: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of tokens 1…T given those before, for (B, T + 1) ids."""
    logits = model(token_ids[:, :-1]).float()
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), token_ids[:, 1:].reshape(-1))
