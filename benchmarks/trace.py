"""A whole trace, tokenize to JSON, against the stock engine's `attribute`, warm, in one run.

    python -m benchmarks.trace [--megabytes 45] [--tokenizer tokenizer.json] [--answers answers.json] [--n-answers 12]

The index is of text of installed packages (source files, synthetic nothing). Without --answers, answers
are spliced from pieces of that text. Prints milliseconds, ratios, and whether all spans agree.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from tracer.engine.spans import find_spans

TOKENIZER = Path(__file__).resolve().parents[1] / "webapp" / "demo" / "checkpoint" / "tokenizer.json"
PARAMETERS = TraceParameters(boundaries=Boundaries.OLMOTRACE)
STOCK = """
import json, sys, time
from infini_gram.engine import InfiniGramEngine
job = json.load(sys.stdin)
size = 2**31 - 1 if job["dtype"] == "u32" else 65535
engine = InfiniGramEngine(index_dir=job["folder"], eos_token_id=0, vocab_size=size, version=4,
    token_dtype=job["dtype"], bow_ids_path=job["bow"], precompute_unigram_logprobs=True)
def run(ids):
    begin = time.perf_counter()
    answer = engine.attribute(input_ids=ids, delim_ids=job["delimiters"], min_len=1, max_cnt=1_000_000,
        enforce_bow=True)
    return (time.perf_counter() - begin) * 1000, [[s["l"], s["r"], s["count"]] for s in answer["spans"]]
[run(ids) for ids in job["answers"]]
print("RESULT" + json.dumps([run(ids) for ids in job["answers"]]))
"""


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


def ask_stock_engine(reader: IndexReader, answers: list[str], folder: Path) -> list[tuple[float, list[list[int]]]]:
    """Return the stock engine's milliseconds and spans of each answer, second pass, from a child process."""
    table = reader.tokenizer.token_bytes
    bow = folder / "bow.txt"
    bow.write_text("".join(f"{i}\n" for i, token in enumerate(table) if token[:1] == b" "))
    job = {
        "folder": str(reader.folder),
        "dtype": {1: "u8", 2: "u16", 4: "u32"}[reader.manifest.token_width],
        "bow": str(bow),
        "delimiters": [i for i, token in enumerate(table) if token in (b"\n", b".")],
        "answers": [reader.tokenizer.encode(answer).ids.tolist() for answer in answers],
    }
    done = subprocess.run([sys.executable, "-c", STOCK], input=json.dumps(job), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the stock engine ended with {done.returncode}: {done.stderr[-500:]}")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return [(ms, spans) for ms, spans in json.loads(line.removeprefix("RESULT"))]


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


def search_ms(reader: IndexReader, answer: str) -> float:
    """Return the milliseconds of finding all spans, tokens given."""
    tokens = reader.tokenizer.encode(answer)
    begin = time.perf_counter()
    bounds = find_boundaries(answer, tokens, reader.tokenizer, Boundaries.OLMOTRACE)
    find_spans(tokens, bounds, [reader], PARAMETERS)
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=45)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--answers", type=Path, help="JSON list of answers, or of objects with a text")
    parser.add_argument("--n-answers", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        begin = time.perf_counter()
        build_index(installed_text(int(arguments.megabytes * 1e6)), Path(folder) / "built", arguments.tokenizer)
        reader = IndexReader.open(Path(folder) / "built")
        width, seconds = 8 * reader.manifest.token_width, time.perf_counter() - begin
        print(f"index: {reader.n_tokens:,} tokens, u{width}, built in {seconds:.0f} s")
        answers = read_answers(arguments.answers) if arguments.answers else spliced_answers(reader, 40)
        report(reader, answers[: arguments.n_answers], Path(folder))


def report(reader: IndexReader, answers: list[str], folder: Path) -> None:
    """Measure both sides and print the figures."""
    for answer in answers:
        end_to_end_ms(reader, answer)
    whole = statistics.mean(end_to_end_ms(reader, answer) for answer in answers)
    search = statistics.mean(search_ms(reader, answer) for answer in answers)
    stock = ask_stock_engine(reader, answers, folder)
    stock_ms = statistics.mean(ms for ms, _ in stock)
    ours = [our_spans(reader, answer) for answer in answers]
    n_spans = sum(map(len, ours))
    n_same = sum(span in theirs for spans, (_, theirs) in zip(ours, stock, strict=True) for span in spans)
    n_stock = sum(len(spans) for _, spans in stock)
    n_tokens = statistics.mean(len(reader.tokenizer.encode(answer).ids) for answer in answers)
    print(f"answers: {len(answers)}, {n_tokens:.0f} tokens on average")
    print(f"end to end {whole:.1f} ms; stock attribute(max_cnt=1e6) {stock_ms:.1f} ms; ratio {stock_ms / whole:.1f}")
    print(f"search alone {search:.1f} ms; ratio {stock_ms / search:.1f}")
    print(f"spans: ours {n_spans}, stock {n_stock}, identical {n_same}")
    if not n_spans == n_stock == n_same:
        sys.exit("the spans differ")


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
