"""Traces with nothing of the index in memory, against the stock engine in the same run; and how both grow.

    python -m benchmarks.trace_cold --text FOLDER… --tokenizer tokenizer.json --answers answers.json --folder FOLDER
        [--gigabytes 2.1] [--real-megabytes 1300] [--n-answers 12] [--growth 0.01 0.1 0.5]

Text is that of the files below --text: installed packages, unpacked documentation packages (`apt-get download
rust-doc openjdk-17-doc …`, `dpkg-deb -x`). What an index needs beyond it is filled with its own pieces (synthetic;
the share that is real is printed). --folder keeps tokens and indexes for later runs.

Before each answer of either side all files of the index leave the page cache (checked by mincore). Sides take turns.
Reads are what the kernel counts for the process, in pages of 4 KiB. The evidence beside them is a lower bound for
any search that knows nothing of the index beforehand: the pages of the table and of the tokens with the two
neighbours of each start's place and of both ends of each span's range. The stock engine is asked as it is by
default, and without its prefetches; the faster one counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cold_pages import PAGE, evict, private_bytes, read_bytes, release
from benchmarks.large_index import make_index, tokenize
from benchmarks.stock_side import BARE_COUNT, MAX_COUNT, StockSide
from benchmarks.texts import folder_text
from benchmarks.trace import PARAMETERS, end_to_end_ms, our_spans, read_answers, search_ms
from tracer.engine import Boundaries, IndexReader
from tracer.engine.boundaries import find_boundaries
from tracer.engine.memory import search_ranges
from tracer.engine.pages import run_together
from tracer.engine.search import Positions, read_positions
from tracer.engine.spans import find_spans
from tracer.engine.stepwise import Search
from tracer.engine.tokens import load_tokenizer

PREFETCHES = {"by default": (1, 3, 3), "without prefetches": (0, 0, 0)}
PAIRS = (
    ("search of those shown", "bare stock call"),
    ("search of all spans", "bare stock call"),
    ("whole", "peer's whole way"),
)
Figures = dict[str, list[tuple[float, float]]]  # milliseconds and pages of each answer


def cold(reader: IndexReader, run: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds and page reads of `run` with nothing of the index in memory."""
    if left := evict(reader.folder):
        sys.exit(f"{left} pages of the index stayed in memory")
    before, begin = read_bytes(), time.perf_counter()
    run()
    ms = (time.perf_counter() - begin) * 1000
    pages = (read_bytes() - before) / PAGE
    release(reader.folder)
    return ms, pages


def evidence(reader: IndexReader, answer: str) -> int:
    """Return the pages that no search can do without: those of the neighbours of every place that it tells."""
    tokens = reader.tokenizer.encode(answer)
    bounds = find_boundaries(answer, tokens, reader.tokenizer, Boundaries.OLMOTRACE)
    starts = np.flatnonzero(bounds.may_begin)
    limits = bounds.limits[starts] - starts
    spans = find_spans(tokens, bounds, [reader], PARAMETERS)
    span_starts = np.array([span.token_start for span in spans])
    [ranges] = search_ranges(tokens, [reader], span_starts, np.array([span.token_end for span in spans]))
    n_pages = 0
    for shard, own in zip(reader.shards, ranges, strict=True):
        query = tokens.ids.astype(shard.tokens.dtype)
        search = Search(shard, query, starts, limits, np.zeros(len(starts), np.bool_))
        run_together([search.find_ranks()])
        places: Positions = np.unique(np.concatenate([search.low, own.ravel()]))
        ranks = np.unique(np.concatenate([places - 1, places]))
        ranks = ranks[(ranks >= 0) & (ranks < len(shard.tokens))]
        positions = np.empty(len(ranks), np.int64)
        read_positions(shard.table, shard.width, ranks, positions)
        n_pages += len(np.unique(ranks * shard.table.shape[1] // PAGE))
        n_pages += len(np.unique(positions * shard.width // PAGE))
    return n_pages


def measure(reader: IndexReader, answers: list[str], folder: Path) -> tuple[Figures, list[int]]:
    """Return the figures of both sides by turns, and the evidence of each answer; the spans must agree."""
    stock = {name: StockSide(reader, folder, depths) for name, depths in PREFETCHES.items()}
    figures: Figures = defaultdict(list)
    pages = []
    for number, answer in enumerate([answers[-1], *answers]):
        row: dict[str, tuple[float, float]] = {}
        ours, needed = sorted(our_spans(reader, answer)), evidence(reader, answer)
        release(reader.folder)
        row["search of those shown"] = cold(reader, lambda a=answer: search_ms(reader, a))  # type: ignore[misc]
        row["search of all spans"] = cold(reader, lambda a=answer: search_ms(reader, a, counts_all=True))  # type: ignore[misc]
        row["whole"] = cold(reader, lambda a=answer: end_to_end_ms(reader, a))  # type: ignore[misc]
        for name, side in stock.items():
            bare = side.ask(answer, whole=False, max_count=BARE_COUNT, is_cold=True)
            whole = side.ask(answer, whole=True, max_count=MAX_COUNT, is_cold=True)
            if bare["left"] or whole["left"]:
                sys.exit("pages of the index stayed in memory")
            row[f"bare stock call, {name}"] = bare["ms"], bare["read_bytes"] / PAGE
            row[f"peer's whole way, {name}"] = whole["ms"], whole["read_bytes"] / PAGE
            if sorted(whole["spans"]) != ours:
                sys.exit("the spans differ")
        if number:  # the first one compiles
            pages.append(needed)
            for name, figure in row.items():
                figures[name].append(figure)
    for side in stock.values():
        side.close()
    return figures, pages


def report(reader: IndexReader, answers: list[str], folder: Path) -> None:
    """Print the table of the cold figures."""
    figures, needed = measure(reader, answers, folder)
    print("| cold | ms, mean | median | pages read, mean |\n|---|---|---|---|")
    for name, own in figures.items():
        times, reads = [ms for ms, _ in own], statistics.mean(pages for _, pages in own)
        print(f"| {name} | {statistics.mean(times):.0f} | {statistics.median(times):.0f} | {reads:.0f} |")
    print(f"evidence of spans: {statistics.mean(needed):.0f} pages an answer")
    for ours, theirs in PAIRS:
        best = min(_mean_ms(figures[f"{theirs}, {name}"]) for name in PREFETCHES)
        print(f"{ours}: ratio {best / _mean_ms(figures[ours]):.1f} to the {theirs}, the faster of both")


def _mean_ms(figure: list[tuple[float, float]]) -> float:
    return statistics.mean(ms for ms, _ in figure)


def measure_one(folder: Path, answers: list[str]) -> None:
    """Print a row of the growth table for one index, in a process of its own."""
    before = private_bytes()
    reader = IndexReader.open(folder)
    search_ms(reader, answers[0])
    figures = [cold(reader, lambda a=answer: search_ms(reader, a)) for answer in answers]  # type: ignore[misc]
    for answer in answers:
        search_ms(reader, answer)
    warm = [search_ms(reader, answer) for answer in answers]
    row = [
        sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
        reader.n_tokens / 1e6,
        statistics.mean(warm),
        statistics.mean(ms for ms, _ in figures),
        statistics.mean(pages for _, pages in figures),
        (private_bytes() - before) / 1e6,
    ]
    print("| " + " | ".join(f"{value:.1f}" for value in row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=2.1)
    parser.add_argument("--real-megabytes", type=float, default=1300)
    parser.add_argument("--n-answers", type=int, default=12)
    parser.add_argument("--growth", type=float, nargs="*", default=[], help="further sizes in gigabytes")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    answers = read_answers(arguments.answers)[: arguments.n_answers]
    if arguments.one:
        measure_one(arguments.one, answers)
        return
    tokens = arguments.folder / "tokens"
    if not tokens.exists():
        arguments.folder.mkdir(parents=True, exist_ok=True)
        text = folder_text(arguments.text, int(arguments.real_megabytes * 1e6))
        tokenize(text, tokens, load_tokenizer(arguments.tokenizer))
    for gigabytes in sorted({*arguments.growth, arguments.gigabytes}):
        out = _index_folder(arguments, gigabytes)
        if not out.exists():
            _, share = make_index(tokens, arguments.tokenizer, int(gigabytes * 1e9), out)
            print(f"{gigabytes:g} GB made, {share:.0%} real text", flush=True)
    if arguments.growth:
        print("| index, MB | tokens, M | search warm, ms | cold, ms | pages read | private memory, MB |")
        print("|---|---|---|---|---|---|", flush=True)
    for gigabytes in sorted({*arguments.growth, arguments.gigabytes}) if arguments.growth else []:
        own: list[Any] = [sys.executable, "-m", "benchmarks.trace_cold", *sys.argv[1:]]
        subprocess.run([*own, "--one", _index_folder(arguments, gigabytes)], check=True)
    reader = IndexReader.open(_index_folder(arguments, arguments.gigabytes))
    size = sum(path.stat().st_size for path in reader.folder.iterdir()) / 1e9
    share = min(1.0, tokens.stat().st_size / reader.shards[0].tokens.nbytes)
    print(f"index: {size:.2f} GB, {reader.n_tokens:,} tokens, {share:.0%} real text, {len(answers)} answers")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        report(reader, answers, Path(folder))


def _index_folder(arguments: argparse.Namespace, gigabytes: float) -> Path:
    return Path(arguments.folder / f"{gigabytes:g}GB")


if __name__ == "__main__":
    main()
