"""Time to the first answer, and memory, of each role of a production site on this machine.

    python -m benchmarks.roles [--index-gb 0.5]

Web: until a page is answered. Workers: until Celery takes jobs. Limits: web 2 s, tracing worker 3 s with an index
of `--index-gb` GB (made of random tokens for this run: how long opening takes does not depend on what they say).
Memory is proportional (PSS), idle, and again after one job.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.production import Production, production

ROOT = Path(__file__).resolve().parents[1]
LIMITS_S = {"web": 2.0, "worker-trace": 3.0}


def write_corpus(path: Path, n_bytes: int) -> None:
    """Write JSON lines of random words whose index has about `n_bytes` bytes."""
    random = np.random.default_rng(1)
    words = [f"{a}{b}{c}" for a in ("ka", "mo", "ri", "tu") for b in ("len", "sor", "vit") for c in ("", "a", "os")]
    with path.open("w") as out:
        written = 0
        while written < n_bytes / 3:
            text = " ".join(random.choice(words, 400))
            written += out.write(json.dumps({"text": text}) + "\n")


def finish(client: httpx.Client, path: str, body: dict[str, object]) -> None:
    location = client.post(path, json=body).raise_for_status().headers["Location"]
    deadline = time.monotonic() + 60
    while client.get(location).json()["status"] in {"pending", "running"} and time.monotonic() < deadline:
        time.sleep(0.02)


def measure(site: Production) -> None:
    names = [name for name in site.commands if name not in {"postgres", "redis"}]
    start_s = {name: site.start(name) for name in names}
    time.sleep(3)
    idle = {name: site.memory_mb(name) for name in names}
    with httpx.Client(base_url=site.address, timeout=60) as client:
        finish(client, "/api/v1/traces/", {"text": "A trace of a few words, kalena mosoros rivit."})
        finish(client, "/api/v1/generations/", {"prompt": "def mean(", "max_tokens": 32})
    print(f"{'role':<14}{'start s':>9}{'limit':>7}{'idle MB':>9}{'after a job':>13}")
    for name in names:
        limit = f"{start_s[name] / LIMITS_S[name]:.2f}×" if name in LIMITS_S else ""
        print(f"{name:<14}{start_s[name]:>9.2f}{limit:>7}{idle[name]:>9.0f}{site.memory_mb(name):>13.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index-gb", type=float, default=0.05)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairground-roles-") as folder, production(Path(folder)) as site:
        corpus = Path(folder) / "words.jsonl"
        write_corpus(corpus, int(arguments.index_gb * 1e9))
        owner = ["--owner", "Nobody", "--licence", "CC0-1.0", "--title", "Random words"]
        site.manage("add_corpus", "words", str(corpus), *owner)
        site.manage("build_index", "words", timeout_s=3000)
        site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        n_bytes = sum(path.stat().st_size for path in (site.folder / "data" / "indexes").rglob("*") if path.is_file())
        print(f"index: {n_bytes / 1e9:.2f} GB")
        measure(site)


if __name__ == "__main__":
    main()
