"""Eight requests with eight masks in one engine, against transformers `generate` one after another.

    python -m benchmarks.generate [--size 12M] [--size 60M] [--checkpoint FOLDER] [--tokens 64] [--rounds 5]
        [--multiply torch] [--processor-time]

transformers runs each request on a checkpoint from which the disabled experts were
physically removed, in its fastest mode for decoding on this machine (grouped_mm); both
sides run in float32 with the same number of threads, greedily, in one process. Rounds go
through all ways in turn and give a ratio each; the median is printed, so that another load of
the machine falls on both. Prints tokens/s, ratios with what they must reach, what masks and
the record of routing cost, the time to the first token, and how many tokens agree.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
from transformers import FlexOlmoForCausalLM
from transformers.utils import logging as transformers_logging

from benchmarks.random_checkpoints import SIZES, make_random_checkpoint
from webapp.inference import (
    FinishEvent,
    GenerationRequest,
    InferenceEngine,
    LoadedCheckpoint,
    load_checkpoint,
    reduce_checkpoint,
)
from webapp.inference.linear import WAYS

PROMPT = "Return a new array with the same shape and type as the given array, and raise "
MUST_REACH = {"12M": 6.0, "60M": 4.5}
MUST_REACH_ALONE = 1.4
MAX_MASK_COST = 0.05
MAX_RECORD_COST = 0.03
Mask = tuple[str, ...]


def eight_masks(checkpoint: LoadedCheckpoint) -> list[Mask]:
    """All experts, every leave-one-out mask, then smaller ones; the same mask again if there are too few."""
    slugs = checkpoint.expert_slugs
    masks = [mask for size in range(len(slugs), 0, -1) for mask in combinations(slugs, size)]
    return [masks[i % len(masks)] for i in range(8)]


class Peer:
    """transformers' models of the reduced checkpoints."""

    def __init__(self, path: Path, masks: list[Mask], folder: Path, dtype: torch.dtype) -> None:
        self._models = {}
        for i, mask in enumerate(dict.fromkeys(masks)):
            reduce_checkpoint(path, folder / str(i), mask)
            model = FlexOlmoForCausalLM.from_pretrained(folder / str(i), experts_implementation="grouped_mm")
            model.generation_config.eos_token_id = None
            model.generation_config.pad_token_id = 0
            self._models[mask] = model.eval().to(dtype)

    def generate(self, mask: Mask, ids: list[int], n_tokens: int) -> list[int]:
        prompt = torch.tensor([ids])
        out = self._models[mask].generate(
            prompt,
            attention_mask=torch.ones_like(prompt),  # else the pad token in a prompt is not read
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            do_sample=False,
        )
        return list(out[0, len(ids) :].tolist())


def run_engine(engine: InferenceEngine, masks: list[Mask], n_tokens: int) -> list[FinishEvent]:
    requests = [GenerationRequest(PROMPT, frozenset(mask), max_tokens=n_tokens) for mask in masks]
    return [handle.result() for handle in [engine.submit(request) for request in requests]]


def rates_in_turn(
    ways: dict[str, Callable[[], int]], n_rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Tokens a second of every way in every round; each is run twice and timed the second time, when it is warm."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_rounds):
        for name, run in ways.items():
            run()
            begin = clock()
            n_tokens = run()
            rates[name].append(n_tokens / (clock() - begin))
    return rates


def measure(name: str, path: Path, folder: Path, arguments: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(path, dtype=arguments.dtype, device="cpu", multiply=arguments.multiply)
    checkpoint.eos_token_ids = frozenset()
    masks = eight_masks(checkpoint)
    full = [tuple(checkpoint.expert_slugs)] * 8
    ids = checkpoint.tokenizer.encode(PROMPT).ids
    peer = Peer(path, masks, folder, checkpoint.decoder.dtype)
    n = arguments.tokens
    silent = InferenceEngine(checkpoint, max_rows=8, n_threads=arguments.threads, records_routing=False)

    def count(finishes: list[FinishEvent]) -> int:
        return sum(len(finish.token_ids) for finish in finishes)

    with InferenceEngine(checkpoint, max_rows=8, n_threads=arguments.threads) as engine, silent:
        rates = rates_in_turn(
            {
                "one": lambda: count(run_engine(engine, full[:1], n)),
                "one, transformers": lambda: len(peer.generate(full[0], ids, n)),
                "eight masks": lambda: count(run_engine(engine, masks, n)),
                "eight masks, transformers": lambda: sum(len(peer.generate(mask, ids, n)) for mask in masks),
                "eight, all experts": lambda: count(run_engine(engine, full, n)),
                "eight, all experts, no record": lambda: count(run_engine(silent, full, n)),
            },
            arguments.rounds,
            time.process_time if arguments.processor_time else time.perf_counter,
        )
        answers = [list(finish.token_ids) for finish in run_engine(engine, masks, n)]
        first = [run_engine(engine, full[:1], 1)[0].timings_ms["first_token"] for _ in range(20)]
    expected = [peer.generate(mask, ids, n) for mask in masks]
    agreeing = sum(
        a == b for answer, other in zip(answers, expected, strict=True) for a, b in zip(answer, other, strict=True)
    )
    size = f"{name}: {checkpoint.n_parameters / 1e6:.1f} M parameters"
    print(
        f"{size}, {len(ids)} + {n} tokens, {arguments.threads} thread(s), {arguments.dtype}, "
        f"products {checkpoint.decoder.way}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    report("eight requests, eight masks", rates, "eight masks", MUST_REACH.get(name))
    report("one request", rates, "one", MUST_REACH_ALONE)
    cost("eight masks, against all experts", rates, "eight masks", "eight, all experts", MAX_MASK_COST)
    cost("record of routing", rates, "eight, all experts", "eight, all experts, no record", MAX_RECORD_COST)
    print(f"  first token: median {statistics.median(first):.1f} ms of {len(first)}")
    print(f"  greedy tokens that agree with the reduced checkpoints: {agreeing} of {8 * n}")


def ratio_of(rates: dict[str, list[float]], way: str, other: str) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(rates[way], rates[other], strict=True))


def report(what: str, rates: dict[str, list[float]], way: str, target: float | None) -> None:
    ours, theirs = statistics.median(rates[way]), statistics.median(rates[f"{way}, transformers"])
    aim = f" (to reach: {target})" if target else ""
    ratio = ratio_of(rates, way, f"{way}, transformers")
    print(f"  {what:29}{ours:6.0f} tok/s; transformers {theirs:5.0f}; ratio {ratio:.2f}{aim}")


def cost(what: str, rates: dict[str, list[float]], way: str, without: str, limit: float) -> None:
    share = 1 - ratio_of(rates, way, without)
    print(f"  cost of {what}: {100 * share:.1f} % (at most {100 * limit:.0f} %)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a FlexOlmo folder in place of the random models")
    parser.add_argument("--size", choices=sorted(SIZES), action="append", help="random model (default: 12M and 60M)")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--multiply", choices=WAYS, default="auto")
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    if arguments.checkpoint:
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments.checkpoint.name, arguments.checkpoint, Path(folder), arguments)
        return
    for name in arguments.size or MUST_REACH:
        with tempfile.TemporaryDirectory() as folder:
            path = make_random_checkpoint(Path(folder) / "random", SIZES[name])
            measure(name, path, Path(folder), arguments)


if __name__ == "__main__":
    main()
