"""Eight requests with eight masks in one engine, against transformers `generate` one after another.

    python -m benchmarks.generate [--checkpoint FOLDER] [--tokens 64] [--repeats 3]

transformers runs each request on a checkpoint from which the disabled experts were
physically removed, in its fastest mode for decoding on this machine (grouped_mm); both
sides run in float32 with the same number of threads, greedily, in one process.
Without a folder, a random model of 12 million parameters is made. Prints tokens/s,
ratios, the cost of a mask, the time to the first token, and how many tokens agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import FlexOlmoConfig, FlexOlmoForCausalLM
from transformers.utils import logging as transformers_logging

from webapp.inference import (
    FinishEvent,
    GenerationRequest,
    InferenceEngine,
    LoadedCheckpoint,
    load_checkpoint,
    reduce_checkpoint,
)

PROMPT = "Return a new array with the same shape and type as the given array, and raise "


def make_random_checkpoint(path: Path) -> Path:
    """A FlexOlmo of 12 million parameters, five experts, all of them used."""
    torch.manual_seed(0)
    config = FlexOlmoConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        num_experts=5,
        num_experts_per_tok=5,
        pad_token_id=0,
        eos_token_id=None,
        initializer_range=0.1,
    )
    FlexOlmoForCausalLM(config).save_pretrained(path)
    tokenizer = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    slugs = ["public", "web", "numerics", "learning", "symbolic"]
    (path / "experts.json").write_text(json.dumps({"experts": [{"slug": slug} for slug in slugs]}))
    return path


def eight_masks(checkpoint: LoadedCheckpoint) -> list[tuple[str, ...]]:
    """All experts, every leave-one-out mask, then smaller ones; the same mask again if there are too few."""
    slugs = checkpoint.expert_slugs
    masks = [mask for size in range(len(slugs), 0, -1) for mask in combinations(slugs, size)]
    return [masks[i % len(masks)] for i in range(8)]


class Peer:
    """transformers' models of the reduced checkpoints."""

    def __init__(self, path: Path, masks: list[tuple[str, ...]], folder: Path, dtype: torch.dtype) -> None:
        self._models = {}
        for i, mask in enumerate(dict.fromkeys(masks)):
            reduce_checkpoint(path, folder / str(i), mask)
            model = FlexOlmoForCausalLM.from_pretrained(folder / str(i), experts_implementation="grouped_mm")
            model.generation_config.eos_token_id = None
            model.generation_config.pad_token_id = 0
            self._models[mask] = model.eval().to(dtype)

    def generate(self, mask: tuple[str, ...], ids: list[int], n_tokens: int) -> list[int]:
        out = self._models[mask].generate(
            torch.tensor([ids]), max_new_tokens=n_tokens, min_new_tokens=n_tokens, do_sample=False
        )
        return list(out[0, len(ids) :].tolist())


def run_engine(engine: InferenceEngine, masks: list[tuple[str, ...]], n_tokens: int) -> list[FinishEvent]:
    requests = [GenerationRequest(PROMPT, frozenset(mask), max_tokens=n_tokens) for mask in masks]
    return [handle.result() for handle in [engine.submit(request) for request in requests]]


def best_rate(run: Callable[[], int], repeats: int) -> float:
    """Tokens a second of the fastest of `repeats` runs after one to warm up."""
    run()
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        n_tokens = run()
        rates.append(n_tokens / (time.perf_counter() - begin))
    return max(rates)


def measure(path: Path, folder: Path, arguments: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(path, dtype=arguments.dtype, device="cpu")
    checkpoint.eos_token_ids = frozenset()
    masks = eight_masks(checkpoint)
    full = [tuple(checkpoint.expert_slugs)] * 8
    ids = checkpoint.tokenizer.encode(PROMPT).ids
    peer = Peer(path, masks, folder, checkpoint.decoder.dtype)
    n, repeats = arguments.tokens, arguments.repeats

    def count(finishes: list[FinishEvent]) -> int:
        return sum(len(finish.token_ids) for finish in finishes)

    with InferenceEngine(checkpoint, max_rows=8, n_threads=arguments.threads) as engine:
        one = best_rate(lambda: count(run_engine(engine, full[:1], n)), repeats)
        same = best_rate(lambda: count(run_engine(engine, full, n)), repeats)
        mixed = best_rate(lambda: count(run_engine(engine, masks, n)), repeats)
        answers = [list(finish.token_ids) for finish in run_engine(engine, masks, n)]
        first = [run_engine(engine, full[:1], 1)[0].timings_ms["first_token"] for _ in range(20)]
    peer_one = best_rate(lambda: len(peer.generate(full[0], ids, n)), repeats)
    peer_eight = best_rate(lambda: sum(len(peer.generate(mask, ids, n)) for mask in masks), repeats)
    expected = [peer.generate(mask, ids, n) for mask in masks]
    agreeing = sum(
        a == b for answer, other in zip(answers, expected, strict=True) for a, b in zip(answer, other, strict=True)
    )
    size = f"{checkpoint.n_parameters / 1e6:.1f} M parameters"
    print(f"{size}, {len(ids)} + {n} tokens, {arguments.threads} thread(s), {arguments.dtype}")
    for what, rate, other in (
        ("eight requests, eight masks", mixed, peer_eight),
        ("one request", one, peer_one),
    ):
        ratio = rate / other
        print(f"{what:28}{rate:6.0f} tok/s; transformers, one after another, {other:5.0f}; ratio {ratio:.2f}")
    print(f"eight requests, no mask     {same:6.0f} tok/s; with eight masks ratio {mixed / same:.2f}")
    print(f"first token: median {statistics.median(first):.1f} ms of {len(first)}")
    print(f"greedy tokens that agree with the reduced checkpoints: {agreeing} of {8 * n}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a FlexOlmo folder; a random 12 M model by default")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(arguments.checkpoint or make_random_checkpoint(folder / "random"), folder, arguments)


if __name__ == "__main__":
    main()
