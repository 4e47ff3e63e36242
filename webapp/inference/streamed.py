"""Weights laid out once for compiled code, which multiplies them in prompts as in decoding.

One copy of a matrix serves both ways: torch reads prompts with it, product by product, and `CompiledStep` makes
one token for each of many rows in a single call. Threads are torch's number (`torch.get_num_threads`).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from webapp.inference import kernels
from webapp.inference.linear import WithheldLinear

if TYPE_CHECKING:
    from webapp.inference.decoder import DecoderShape, DecoderWeights

logger = logging.getLogger(__name__)


class _Helpers:
    """Threads that run a compiled function beside the caller. Whoever finds them busy works alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inboxes: list[queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]]] = []
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call function(thread, n_threads, *arguments) in every thread; what the first returned."""
        n_threads = torch.get_num_threads()
        if n_threads == 1 or not self._lock.acquire(blocking=False):
            return function(0, 1, *arguments)
        try:
            while len(self._inboxes) < n_threads - 1:
                inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
                self._inboxes.append(inbox)
                threading.Thread(target=self._serve, args=(inbox,), name="multiplier", daemon=True).start()
            for number, inbox in enumerate(self._inboxes[: n_threads - 1], start=1):
                inbox.put((function, (number, n_threads, *arguments)))
            try:
                return function(0, n_threads, *arguments)
            finally:
                for _ in range(n_threads - 1):
                    self._done.get()
        finally:
            self._lock.release()

    def _serve(self, inbox: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        while True:
            function, arguments = inbox.get()
            try:
                function(*arguments)
            except Exception:
                logger.exception("a multiplying thread failed")
            finally:
                del function, arguments
                self._done.put(None)


_helpers = _Helpers()


class StreamedLinear:
    """x (n, in) → x Wᵀ + b (n, out) in float32; the same bits for a row however many there are."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """ValueError for a dtype that is neither float32 nor bfloat16."""
        if weight.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"{weight.dtype} is not compiled")
        self.n_outputs, self.n_inputs = weight.shape
        self.dtype = weight.dtype
        self.bias = None if bias is None else bias.float()
        per_step = 2 if self._is_bfloat16 else 1
        self.n_steps = -(-self.n_inputs // per_step)
        self.n_panels = -(-self.n_outputs // kernels.PANEL)
        padded = F.pad(
            weight, (0, self.n_steps * per_step - self.n_inputs, 0, self.n_panels * kernels.PANEL - self.n_outputs)
        )
        split = padded.view(self.n_panels, kernels.PANEL, self.n_steps, per_step)
        self._panels = split.transpose(1, 2).contiguous()

    @property
    def _is_bfloat16(self) -> bool:
        return self.dtype == torch.bfloat16

    @property
    def address(self) -> int:
        return self._panels.data_ptr()

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self._is_bfloat16 and self.n_inputs % 2:
            x = F.pad(x, (0, 1))
        rows = x.contiguous().view(torch.int32).numpy()
        out = torch.empty(x.shape[0], self.n_panels * kernels.PANEL)
        _helpers.run(kernels.multiply, rows, self.address, self.n_steps, self.n_panels, out.numpy(), self._is_bfloat16)
        out = out[:, : self.n_outputs]
        return out if self.bias is None else out + self.bias


TokenRow = tuple[int, int, int, tuple[bool, ...]]  # token, its extent's start, its position there, mask


class CompiledStep:
    """The decoder's step for rows of one token each. Not safe for use by two threads at once."""

    def __init__(self, shape: DecoderShape, weights: DecoderWeights) -> None:
        """TypeError unless all matrices are streamed."""
        self._shape, self._weights = shape, weights
        self._is_bfloat16 = weights.embedding.dtype == torch.bfloat16
        layers = weights.layers
        attention, feed_forward = (
            [getattr(layer, f"{name}_norm") for layer in layers] for name in ("attention", "feed_forward")
        )
        ends = torch.stack([weights.norm, torch.zeros_like(weights.norm)])
        self._norms = torch.cat(
            (torch.stack((torch.stack(attention), torch.stack(feed_forward)), 1), ends[None])
        ).numpy()
        self._q_norms = torch.stack([layer.q_norm for layer in layers]).numpy()
        self._k_norms = torch.stack([layer.k_norm for layer in layers]).numpy()
        self._cos, self._sin = weights.cos.contiguous(), weights.sin.contiguous()
        self._biases = self._read_biases()
        self._head = _streamed(weights.head)
        self._n_positions = 0  # that the workspace holds
        self._work: dict[str, NDArray[Any]] = {}
        self.refresh()

    def _read_biases(self) -> NDArray[np.float32]:
        layers = self._weights.layers
        pairs = [(_streamed(layer.qkv), _streamed(layer.out)) for layer in layers]
        if all(linear.bias is None for pair in pairs for linear in pair):
            return np.empty((0, 2, 0), np.float32)
        table = np.zeros((len(layers), 2, max(pairs[0][0].n_outputs, pairs[0][1].n_outputs)), np.float32)
        for number, pair in enumerate(pairs):
            for which, linear in enumerate(pair):
                if linear.bias is not None:
                    table[number, which, : linear.n_outputs] = linear.bias.numpy()
        return table

    def refresh(self) -> None:
        """Read anew where matrices lie, and the router's rows, after experts were taken out or put in."""
        self._held = [matrix for w in self._weights.layers for matrix in (w.qkv, w.out, *w.gate_up, *w.down)]
        self._addresses = np.array(
            [
                [_streamed(w.qkv).address, _streamed(w.out).address, *map(_address, w.gate_up), *map(_address, w.down)]
                for w in self._weights.layers
            ],
            np.int64,
        )
        self._routers = torch.stack([layer.router_rows.float() for layer in self._weights.layers]).numpy()

    def __call__(self, rows: Sequence[TokenRow], arena: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """Logits (rows, vocabulary), routing weights (rows, layers, experts), and how many rows each expert computed.

        `arena` is (layers, 2 * kv heads, positions, head). RuntimeError when an expert is withheld that is needed.
        """
        shape, n = self._shape, len(rows)
        tokens, starts, at, masks = zip(*rows, strict=True)
        work = self._workspace(n, max(at) + 1)
        positions = torch.tensor(at)
        embedded = F.embedding(torch.tensor(tokens), self._weights.embedding).float()
        logits = torch.empty(n, _padded(shape.vocab_size))
        routing = torch.empty(n, shape.n_layers, shape.n_experts)
        counts = np.zeros(shape.n_experts, np.int64)
        work["barrier"][0] = 0
        is_withheld = _helpers.run(
            kernels.decode,
            self._is_bfloat16,
            shape.top_k,
            shape.norm_top_k,
            np.float32(shape.epsilon),
            self._addresses,
            self._head.address,
            self._norms,
            self._q_norms,
            self._k_norms,
            self._routers,
            self._biases,
            self._cos.index_select(0, positions).numpy(),
            self._sin.index_select(0, positions).numpy(),
            np.array(starts, np.int64),
            positions.numpy(),
            np.array(masks, np.bool_),
            arena.numpy(),
            embedded.numpy(),
            *(work[name] for name in ("hiddens", "prepared", "floats", "barrier", "qkv", "attended")),
            *(work[name] for name in ("both", "inner", "outs")),
            logits.numpy(),
            routing.numpy(),
            counts,
        )
        if is_withheld:
            raise RuntimeError("an expert whose weights are withheld was to be computed")
        return logits[:, : shape.vocab_size], routing, counts.tolist()

    def _workspace(self, n_rows: int, n_positions: int) -> dict[str, NDArray[Any]]:
        """Scratch for so many rows, at least so many positions long; kept for the next step."""
        shape, n_threads = self._shape, torch.get_num_threads()
        have = self._work.get("hiddens")
        if have is not None and have.shape[:2] == (n_threads, n_rows) and self._n_positions >= n_positions:
            return self._work
        self._n_positions = -(-n_positions // 256) * 256
        q_size = shape.n_heads * shape.head_size
        n_qkv = q_size + 2 * shape.n_kv_heads * shape.head_size
        widest = max(shape.hidden_size, q_size, shape.inner_size) + 1
        n_picks = n_rows * shape.top_k
        sizes = {
            "hiddens": (n_threads, n_rows, shape.hidden_size),
            "prepared": (n_threads, n_rows, widest),
            "floats": (n_threads, max(widest, shape.head_size + self._n_positions)),
            "qkv": (n_rows, _padded(n_qkv)),
            "attended": (n_rows, q_size),
            "both": (n_picks, _padded(max(2 * shape.inner_size, shape.hidden_size))),
            "inner": (n_picks, shape.inner_size),
            "outs": (n_rows, _padded(shape.hidden_size)),
        }
        self._work = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
        self._work["barrier"] = np.zeros(16, np.int64)
        return self._work


def _streamed(linear: object) -> StreamedLinear:
    if not isinstance(linear, StreamedLinear):
        raise TypeError(f"{type(linear).__name__} is not laid out for compiled code")
    return linear


def _address(linear: object) -> int:
    """Where an expert's matrix lies; 0 for one that is withheld."""
    return 0 if isinstance(linear, WithheldLinear) else _streamed(linear).address


def _padded(n_outputs: int) -> int:
    return -(-n_outputs // kernels.PANEL) * kernels.PANEL


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile everything, or read it from numba's cache, by a step of the smallest model."""
    from webapp.inference.decoder import DecoderShape, DecoderWeights, LayerWeights

    one, row = torch.ones(2), torch.ones(1, 2)

    def linear(n_outputs: int, n_inputs: int) -> StreamedLinear:
        return StreamedLinear(torch.ones(n_outputs, n_inputs))

    linear(1, 2)(row)
    layer = LayerWeights(
        linear(6, 2), linear(2, 2), one, one, None, one, one, linear(1, 2), row, [linear(2, 2)], [linear(2, 1)]
    )
    shape = DecoderShape(1, 1, 1, 2, 2, 1, 1, 1, 1, False, 1e-6)
    step = CompiledStep(shape, DecoderWeights(row, one, linear(1, 2), [layer], row, row))
    step([(0, 0, 0, (True,))], torch.zeros(1, 2, 1, 2))
