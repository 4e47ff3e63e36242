"""Building an index, beside the stock indexer in the same run: MB/s, peak memory, and whether the tables are equal.

    python -m benchmarks.build [--megabytes 40] [--tokenizer tokenizer.json] [--large 0]

The text is of installed packages (source files). The stock indexer reads no local tokenizer, so whole builds
are compared over bytes (u8); for u16, and u32 with such a --tokenizer, it gets our tokenized file and makes the
suffix array alone. --large N adds the product's own commands over N MB in eight compressed files, whose
documents are of lines of the same text in random order, and prints the peak memory of the whole. Memory is the
sum over a process and its children, sampled twenty times a second: resident pages, mapped files included.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from benchmarks.trace import TOKENIZER, installed_text
from tracer.engine import CorpusPart, build_shard, read_slice
from tracer.engine.build import sort_shard
from tracer.engine.corpus_files import measure_corpus_file
from tracer.engine.layout import pointer_width
from tracer.engine.tokens import IndexTokenizer

ROOT = Path(__file__).resolve().parents[1]
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.05
N_FILES = 8
N_COMPARED = 300
BLOCK = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What a child process took."""

    seconds: float
    peak_bytes: int


def run_measured(command: list[str], **environment: str) -> Cost:
    """Run a command to its end; raises `RuntimeError` with its error output."""
    peak = 0
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(SAMPLE_S):
                peak = max(peak, resident_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - begin
        done.set()
        watcher.join()
        if code:
            errors.seek(0)
            raise RuntimeError(f"{command[1:4]} ended with {code}: {errors.read()[-600:].decode(errors='replace')}")
    return Cost(seconds, peak)


def resident_bytes(session: int) -> int:
    """Return the resident memory of all processes of a session."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if os.getsid(int(folder.name)) == session:
                    total += int((folder / "statm").read_text().split()[1]) * PAGE
            except (OSError, IndexError, ValueError):
                continue
    return total


def build_child(file: Path, folder: Path, tokenizer: Path | None) -> None:
    """Build one shard, in this process."""
    n_bytes = measure_corpus_file(file)
    documents = read_slice([CorpusPart(file, "", n_bytes)], 0, n_bytes)
    build_shard(documents, folder, 0, IndexTokenizer(tokenizer))


def sort_child(folder: Path, tokenizer: Path) -> None:
    """Sort a shard whose tokens are there, in this process."""
    sort_shard(folder, 0, IndexTokenizer(tokenizer))


def stock_command(text: Path, out: Path, dtype: str) -> list[str]:
    """Return the stock indexer's command."""
    options = {"--data_dir": text, "--save_dir": out, "--token_dtype": dtype, "--cpus": os.cpu_count(), "--mem": 4}
    flags = [word for name, value in options.items() for word in (name, str(value))]
    return [sys.executable, "-m", "infini_gram.indexing", *flags, "--add_metadata", "--add_unigram", "--ulimit", "4096"]


def report(name: str, n_bytes: int, ours: Cost, stock: Cost | str) -> None:
    """Print one comparison."""
    mine = f"ours {n_bytes / 1e6 / ours.seconds:.1f} MB/s, {ours.peak_bytes / 1e6:,.0f} MB"
    if isinstance(stock, str):
        print(f"{name}: {mine}; stock: {stock}", flush=True)
        return
    print(
        f"{name}: {mine}; stock {n_bytes / 1e6 / stock.seconds:.1f} MB/s, {stock.peak_bytes / 1e6:,.0f} MB; "
        f"{stock.seconds / ours.seconds:.1f} times as fast, {ours.peak_bytes / stock.peak_bytes:.2f} of the memory",
        flush=True,
    )


def compare_bytes(folder: Path, n_bytes: int) -> None:
    """Compare whole builds over bytes."""
    ours = run_measured(_child("--child-build", folder / "text" / "a.jsonl", folder / "ours-u8"))
    stock = run_measured(stock_command(folder / "text", folder / "stock-u8", "u8"))
    report("whole build, u8", n_bytes, ours, stock)
    _compare_files(folder / "ours-u8", folder / "stock-u8", ("tokenized", "table", "offset", "unigram"))


def compare_tokens(folder: Path, n_bytes: int, tokenizer: Path) -> None:
    """Compare the suffix array alone over tokens."""
    width = IndexTokenizer(tokenizer).stored_width
    built = folder / f"ours-u{8 * width}"
    whole = run_measured(_child("--child-build", folder / "text" / "a.jsonl", built, tokenizer))
    report(f"whole build, u{8 * width}", n_bytes, whole, "reads no local tokenizer")
    again, stock_folder = folder / f"again-u{8 * width}", folder / f"stock-u{8 * width}"
    for copy in (again, stock_folder):
        copy.mkdir()
        for part in ("tokenized", "offset"):
            os.link(built / f"{part}.0", copy / f"{part}.0")
    tokens = (built / "tokenized.0").stat().st_size
    ours = run_measured(_child("--child-sort", again, tokenizer))
    try:
        stock: Cost | str = run_measured(stock_command(folder / "text", stock_folder, f"u{8 * width}"))
    except RuntimeError as error:
        reason = next((line for line in str(error).splitlines() if "memory" in line), str(error))
        stock = f"failed ({reason[-120:]})"
    report(f"suffix array and counts of {tokens / 1e6:.0f} MB of tokens, u{8 * width}", tokens, ours, stock)
    if isinstance(stock, Cost):
        _compare_files(again, stock_folder, ("table",))


def _child(flag: str, *paths: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.build", flag, *map(str, paths)]


def _compare_files(one: Path, two: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        same = filecmp.cmp(one / f"{part}.0", two / f"{part}.0", shallow=False)
        print(f"  {part}.0 {'byte-identical' if same else 'differs' + _who_is_wrong(one, two)}", flush=True)


def _who_is_wrong(ours: Path, stock: Path) -> str:
    """Compare whole suffixes at ranks where two tables differ and say which table is out of order there.

    The stock indexer sorts parts of a shard that overlap by 100,000 bytes, so it misplaces longer repetitions.
    """
    raw = np.memmap(ours / "tokenized.0", np.uint8, "r")
    p = pointer_width(len(raw))
    tables = [np.memmap(folder / "table.0", np.uint8, "r").reshape(-1, p) for folder in (ours, stock)]
    if tables[0].shape != tables[1].shape:
        return f": {len(tables[0]):,} entries of ours, {len(tables[1]):,} of stock's"
    ranks = np.flatnonzero((tables[0] != tables[1]).any(axis=1))
    ranks = ranks[ranks + 1 < len(tables[0])]
    sampled = ranks[np.linspace(0, len(ranks) - 1, min(N_COMPARED, len(ranks))).astype(np.int64)].tolist()
    wrong = [sum(not _is_ordered(raw, table, rank) for rank in sampled) for table in tables]
    share = 100 * len(ranks) / len(tables[0])
    return (
        f" at {share:.4f} % of ranks; of {len(sampled)} such ranks compared to their end, out of order: "
        f"ours {wrong[0]}, stock {wrong[1]}"
    )


def _is_ordered(raw: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8], rank: int) -> bool:
    """Tell whether the suffixes at a rank and the next are in order, read as far as they agree."""
    one, two = (int.from_bytes(table[r].tobytes(), "little") for r in (rank, rank + 1))
    for at in range(0, len(raw), BLOCK):
        left, right = (raw[p + at : p + at + BLOCK].tobytes() for p in (one, two))
        if left != right:
            return left < right
    return True


def mixed_lines(n_bytes: int) -> Iterator[str]:
    """Yield documents of 40 lines drawn from the installed text, JSON lines of `n_bytes` together."""
    choose = random.Random(11)
    lines = [line for document in installed_text(60_000_000) for line in document.text.splitlines() if line.strip()]
    total = 0
    number = 0
    while total < n_bytes:
        line = json.dumps({"id": str(number), "text": "\n".join(choose.choices(lines, k=40)), "source": "mixed"}) + "\n"
        total += len(line)
        number += 1
        yield line


def build_large(folder: Path, n_bytes: int, tokenizer: Path) -> None:
    """Add a corpus and build its index by the product's commands."""
    texts = folder / "large"
    texts.mkdir()
    files = [zstandard.open(texts / f"{i}.jsonl.zst", "wt", encoding="utf-8") for i in range(N_FILES)]
    written = 0
    for number, line in enumerate(mixed_lines(n_bytes)):
        files[number % N_FILES].write(line)
        written += len(line)
    for file in files:
        file.close()
    site = {"FAIRGROUND_DATA_DIR": str(folder / "data"), "DATABASE_URL": "", "REDIS_URL": ""}
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], check=True, cwd=ROOT, env={**os.environ, **site})
    about = ["--owner", "bench", "--licence", "mixed", "--title", "Mixed", "--in-place"]
    added = run_measured([*manage, "add_corpus", "large", str(texts), *about], **site)
    built = run_measured([*manage, "build_index", "large", "--tokenizer", str(tokenizer)], **site)
    index = next(path for path in (folder / "data" / "indexes" / "large").iterdir())
    n_shards = len(list(index.glob("table.*")))
    size = sum(path.stat().st_size for path in index.iterdir())
    print(
        f"{written / 1e9:.2f} GB of text in {N_FILES} files: checked at {written / 1e6 / added.seconds:.1f} MB/s with "
        f"{added.peak_bytes / 1e6:,.0f} MB; {n_shards} shards built one after another at "
        f"{written / 1e6 / built.seconds:.1f} MB/s with {built.peak_bytes / 1e6:,.0f} MB at most, "
        f"{built.peak_bytes / 4e9:.2f} of 4 GB; index {size / 1e9:.2f} GB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--large", type=float, default=0, metavar="MB")
    parser.add_argument("--child-build", nargs="+", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child-sort", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child_build:
        file, out, *tokenizer = arguments.child_build
        build_child(file, out, tokenizer[0] if tokenizer else None)
        return
    if arguments.child_sort:
        sort_child(*arguments.child_sort)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "text").mkdir()
        n_bytes = 0
        with (folder / "text" / "a.jsonl").open("w", encoding="utf-8") as file:
            for document in installed_text(int(arguments.megabytes * 1e6)):
                file.write(json.dumps({"id": document.id, "text": document.text}) + "\n")
                n_bytes += len(document.text.encode())
        print(f"{n_bytes / 1e6:.0f} MB of source files, {os.cpu_count()} processors", flush=True)
        compare_bytes(folder, n_bytes)
        compare_tokens(folder, n_bytes, TOKENIZER)
        if arguments.tokenizer != TOKENIZER:
            compare_tokens(folder, n_bytes, arguments.tokenizer)
        if arguments.large:
            build_large(folder, int(arguments.large * 1e6), arguments.tokenizer)


if __name__ == "__main__":
    main()
