"""FlexOlmo-7x7B at its full size, with random weights, on one GPU: one request, and many with mixed masks.

    python -m benchmarks.full_size [--rows 32] [--prompt 64] [--tokens 64] [--layers 32]

Needs about 72 GB of memory on the device (33 billion parameters in bfloat16); `--layers` cuts the depth for a
smaller one. One step reads the shared weights and every expert that any of its tokens uses once: the limit is the
measured bandwidth divided by these bytes and the keys and values. Masks: all experts, then every leave-one-out
mask in turn. The numbers that come out are noise, how long they take is not.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from webapp.inference import GenerationRequest, InferenceEngine, LoadedCheckpoint
from webapp.inference.card import CheckpointCard, ExpertCard
from webapp.inference.config import CheckpointConfig, ModelConfig, rotary_tables
from webapp.inference.decoder import Decoder, DecoderShape, DecoderWeights, LayerWeights
from webapp.inference.layout import estimate_memory
from webapp.inference.linear import make_linear

SLUGS = ("public", "math", "news", "academic", "code", "creative", "reddit")
PROMPT = "Return a new array with the same shape and type as the given one, "


def random_checkpoint(model: ModelConfig, device: torch.device) -> LoadedCheckpoint:
    """A checkpoint of these sizes in the device's memory, never on disk."""
    torch.manual_seed(0)
    config = CheckpointConfig(model, {"model_type": "flex_olmo"})
    hidden, inner = model.hidden_size, model.intermediate_size

    def matrix(n_out: int, n_in: int) -> Tensor:
        return torch.empty(n_out, n_in, dtype=torch.bfloat16, device=device).normal_(0, 0.02)

    def ones() -> Tensor:
        return torch.ones(hidden, dtype=torch.bfloat16, device=device)

    layers = []
    for _ in range(model.num_hidden_layers):
        rows = matrix(model.num_experts, hidden)
        layers.append(
            LayerWeights(
                qkv=make_linear(matrix(3 * hidden, hidden)),
                out=make_linear(matrix(hidden, hidden)),
                q_norm=ones(),
                k_norm=ones(),
                qk_norm=None,
                attention_norm=ones(),
                feed_forward_norm=ones(),
                router=make_linear(rows),
                router_rows=rows,
                gate_up=[make_linear(matrix(2 * inner, hidden)) for _ in range(model.num_experts)],
                down=[make_linear(matrix(hidden, inner)) for _ in range(model.num_experts)],
            )
        )
    cos, sin = (table.to(device) for table in rotary_tables(config))
    weights = DecoderWeights(
        matrix(model.vocab_size, hidden), ones(), make_linear(matrix(model.vocab_size, hidden)), layers, cos, sin
    )
    shape = DecoderShape(
        n_layers=model.num_hidden_layers,
        n_heads=model.num_attention_heads,
        n_kv_heads=model.n_kv_heads,
        head_size=model.head_size,
        hidden_size=hidden,
        inner_size=inner,
        vocab_size=model.vocab_size,
        n_experts=model.num_experts,
        top_k=model.num_experts_per_tok,
        norm_top_k=model.norm_topk_prob,
        epsilon=model.rms_norm_eps,
    )
    memory = estimate_memory(model, model.num_experts, 2)
    return LoadedCheckpoint(
        path=Path("random"),
        digest="",
        card=CheckpointCard(tuple(ExpertCard(slug, slug, slug) for slug in SLUGS)),
        expert_slugs=SLUGS,
        tokenizer=byte_tokenizer(),
        context_length=model.max_position_embeddings,
        n_parameters=memory.weight_bytes // 2,
        eos_token_ids=frozenset(),
        memory=memory,
        config=config,
        decoder=Decoder(shape, weights),
    )


def byte_tokenizer() -> Tokenizer:
    """A tokenizer of single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def measure_bandwidth(device: torch.device, n_bytes: int = 4 << 30) -> float:
    """Bytes a second that the memory gives: the best of a sum over it and a copy of it, each tried ten times."""
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    ways: list[tuple[Callable[[], object], int]] = [(source.sum, n_bytes), (lambda: target.copy_(source), 2 * n_bytes)]
    best = 0.0
    for run, moved in ways:
        for _ in range(10):
            synchronise(device)
            begin = time.perf_counter()
            run()
            synchronise(device)
            best = max(best, moved / (time.perf_counter() - begin))
    return best


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_bytes(checkpoint: LoadedCheckpoint, n_rows: int, n_experts: int, n_positions: int) -> int:
    """What one step reads: shared weights but the embedding, `n_experts`, keys and values of every row."""
    model, memory = checkpoint.config.model, checkpoint.memory
    embedding = model.vocab_size * model.hidden_size * 2
    cache = n_rows * n_positions * checkpoint.decoder.cache_bytes_per_token
    return memory.shared_bytes - embedding + n_experts * memory.expert_bytes + cache


def steps_per_second(engine: InferenceEngine, prompt: str, n_rows: int, n_tokens: int) -> tuple[float, float]:
    """Steps a second while all rows decode, and seconds to the last row's first token."""
    masks = [frozenset(SLUGS), *(frozenset(SLUGS) - {slug} for slug in SLUGS)]
    requests = [GenerationRequest(prompt, masks[i % len(masks)], max_tokens=n_tokens, seed=i) for i in range(n_rows)]
    timings = [handle.result().timings_ms for handle in [engine.submit(request) for request in requests]]
    first = max(timing["first_token"] for timing in timings)
    return (n_tokens - 1) / (min(timing["total"] for timing in timings) - first) * 1000, first / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--inner", type=int, default=11_008)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    bandwidth = measure_bandwidth(device, 4 << 30 if device.type == "cuda" else 1 << 28)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {name}, {bandwidth / 1e12:.2f} TB/s", flush=True)
    model = ModelConfig(
        num_hidden_layers=arguments.layers, hidden_size=arguments.hidden, intermediate_size=arguments.inner
    )
    checkpoint = random_checkpoint(model, device)
    print(f"{checkpoint.n_parameters / 1e9:.1f} B parameters, {checkpoint.memory}", flush=True)
    prompt = (PROMPT * (1 + arguments.prompt // len(PROMPT)))[: arguments.prompt]
    n_total = arguments.prompt + arguments.tokens
    n_cache = (n_total + 64) * arguments.rows * checkpoint.decoder.cache_bytes_per_token
    with InferenceEngine(checkpoint, max_rows=arguments.rows, max_cache_bytes=n_cache) as engine:
        for n_rows in (1, arguments.rows):
            steps_per_second(engine, prompt, n_rows, 8)
            before = engine.expert_computations
            rate, first = max(steps_per_second(engine, prompt, n_rows, arguments.tokens) for _ in range(3))
            used = model.num_experts_per_tok if n_rows == 1 else model.num_experts
            n_bytes = step_bytes(checkpoint, n_rows, used, arguments.prompt + arguments.tokens // 2)
            computed = sum(engine.expert_computations.values()) - sum(before.values())
            print(
                f"batch {n_rows:3}: {rate * n_rows:7.1f} tokens/s, {1000 / rate:5.1f} ms a step, all first tokens "
                f"within {first:.2f} s, {n_bytes / 1e9:.1f} GB a step: {rate * n_bytes / bandwidth:.0%} of the limit "
                f"({computed:,} expert products)",
                flush=True,
            )


if __name__ == "__main__":
    main()
