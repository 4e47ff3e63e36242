"""A whole trace, tokenize to JSON, against the peer's way, and search against the bare call; warm, in one run.

    python -m benchmarks.trace [--megabytes 45] [--tokenizer tokenizer.json] [--answers answers.json] [--n-answers 12]
        [--index FOLDER]

The index is of text of installed packages (source files, synthetic nothing). Without --answers, answers
are spliced from pieces of that text. The peer's way is in `stock_side`. Both sides take turns, so that other load
meets both. Prints milliseconds, ratios, and whether all spans agree.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.stock_side import BARE_COUNT, MAX_COUNT, StockSide
from tracer.engine import (
    Boundaries,
    CorpusDocument,
    IndexReader,
    SearchableCorpus,
    TraceParameters,
    build_index,
    trace_text,
)
from tracer.engine.boundaries import find_boundaries
from tracer.engine.spans import find_chosen_spans, find_spans

TOKENIZER = Path(__file__).resolve().parents[1] / "webapp" / "demo" / "checkpoint" / "tokenizer.json"
PARAMETERS = TraceParameters(boundaries=Boundaries.OLMOTRACE)
PAIRS = (
    ("end to end", "stock, whole"),
    ("search of all spans", "stock, bare"),
    ("search of those shown", "stock, bare"),
)
STOCK_PREFETCHES = (1, 3, 3)  # its defaults


def installed_text(n_bytes: int) -> Iterator[CorpusDocument]:
    """Yield source files of the installed packages and the standard library until `n_bytes` are reached."""
    paths = sysconfig.get_paths()
    total = 0
    for root in (paths["purelib"], paths["stdlib"]):
        for path in sorted(Path(root).rglob("*.py")):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if len(text) > 200:
                total += len(text)
                yield CorpusDocument(str(path), text)
            if total > n_bytes:
                return


def spliced_answers(reader: IndexReader, n_answers: int, n_tokens: int = 450) -> list[str]:
    """Return answers of about `n_tokens` tokens made of pieces of documents and of shuffled words."""
    choose = random.Random(7)
    answers = []
    for _ in range(n_answers):
        ids: list[int] = []
        while len(ids) < n_tokens:
            document = reader.document(choose.randrange(reader.n_documents)).token_ids
            start = choose.randrange(max(1, len(document) - 40))
            ids += document[start : start + choose.randrange(3, 40)].tolist()
        answers.append(reader.tokenizer.to_bytes(_as_array(ids)).decode("utf-8", "replace"))
    return answers


def _as_array(ids: list[int]) -> Any:
    import numpy as np

    return np.array(ids, dtype=np.uint32)


def our_spans(reader: IndexReader, answer: str) -> list[list[int]]:
    """Return (start, end, count) in tokens of all maximal spans under the preset."""
    tokens = reader.tokenizer.encode(answer)
    bounds = find_boundaries(answer, tokens, reader.tokenizer, Boundaries.OLMOTRACE)
    spans = find_spans(tokens, bounds, [reader], PARAMETERS)
    return [[span.token_start, span.token_end, sum(span.counts)] for span in spans]


def end_to_end_ms(reader: IndexReader, answer: str) -> float:
    """Return the milliseconds from text to JSON."""
    begin = time.perf_counter()
    json.dumps(trace_text(answer, [SearchableCorpus("installed", [reader])], parameters=PARAMETERS).to_dict())
    return (time.perf_counter() - begin) * 1000


def search_ms(reader: IndexReader, answer: str, *, counts_all: bool = False) -> float:
    """Return the milliseconds of finding spans, tokens given: those that a trace shows, or all with their counts."""
    tokens = reader.tokenizer.encode(answer)
    begin = time.perf_counter()
    bounds = find_boundaries(answer, tokens, reader.tokenizer, Boundaries.OLMOTRACE)
    if counts_all:
        find_spans(tokens, bounds, [reader], PARAMETERS)
    else:
        find_chosen_spans(tokens, bounds, [reader], PARAMETERS, len(tokens.ids))
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=45)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--answers", type=Path, help="JSON list of answers, or of objects with a text")
    parser.add_argument("--n-answers", type=int, default=12)
    parser.add_argument("--index", type=Path, help="an index of such a tokenizer that is there already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        begin = time.perf_counter()
        if not arguments.index:
            build_index(installed_text(int(arguments.megabytes * 1e6)), Path(folder) / "built", arguments.tokenizer)
        reader = IndexReader.open(arguments.index or Path(folder) / "built")
        width, seconds = 8 * reader.manifest.token_width, time.perf_counter() - begin
        print(f"index: {reader.n_tokens:,} tokens, u{width}, built or opened in {seconds:.0f} s")
        answers = read_answers(arguments.answers) if arguments.answers else spliced_answers(reader, 40)
        report(reader, answers[: arguments.n_answers], Path(folder))


def report(reader: IndexReader, answers: list[str], folder: Path) -> None:
    """Measure both sides, one answer after the other by turns, and print the figures."""
    whole = StockSide(reader, folder, STOCK_PREFETCHES)
    bare = StockSide(reader, folder, (0, 0, 0))
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    n_spans = n_stock = n_same = 0
    for is_warm in (False, True):
        for answer in answers:
            row = {
                "end to end": _clocks(lambda a=answer: end_to_end_ms(reader, a)),  # type: ignore[misc]
                "search of those shown": _clocks(lambda a=answer: search_ms(reader, a)),  # type: ignore[misc]
                "search of all spans": _clocks(lambda a=answer: search_ms(reader, a, counts_all=True)),  # type: ignore[misc]
            }
            theirs = whole.ask(answer, whole=True, max_count=MAX_COUNT)
            theirs_bare = bare.ask(answer, whole=False, max_count=BARE_COUNT)
            row["stock, whole"] = theirs["ms"], theirs["processor_ms"]
            row["stock, bare"] = theirs_bare["ms"], theirs_bare["processor_ms"]
            if not is_warm:
                continue
            for name, pair in row.items():
                times[name].append(pair)
            ours = our_spans(reader, answer)
            n_spans, n_stock = n_spans + len(ours), n_stock + len(theirs["spans"])
            n_same += sum(span in theirs["spans"] for span in ours)
    whole.close()
    bare.close()
    n_tokens = statistics.mean(len(reader.tokenizer.encode(answer).ids) for answer in answers)
    print(f"answers: {len(answers)}, {n_tokens:.0f} tokens on average; a row: mean (median)")
    for ours_name, stock_name in PAIRS:
        for kind, unit in enumerate(("ms", "ms of processor time, all threads")):
            ours_ms, stock_ms = ([pair[kind] for pair in times[name]] for name in (ours_name, stock_name))
            ratio = statistics.mean(stock_ms) / statistics.mean(ours_ms)
            middle = statistics.median(stock_ms) / statistics.median(ours_ms)
            print(
                f"{ours_name} {_both(ours_ms)} {unit}; {stock_name} {_both(stock_ms)}; ratio {ratio:.1f} ({middle:.1f})"
            )
    print(f"spans: ours {n_spans}, stock {n_stock}, identical {n_same}")
    if not n_spans == n_stock == n_same:
        sys.exit("the spans differ")


def _clocks(run: Callable[[], float]) -> tuple[float, float]:
    """Return the milliseconds that `run` tells, and those of processor time that it took (text to tokens included)."""
    begin = time.process_time()
    ms = run()
    return ms, (time.process_time() - begin) * 1000


def _both(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ({statistics.median(values):.1f})"


def read_answers(path: Path) -> list[str]:
    """Return texts of a JSON list: strings, or objects with text, answer, response or completion."""
    texts = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if isinstance(entry, dict):
            entry = next(entry[k] for k in ("response", "answer", "completion", "text", "output") if k in entry)
        texts.append(str(entry))
    return texts


if __name__ == "__main__":
    main()
