"""Time to the first answer, processor time of the start, and memory, of each role of a production site.

    python -m benchmarks.roles [--index-gb 4] [--repeats 3]

Web, with one process and with two: until a page is answered. Workers: until Celery takes jobs. Limits: web 2 s,
tracing worker 3 s with an index of `--index-gb` GB. That index is mostly holes in its files (`sparse_index`): how
long opening takes does not depend on what stands there. Python's files are compiled beforehand, as after any first
start. Each role is started alone, `--repeats` times; the median counts. Processor time is that of all processes of
the role until then, and again once it has been idle for some seconds: workers load search and weights beside.
Memory is proportional (PSS), idle, and again after one job.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.production import Production, production
from benchmarks.sparse_index import grow_index

ROOT = Path(__file__).resolve().parents[1]
LIMITS_S = {"web, 1 process": 2.0, "web, 2 processes": 2.0, "worker-trace": 3.0}
SETTLE_S = 5.0
TEXT = "The carousel turns and the music plays on while the lights go round. "


@dataclass(frozen=True, slots=True)
class Start:
    """What one start took."""

    seconds: float
    processor_s: float
    settled_s: float
    idle_mb: float


def add_index(site: Production, n_bytes: int) -> None:
    """Register a small corpus and grow its index to `n_bytes`."""
    corpus = site.folder / "words.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"{number} {TEXT * 20}"}) + "\n" for number in range(200)))
    site.manage("add_corpus", "words", str(corpus), "--owner", "Nobody", "--licence", "CC0-1.0", "--title", "Words")
    site.manage("build_index", "words")
    (manifest,) = (site.folder / "data" / "indexes").rglob("manifest.json")
    digest = grow_index(manifest.parent, n_bytes).digest
    code = f"from tracer.models import Index; Index.objects.update(digest={digest!r})"
    site.manage("shell", "-c", code)


def roles(site: Production) -> dict[str, tuple[str, list[str]]]:
    """Return each role's service and command, by the name under which it is told."""
    web = site.commands["web"]
    several = web.index("--processes")
    alone = web[:several] + web[several + 2 :]
    workers = {name: (name, site.commands[name]) for name in site.commands if name.startswith(("worker", "beat"))}
    return {"web, 1 process": ("web", alone), "web, 2 processes": ("web", [*alone, "--processes", "2"]), **workers}


def start(site: Production, name: str, command: list[str]) -> Start:
    """Start a service; return what it took until it answered, and what it takes when it has settled."""
    seconds = site.start(name, command)
    begin = time.perf_counter()
    if name == "web":
        httpx.get(f"{site.address}/corpora/", timeout=30).raise_for_status()
    seconds += time.perf_counter() - begin
    processor_s = site.processor_s(name)
    time.sleep(SETTLE_S)
    return Start(seconds, processor_s, site.processor_s(name), site.memory_mb(name))


def finish(client: httpx.Client, path: str, body: dict[str, object]) -> None:
    """Ask for a job and wait until it has ended."""
    location = client.post(path, json=body).raise_for_status().headers["Location"]
    deadline = time.monotonic() + 60
    while client.get(location).json()["status"] in {"pending", "running"} and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def everything(site: Production) -> Iterator[httpx.Client]:
    """Start all roles; yield a client."""
    for name, command in roles(site).values():
        if name not in site.running:
            site.start(name, command)
    with httpx.Client(base_url=site.address, timeout=60) as client:
        yield client


def measure(site: Production, repeats: int) -> None:
    """Start each role alone, then all of them for a job, and print the table."""
    starts: dict[str, list[Start]] = {}
    for role, (name, command) in roles(site).items():
        starts[role] = []
        for _ in range(repeats + 1):  # the first compiles, and fills numba's cache
            starts[role].append(start(site, name, command))
            site.kill(name)
    with everything(site) as client:
        finish(client, "/api/v1/traces/", {"text": TEXT})
        finish(client, "/api/v1/generations/", {"prompt": "def mean(", "max_tokens": 32})
        after = {name: site.memory_mb(name) for name, _ in roles(site).values()}
    print(f"{'role':<18}{'start s':>9}{'limit':>7}{'processor s':>13}{'settled':>9}{'idle MB':>9}{'after a job':>13}")
    for role, (name, _) in roles(site).items():
        took = [
            statistics.median(getattr(one, field) for one in starts[role][1:])
            for field in ("seconds", "processor_s", "settled_s", "idle_mb")
        ]
        limit = f"{took[0] / LIMITS_S[role]:.2f}×" if role in LIMITS_S else ""
        memory = f"{after[name]:.0f}" if role != "web, 2 processes" else ""
        print(f"{role:<18}{took[0]:>9.2f}{limit:>7}{took[1]:>13.2f}{took[2]:>9.2f}{took[3]:>9.0f}{memory:>13}")


def main() -> None:
    """Prepare a site with one large index and the demonstration's checkpoint, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index-gb", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairground-roles-") as folder, production(Path(folder)) as site:
        add_index(site, int(arguments.index_gb * 1e9))
        site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        measure(site, arguments.repeats)


if __name__ == "__main__":
    main()
