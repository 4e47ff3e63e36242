"""What it costs PostgreSQL to store and to read a trace's result, by method of compression.

    python -m benchmarks.stored_results [--database postgres://postgres@127.0.0.1:5432/postgres] [--results 300]

Results of the size of a real one (45 kB of JSON, words of the Python licence) go one by one into a temporary table of
each kind, twice by turns: PostgreSQL's own method, LZ4, and none. Prints milliseconds of a write and of a read by the
clock, without waiting for the disk, and the ratio of a write by its own method to one by LZ4.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sysconfig
import time
from pathlib import Path

import psycopg

KINDS = {"own": ("pglz", "EXTENDED"), "lz4": ("lz4", "EXTENDED"), "none": ("pglz", "EXTERNAL")}
ROUNDS = 2


def a_result() -> str:
    """Return JSON like that of a trace: 30 spans of three matches with their snippets."""
    chance = random.Random(1)
    words = Path(sysconfig.get_path("stdlib"), "LICENSE.txt").read_text(encoding="utf-8").split()
    spans = [
        {
            "text": " ".join(chance.choices(words, k=12)),
            "matches": [
                {"document": f"fair/{chance.randrange(10**6)}", "snippet": " ".join(chance.choices(words, k=60))}
                for _ in range(3)
            ],
        }
        for _ in range(30)
    ]
    return json.dumps(spans)


def measure(database: psycopg.Connection[tuple[str]], kind: str, result: str, n_results: int) -> tuple[float, float]:
    """Return milliseconds of a write and of a read."""
    compression, storage = KINDS[kind]
    database.execute("DROP TABLE IF EXISTS kept")
    database.execute(
        f"CREATE TEMPORARY TABLE kept (id int PRIMARY KEY, result jsonb COMPRESSION {compression})".encode()
    )
    database.execute(f"ALTER TABLE kept ALTER result SET STORAGE {storage}".encode())
    begin = time.perf_counter()
    for number in range(n_results):
        database.execute("INSERT INTO kept VALUES (%s, %s::jsonb)", (number, result))
    written = time.perf_counter()
    for number in range(n_results):
        database.execute("SELECT result::text FROM kept WHERE id = %s", (number,)).fetchall()
    read = time.perf_counter()
    return (written - begin) * 1000 / n_results, (read - written) * 1000 / n_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="postgres://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--results", type=int, default=300)
    arguments = parser.parse_args()
    result = a_result()
    with psycopg.connect(arguments.database, autocommit=True) as database:
        database.execute("SET synchronous_commit = off")
        rounds = [{kind: measure(database, kind, result, arguments.results) for kind in KINDS} for _ in range(ROUNDS)]
    print(f"{len(result):,} characters of JSON")
    writes = {}
    for kind in KINDS:
        writes[kind], read = (statistics.mean(times) for times in zip(*(each[kind] for each in rounds), strict=True))
        print(f"{kind}: write {writes[kind]:.2f} ms, read {read:.2f} ms")
    print(f"own method / LZ4, to write: {writes['own'] / writes['lz4']:.1f}")


if __name__ == "__main__":
    main()
