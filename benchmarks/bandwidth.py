"""Tokens/s of one request as a share of what the memory's bandwidth allows, at several sizes.

    python -m benchmarks.bandwidth [--size 60M]… [--dtype bfloat16] [--threads 1] [--tokens 64] [--rounds 3]
        [--multiply torch]

One token of one request reads every weight that it uses once: the limit is the measured bandwidth
divided by these bytes (keys and values added). The bandwidth is the best rate at which any of three readers
goes through a gigabyte here, with the same threads, measured anew beside every size. The dtype is
bfloat16 where the CPU multiplies it (avx512_bf16 or amx), else float32. What the products alone reach,
each called from Python, with nothing between them, is printed beside it. A model that fits into the
caches may pass the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.random_checkpoints import SIZES, make_random_checkpoint
from webapp.inference import GenerationRequest, InferenceEngine, LoadedCheckpoint, load_checkpoint
from webapp.inference.linear import WAYS

PROMPT = "Return a new array"
MUST_REACH, FROM_PARAMETERS = 0.60, 60e6
N_BYTES = 1 << 30


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU says that it has instructions for it."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def measure_bandwidth(seconds: float = 1.5) -> float:
    """Bytes a second at which a gigabyte is read, by the fastest of a sum, a maximum and a product."""
    table = torch.ones(N_BYTES // 4 // 4096, 4096)
    vector = torch.ones(4096)
    readers: list[Callable[[], object]] = [table.sum, lambda: table.amax(), lambda: torch.mv(table, vector)]
    best = 0.0
    for read in readers:
        read()
        end = time.perf_counter() + seconds / len(readers)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            read()
            best = max(best, N_BYTES / (time.perf_counter() - begin))
    return best


def bytes_per_token(checkpoint: LoadedCheckpoint, n_positions: int) -> int:
    """What one token reads: all weights but the embedding's other rows, and the keys and values before it."""
    model, width = checkpoint.config.model, checkpoint.decoder.dtype.itemsize
    embedding = model.vocab_size * model.hidden_size
    read = checkpoint.n_parameters - (0 if model.tie_word_embeddings else embedding)
    return read * width + n_positions * checkpoint.decoder.cache_bytes_per_token


def tokens_per_second(engine: InferenceEngine, n_tokens: int) -> float:
    """The rate after the first token, so that reading the prompt does not count."""
    request = GenerationRequest(PROMPT, frozenset(engine.expert_slugs), max_tokens=n_tokens)
    timings = engine.submit(request).result().timings_ms
    return (n_tokens - 1) / (timings["total"] - timings["first_token"]) * 1000


def products_per_second(checkpoint: LoadedCheckpoint, seconds: float = 1.0) -> float:
    """The rate of tokens of which nothing is computed but their products with weights."""
    shape, weights = checkpoint.decoder.shape, checkpoint.decoder.weights
    sizes = (shape.hidden_size, shape.n_heads * shape.head_size, shape.inner_size)
    hidden, attended, inner = (torch.ones(1, size, dtype=checkpoint.decoder.dtype) for size in sizes)
    n_tokens, begin = 0, time.perf_counter()
    with torch.inference_mode():
        while (elapsed := time.perf_counter() - begin) < seconds:
            for layer in weights.layers:
                layer.qkv(hidden), layer.out(attended), layer.router(hidden)
                for gate_up, down in zip(layer.gate_up, layer.down, strict=True):
                    gate_up(hidden), down(inner)
            weights.head(hidden)
            n_tokens += 1
    return n_tokens / elapsed


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    dtype = getattr(torch, arguments.dtype)
    path = make_random_checkpoint(folder, SIZES[name], dtype)
    checkpoint = load_checkpoint(path, dtype=arguments.dtype, device="cpu", multiply=arguments.multiply)
    checkpoint.eos_token_ids = frozenset()
    n_bytes = bytes_per_token(checkpoint, len(PROMPT) + arguments.tokens // 2)
    shares, rates, bandwidths, bare = [], [], [], []
    with InferenceEngine(checkpoint, max_rows=1, n_threads=arguments.threads) as engine:
        tokens_per_second(engine, 8)
        for _ in range(arguments.rounds):
            before = measure_bandwidth()
            rates.append(tokens_per_second(engine, arguments.tokens))
            products = products_per_second(checkpoint)
            bandwidths.append(max(before, measure_bandwidth()))
            bare.append(products * n_bytes / bandwidths[-1])
            shares.append(rates[-1] * n_bytes / bandwidths[-1])
    share = statistics.median(shares)
    aim = f" (to reach: {MUST_REACH:.0%})" if checkpoint.n_parameters >= FROM_PARAMETERS else ""
    print(
        f"{name:>8}: {SIZES[name].layers:2} layers × {SIZES[name].hidden}, {checkpoint.n_parameters / 1e6:6.1f} M "
        f"parameters, {n_bytes / 1e6:7.1f} MB a token, "
        f"{statistics.median(rates):6.1f} tok/s, bandwidth {statistics.median(bandwidths) / 1e9:5.1f} GB/s: "
        f"{share:.0%} of the limit{aim}; its products alone: {statistics.median(bare):.0%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), action="append", help="default: all but the largest")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--multiply", choices=WAYS, default="auto")
    arguments = parser.parse_args()
    arguments.dtype = arguments.dtype or ("bfloat16" if cpu_multiplies_bfloat16() else "float32")
    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.dtype}, products {arguments.multiply}, {arguments.threads} thread(s), batch 1, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    for name in arguments.size or list(SIZES)[:-1]:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder) / "random", arguments)


if __name__ == "__main__":
    main()
