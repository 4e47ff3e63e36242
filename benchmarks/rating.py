"""Refit with intervals from stored counts, and a file of raw votes end to end against arena-rank 0.1.1.

    python -m benchmarks.rating [--votes 2000000] [--contestants 200] [--peer PYTHON] [--voters 20000]

Both read the same CSV file of votes in a process of their own, as a library, fit, and compute sandwich
intervals: ours by voter, arena-rank's by vote, since it knows no voters.
Without --peer a throwaway environment gets arena-rank from the package index. Prints milliseconds,
the ratio, and the largest difference of either from a solution iterated until nothing moves.
Linear algebra runs on one thread: at this size more of them only wait for each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from arena.rating import SCALE, PairCounts, count_pairs, rate_counts
from arena.rating.files import read_votes

ROOT = Path(__file__).resolve().parents[1]
LIMIT_REFIT_MS = 20.0
LIMIT_RATIO = 5.0
LIMIT_POINTS = 0.05
OURS = """
import json, sys
from pathlib import Path
from arena.rating import rate
from arena.rating.files import read_votes
print(json.dumps({row.contestant: row.rating for row in rate(read_votes(Path(sys.argv[1]))).ratings}))
"""
PEER = """
import json, sys
import pandas as pd
from arena_rank.utils.data_utils import PairDataset
from arena_rank.models.bradley_terry import BradleyTerry
votes = pd.read_csv(sys.argv[1])
data = PairDataset.from_pandas(votes)
model = BradleyTerry(n_competitors=len(data.competitors))
found = model.compute_ratings_and_cis(data, ci_method="sandwich")
print(json.dumps(dict(zip(found["competitors"], map(float, found["ratings"])))))
"""


def write_votes(path: Path, n_votes: int, n_contestants: int, n_voters: int) -> None:
    """Write votes between contestants of skewed popularity with planted strengths; a third are ties or both bad."""
    source = np.random.default_rng(20261127)
    strengths = source.normal(0, 130, n_contestants) / SCALE
    popularity = source.pareto(1.5, n_contestants) + 0.2
    popularity /= popularity.sum()
    a = source.choice(n_contestants, n_votes, p=popularity)
    b = source.choice(n_contestants, n_votes, p=popularity)
    b = np.where(a == b, (b + 1 + source.integers(0, n_contestants - 1, n_votes)) % n_contestants, b)
    p = 1 / (1 + np.exp(strengths[b] - strengths[a]))
    tie = source.random(n_votes) < np.minimum(p, 1 - p) * 0.7
    winner = np.where(tie, np.where(source.random(n_votes) < 0.4, 3, 2), np.where(source.random(n_votes) < p, 0, 1))
    names = np.array([f"model-{k:03d}" for k in range(n_contestants)])
    verdicts = np.array(["model_a", "model_b", "tie", "both_bad"])
    voters = np.array([f"voter-{k}" for k in range(n_voters)])
    columns = {"model_a": names[a], "model_b": names[b], "winner": verdicts[winner]}
    columns["voter"] = voters[(source.pareto(1.2, n_votes) * 20).astype(np.int64) % n_voters]
    pa_csv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def run(command: list[str], env: dict[str, str]) -> tuple[float, str]:
    """Return the seconds and the standard output of a process."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - begin, done.stdout


def converged(counts: PairCounts) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ratings (K,) around 1000 by the plain MM iteration (Hunter 2004), until nothing moves by 1e-10."""
    k = counts.n_contestants
    wins, n = np.zeros(k), np.zeros((k, k))
    np.add.at(wins, counts.first, counts.score)
    np.add.at(wins, counts.second, counts.total - counts.score)
    np.add.at(n, (counts.first, counts.second), counts.total)
    n += n.T
    strength = np.ones(k)
    for _ in range(200_000):
        moved = wins / (n / (strength[:, None] + strength[None, :])).sum(axis=1)
        moved /= np.exp(np.log(moved).mean())
        if np.abs(np.log(moved / strength)).max() < 1e-10:
            break
        strength = moved
    return np.asarray(1000 + SCALE * np.log(moved))


def peer_python(folder: Path) -> str:
    """Make a throwaway environment with arena-rank and return its interpreter."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "arena-rank==0.1.1"], check=True)
    return python


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=2_000_000)
    parser.add_argument("--contestants", type=int, default=200)
    parser.add_argument("--voters", type=int, default=20_000)
    parser.add_argument("--peer", help="an interpreter that has arena-rank 0.1.1")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "votes.csv"
        write_votes(path, given.votes, given.contestants, given.voters)
        print(json.dumps(measure(path, given.peer or peer_python(Path(folder) / "peer")), indent=1))


def measure(path: Path, peer: str) -> dict[str, Any]:
    """Return all figures for a file of votes."""
    table = read_votes(path)
    counts = count_pairs(table)
    refits, processor = [], []
    for _ in range(30):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        rate_counts(table.contestants, counts)
        refits.append((time.perf_counter() - begin) * 1000)
        processor.append((time.process_time() - begin_cpu) * 1000)
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "manage.py", "rate", "--votes", str(path), "--format", "json"]
    ours, theirs, whole = [], [], []
    for _ in range(3):
        ours.append(run([sys.executable, "-c", OURS, str(path)], env))
        theirs.append(run([peer, "-c", PEER, str(path)], env))
        whole.append(run(command, env)[0])
    truth = dict(zip(table.contestants, converged(counts), strict=True))
    rated = json.loads(ours[0][1])
    other = json.loads(theirs[0][1])
    shift = float(np.mean([other[name] for name in truth])) - 1000
    ours_s, theirs_s = min(s for s, _ in ours), min(s for s, _ in theirs)
    return {
        "load_average": os.getloadavg()[0],
        "n_votes": table.n_votes,
        "n_contestants": len(table.contestants),
        "refit_with_intervals_ms": {
            "median": round(statistics.median(refits), 1),
            "median_cpu": round(statistics.median(processor), 1),
            "limit": LIMIT_REFIT_MS,
        },
        "file_s": {"ours": round(ours_s, 2), "arena_rank": round(theirs_s, 2), "manage_py_rate": round(min(whole), 2)},
        "ratio": {"ours": round(theirs_s / ours_s, 1), "limit": LIMIT_RATIO},
        "largest_difference_points": {
            "ours": round(max(abs(rated[name] - truth[name]) for name in truth), 4),
            "arena_rank": round(max(abs(other[name] - shift - truth[name]) for name in truth), 4),
            "limit": LIMIT_POINTS,
        },
    }


if __name__ == "__main__":
    main()
