"""The decode step in compiled code: products with weights at the speed of memory, and all that lies between them.

A matrix (out, in) lies in panels of 64 outputs, input by input: float32 as (panels, in, 64), bfloat16 as
(panels, in / 2, 64, 2). A lane of a vector is one output, whose sum runs through the inputs in order, so that
it is the same to the last bit for any number of rows and any number of threads. bfloat16 is multiplied
two by two where the CPU can (avx512_bf16), else widened by a shift; sums are float32.

Everything runs as one function in each of `n_threads` threads: matrices are shared out by panels, attention by
heads, what is small is done by each for itself, and threads meet at barriers. Importing this imports numba;
knows neither torch nor requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from webapp.compiling import compiled
from webapp.inference.vectors import (
    HAS_BFLOAT16,
    HAS_WIDE_VECTORS,
    PANEL,
    as_float,
    bits_of,
    count,
    four,
    four_half,
    one,
    one_half,
    two,
    two_half,
)

__all__ = ["HAS_BFLOAT16", "HAS_WIDE_VECTORS", "PANEL", "decode", "multiply"]
VECTORS_VERSION = 1
_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not "nnan": bad numbers must show


def _njit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda function: compiled(function, {"nogil": True, "cache": True, "error_model": "numpy", **options})


_yield_cpu = types.ExternalFunction("sched_yield", types.int32())


@_njit()
def _meet(barrier: int, n_threads: int, n_met: int) -> int:
    """Wait until all threads have come here; `n_met` counts the meetings before."""
    n_met += 1
    if n_threads > 1:
        count(barrier, 1)
        n_tries = 0
        while count(barrier, 0) < n_met * n_threads:
            n_tries += 1
            if n_tries > 300:
                _yield_cpu()
    return n_met


@_njit()
def _exp(x: Any) -> Any:
    """e^x in float32 within 2 units in the last place, for x <= 88 (Cephes' expf)."""
    x = np.float32(-87.0) if x < np.float32(-87.0) else (np.float32(88.0) if x > np.float32(88.0) else x)
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = x - whole * np.float32(0.693359375) - whole * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4) * rest + np.float32(1.3981999507e-3)
    p = p * rest + np.float32(8.3334519073e-3)
    p = p * rest + np.float32(4.1665795894e-2)
    p = p * rest + np.float32(1.6666665459e-1)
    p = p * rest + np.float32(5.0000001201e-1)
    power = np.int32(whole) if whole == whole else np.int32(0)
    return (p * rest * rest + rest + np.float32(1.0)) * as_float(np.int32((power + 127) << 23))


@_njit()
def _prepare(source: Any, target: Any, is_bfloat16: bool) -> None:
    """Numbers as the tiles read them: float32, or rounded to bfloat16 (to even) as uint16. Pads with 0."""
    n = source.shape[0]
    if is_bfloat16:
        half = target.view(np.uint16)
        for i in range(n):
            bits = bits_of(source[i])
            rounded = np.uint32((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
            half[i] = np.uint16(rounded) if source[i] == source[i] else np.uint16(0x7FC0)
        half[n : n + n % 2] = 0
    else:
        target[:n] = source


@_njit()
def _multiply(x: Any, n: int, weights: int, n_steps: int, first: int, last: int, out: Any, is_bfloat16: bool) -> None:
    """Panels `first` to `last` of out (rows, panels · 64) = the `n` first prepared rows of x times the matrix."""
    x_stride, out_stride = x.strides[0], out.strides[0]
    for panel in range(first, last):
        w = weights + panel * n_steps * 4 * PANEL
        row = 0
        while row < n:
            a = x.ctypes.data + row * x_stride
            to = out.ctypes.data + row * out_stride + panel * 4 * PANEL
            if n - row >= 4:
                if is_bfloat16:
                    four_half(a, x_stride, w, n_steps, to, out_stride)
                else:
                    four(a, x_stride, w, n_steps, to, out_stride)
                row += 4
            elif n - row >= 2:
                if is_bfloat16:
                    two_half(a, x_stride, w, n_steps, to, out_stride)
                else:
                    two(a, x_stride, w, n_steps, to, out_stride)
                row += 2
            else:
                if is_bfloat16:
                    one_half(a, x_stride, w, n_steps, to, out_stride)
                else:
                    one(a, x_stride, w, n_steps, to, out_stride)
                row += 1


@_njit()
def multiply(
    thread: int, n_threads: int, x: Any, weights: int, n_steps: int, n_panels: int, out: Any, is_bfloat16: bool
) -> None:
    """One thread's panels of a product; x (n, ...) of 4-byte units as `_prepare` leaves them."""
    first, last = n_panels * thread // n_threads, n_panels * (thread + 1) // n_threads
    _multiply(x, x.shape[0], weights, n_steps, first, last, out, is_bfloat16)


@_njit(fastmath=_MATH)
def _dot(a: Any, b: Any) -> Any:
    total = np.float32(0.0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@_njit(fastmath=_MATH)
def _scale_of(x: Any, epsilon: Any) -> Any:
    """1 over the root mean square."""
    return np.float32(1.0) / np.sqrt(_dot(x, x) / np.float32(x.shape[0]) + epsilon)


@_njit(fastmath=_MATH)
def _add_normed(hidden: Any, x: Any, weight: Any, epsilon: Any) -> None:
    scale = _scale_of(x, epsilon)
    for i in range(x.shape[0]):
        hidden[i] += x[i] * scale * weight[i]


@_njit(fastmath=_MATH)
def _turn(x: Any, scale: Any, weight: Any, cos: Any, sin: Any, out: Any) -> None:
    """A head of normed q or k at its rotary position."""
    half = x.shape[0] // 2
    for i in range(half):
        a, b = x[i] * scale * weight[i], x[i + half] * scale * weight[i + half]
        out[i] = a * cos[i] - b * sin[i]
        out[i + half] = b * cos[i + half] + a * sin[i + half]


@_njit(fastmath=_MATH)
def _attend(query: Any, keys: Any, values: Any, scores: Any, out: Any) -> None:
    """softmax(q K / √head) V over all positions (n, head); `scores` (n,) is scratch."""
    n, size = keys.shape
    scale, largest = np.float32(1.0) / np.sqrt(np.float32(size)), np.float32(-np.inf)
    for t in range(n):
        scores[t] = _dot(query, keys[t]) * scale
    for t in range(n):
        largest = max(largest, scores[t])
    total = np.float32(0.0)
    for t in range(n):
        scores[t] = _exp(scores[t] - largest)
    for t in range(n):
        total += scores[t]
    out[:] = 0
    for t in range(n):
        share = scores[t] / total
        for i in range(size):
            out[i] += share * values[t, i]


@_njit(fastmath=_MATH)
def _route(x: Any, rows: Any, mask: Any, top_k: int, norm_top_k: bool, shares: Any, is_used: Any) -> None:
    """Routing shares (experts,) of one row, and which experts it uses: the best `top_k` of those enabled."""
    n_experts = rows.shape[0]
    largest, total = np.float32(-np.inf), np.float32(0.0)
    for e in range(n_experts):
        shares[e], is_used[e] = np.float32(0.0), False
        if mask[e]:
            shares[e] = _dot(x, rows[e])
            largest = max(largest, shares[e])
    for e in range(n_experts):
        if mask[e]:
            shares[e] = _exp(shares[e] - largest)
            total += shares[e]
    kept = np.float32(0.0)
    for e in range(n_experts):
        if mask[e]:
            shares[e] /= total
    for _ in range(min(top_k, n_experts)):
        best = -1
        for e in range(n_experts):
            if mask[e] and not is_used[e] and (best < 0 or shares[e] > shares[best]):
                best = e
        if best >= 0:
            is_used[best] = True
            kept += shares[best]
    for e in range(n_experts):
        if not is_used[e]:
            shares[e] = np.float32(0.0)
        elif norm_top_k and top_k < n_experts:
            shares[e] /= kept


@_njit(fastmath=_MATH)
def _gate(both: Any, share: Any, first: int, last: int, out: Any) -> None:
    """silu(gate) · up · share for inner numbers `first` to `last`; both (2 · inner or more)."""
    inner = out.shape[0]
    for i in range(first, last):
        gate = both[i]
        out[i] = gate / (np.float32(1.0) + _exp(-gate)) * both[inner + i] * share


@_njit()
def _attention_share(
    thread: int, n_threads: int, qkv: Any, q_norm: Any, k_norm: Any, cos: Any, sin: Any, starts: Any, positions: Any,
    arena: Any, epsilon: Any, scratch: Any, scores: Any, attended: Any,
) -> None:  # fmt: skip
    """One thread's part of attention: of each row, every `n_threads`th key-value head with its queries."""
    n_kv, size = arena.shape[0] // 2, arena.shape[2]
    q_size, kv_size = q_norm.shape[0], k_norm.shape[0]
    group, query = q_size // kv_size, scratch[:size]
    for row in range(qkv.shape[0]):
        start, end = starts[row], starts[row] + positions[row] + 1
        q, k = qkv[row, :q_size], qkv[row, q_size : q_size + kv_size]
        q_scale, k_scale = _scale_of(q, epsilon), _scale_of(k, epsilon)
        for j in range(n_kv):
            if (row * n_kv + j) % n_threads != thread:
                continue
            part = slice(j * size, (j + 1) * size)
            _turn(k[part], k_scale, k_norm[part], cos[row], sin[row], arena[j, end - 1])
            arena[n_kv + j, end - 1] = qkv[row, q_size + kv_size + j * size : q_size + kv_size + (j + 1) * size]
            for h in range(j * group, (j + 1) * group):
                part = slice(h * size, (h + 1) * size)
                _turn(q[part], q_scale, q_norm[part], cos[row], sin[row], query)
                _attend(query, arena[j, start:end], arena[n_kv + j, start:end], scores, attended[row, part])


@_njit()
def decode(
    thread: int, n_threads: int, is_bfloat16: bool, top_k: int, norm_top_k: bool, epsilon: Any,
    addresses: Any, head: int, norms: Any, q_norms: Any, k_norms: Any, routers: Any, biases: Any,
    cos: Any, sin: Any, starts: Any, positions: Any, masks: Any, arena: Any, embedded: Any,
    hiddens: Any, prepared: Any, floats: Any, barrier: Any,
    qkv: Any, attended: Any, both: Any, inner: Any, outs: Any, logits: Any, routing: Any, counts: Any,
) -> int:  # fmt: skip
    """One token of each row through all layers. Returns 1 when a weight is needed that is withheld, else 0.

    Addresses (layers, 2 + 2 · experts) of qkv, out, each gate_up, each down; norms (layers + 1, 2, hidden), the last
    of all at [layers, 0]; biases (layers, 2, widest); arena (layers, 2 · kv heads, positions, head). Of each thread:
    hiddens (threads, rows, hidden), prepared (threads, rows, widest), floats (threads, widest). Shared: qkv, attended
    by row; both, inner, outs by pick (a row's use of an expert, expert by expert); widths of products are whole panels.
    Results: logits (rows, vocabulary), routing (rows, layers, experts), counts (experts).
    """
    n, n_layers, n_experts = embedded.shape[0], addresses.shape[0], routers.shape[1]
    n_inner, size, half = inner.shape[1], embedded.shape[1], 2 if is_bfloat16 else 1
    hidden, x, scratch, met, meeting = hiddens[thread], prepared[thread], floats[thread], 0, barrier.ctypes.data
    is_used, shares = np.empty((n, n_experts), np.bool_), np.empty((n, n_experts), np.float32)
    n_q, n_qkv, n_steps = q_norms.shape[1], q_norms.shape[1] + 2 * k_norms.shape[1], -(-size // half)
    p_qkv, p_size, p_both, p_head = (
        -(-n_qkv // PANEL),
        -(-size // PANEL),
        -(-2 * n_inner // PANEL),
        logits.shape[1] // PANEL,
    )
    hidden[:] = embedded
    for layer in range(n_layers):
        for row in range(n):
            _prepare(hidden[row], x[row], is_bfloat16)
        first, last = p_qkv * thread // n_threads, p_qkv * (thread + 1) // n_threads
        _multiply(x, n, addresses[layer, 0], n_steps, first, last, qkv, is_bfloat16)
        if biases.shape[0]:
            for row in range(n):
                for i in range(first * PANEL, min(last * PANEL, n_qkv)):
                    qkv[row, i] += biases[layer, 0, i]
        met = _meet(meeting, n_threads, met)
        _attention_share(
            thread, n_threads, qkv, q_norms[layer], k_norms[layer], cos, sin, starts, positions, arena[layer],
            epsilon, scratch, scratch[arena.shape[3] :], attended,
        )  # fmt: skip
        met = _meet(meeting, n_threads, met)
        for row in range(n):
            _prepare(attended[row], x[row], is_bfloat16)
        first, last = p_size * thread // n_threads, p_size * (thread + 1) // n_threads
        _multiply(x, n, addresses[layer, 1], -(-n_q // half), first, last, outs, is_bfloat16)
        if biases.shape[0]:
            for row in range(n):
                for i in range(first * PANEL, min(last * PANEL, size)):
                    outs[row, i] += biases[layer, 1, i]
        met = _meet(meeting, n_threads, met)
        for row in range(n):
            _add_normed(hidden[row], outs[row, :size], norms[layer, 0], epsilon)
            _route(hidden[row], routers[layer], masks[row], top_k, norm_top_k, shares[row], is_used[row])
            if thread == 0:
                routing[row, layer] = shares[row]
        pick = 0
        for e in range(n_experts):
            n_rows = 0
            for row in range(n):
                if is_used[row, e]:
                    _prepare(hidden[row], x[n_rows], is_bfloat16)
                    n_rows += 1
            if n_rows:
                if not addresses[layer, 2 + e] or not addresses[layer, 2 + n_experts + e]:
                    return 1  # as in every thread
                if thread == 0:
                    counts[e] += n_rows
                first, last = p_both * thread // n_threads, p_both * (thread + 1) // n_threads
                _multiply(x, n_rows, addresses[layer, 2 + e], n_steps, first, last, both[pick:], is_bfloat16)
            pick += n_rows
        met = _meet(meeting, n_threads, met)
        pick = 0
        for e in range(n_experts):
            for row in range(n):
                if is_used[row, e]:
                    first, last = n_inner * thread // n_threads, n_inner * (thread + 1) // n_threads
                    _gate(both[pick], shares[row, e], first, last, inner[pick])
                    pick += 1
        met = _meet(meeting, n_threads, met)
        first, last = p_size * thread // n_threads, p_size * (thread + 1) // n_threads
        pick = 0
        for e in range(n_experts):
            n_rows = 0
            for row in range(n):
                if is_used[row, e]:
                    _prepare(inner[pick + n_rows], x[n_rows], is_bfloat16)
                    n_rows += 1
            if n_rows:
                address = addresses[layer, 2 + n_experts + e]
                _multiply(x, n_rows, address, -(-n_inner // half), first, last, both[pick:], is_bfloat16)
            pick += n_rows
        low, high = first * PANEL, min(last * PANEL, size)
        for row in range(n):
            outs[row, low:high] = 0
        pick = 0
        for e in range(n_experts):
            for row in range(n):
                if is_used[row, e]:
                    for i in range(low, high):
                        outs[row, i] += both[pick, i]
                    pick += 1
        met = _meet(meeting, n_threads, met)
        for row in range(n):
            _add_normed(hidden[row], outs[row, :size], norms[layer, 1], epsilon)
    for row in range(n):
        scale = _scale_of(hidden[row], epsilon)
        for i in range(size):
            scratch[i] = hidden[row, i] * scale * norms[n_layers, 0, i]
        _prepare(scratch[:size], x[row], is_bfloat16)
    first, last = p_head * thread // n_threads, p_head * (thread + 1) // n_threads
    _multiply(x, n, head, n_steps, first, last, logits, is_bfloat16)
    return 0
