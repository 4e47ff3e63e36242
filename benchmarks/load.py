"""Latency against offered load, to saturation and beyond: pages, boards, traces, streams and votes at once.

    python -m benchmarks.load [--rates 2,5,10,20,40,80,160] [--seconds 20] [--streams 200] [--web 2] [--seed 1]

PostgreSQL, Redis, two web processes and every worker are the site's own, on loopback; the load comes from this
process, on the same cores (its own processor time is printed). Load is open: visits begin at random moments (a
Poisson process) whether or not the earlier ones have been answered, as people do. A visit is one of MIX. A 503 with
Retry-After is a refusal, as promised; anything else but success is an error, and so is a break of the connection.

At last, --streams event streams are opened and held while pages are asked for at IDLE_RATE, against the same
pages without a stream open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from arena.onboarding import CHECKS
from benchmarks.production import ROOT, Production, production
from benchmarks.trace import installed_text

SERVICES = ("web", "worker-trace", "worker-model", "worker-rank", "beat")
IDLE_RATE = 10.0
GIVE_UP_S = 30.0
PAGES = ("/playground/", "/about/", "/corpora/", "/traces/", "/arena/", "/log/")
BOARDS = ("/arena/leaderboard/", "/api/v1/arena/leaderboard/", "/arena/method/")
MIX = {"page": 40, "board": 25, "trace": 25, "stream": 6, "vote": 4}


class Refused(Exception):
    """503 with Retry-After: the site says that it has enough."""


@dataclass
class Step:
    """What became of the visits of one load."""

    latencies_s: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in MIX})
    refused: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def p(self, share: float, kind: str | None = None) -> float:
        """Return a quantile of the latencies in ms, of one kind or of all; not-a-number without any."""
        values = sorted(s for name, all_s in self.latencies_s.items() for s in all_s if kind in (None, name))
        return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")

    @property
    def n_answered(self) -> int:
        """Return how many visits came to their end."""
        return sum(map(len, self.latencies_s.values()))


class Visitor:
    """Makes visits to a site; a voter's introduction is done before."""

    def __init__(self, address: str, texts: list[str], voters: list[str], seed: int) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
        self.http = httpx.AsyncClient(base_url=address, timeout=GIVE_UP_S, limits=limits)
        self.texts, self.voters, self.random = texts, voters, random.Random(seed)

    async def ask(self, method: str, path: str, *, json: object = None, **headers: str) -> httpx.Response:
        """Return a good answer; raises `Refused`, or `RuntimeError` for any other."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.http.request(method, path, json=json, headers=named)
        if answer.status_code == 503 and "Retry-After" in answer.headers:
            raise Refused
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    async def page(self) -> None:
        """Read a page."""
        await self.ask("GET", self.random.choice(PAGES))

    async def board(self) -> None:
        """Read a leaderboard, as a page or as JSON."""
        await self.ask("GET", self.random.choice(BOARDS))

    async def trace(self) -> None:
        """Trace an answer, and read the finished trace."""
        created = await self.ask("POST", "/api/v1/traces/", json={"text": self.random.choice(self.texts)})
        await self.until(created.headers["Location"], "done", Prefer="wait=10")

    async def stream(self) -> None:
        """Ask a question and read its answer as it comes."""
        body = {"prompt": "def mean(", "max_tokens": 16, "seed": self.random.randrange(10_000)}
        created = await self.ask("POST", "/api/v1/generations/", json=body)
        async with self.http.stream("GET", f"{created.headers['Location']}stream/") as stream:
            if stream.status_code == 503:
                raise Refused
            async for line in stream.aiter_lines():
                if line.startswith("event: done"):
                    return
        raise RuntimeError("a stream ended without its end")

    async def vote(self) -> None:
        """Fight a battle to the reveal."""
        voter = self.voters.pop() if self.voters else await self.introduce()
        try:
            started = await self.ask(
                "POST", "/api/v1/arena/battles/", json={"prompt": "sort a list"}, Arena_Voter=voter
            )
            battle = started.headers["Location"]
            await self.until(battle, "ready", Arena_Voter=voter)
            verdict = self.random.choice(["a", "b", "tie"])
            await self.persist("POST", f"{battle}vote/", json={"verdict": verdict}, Arena_Voter=voter)
            await self.persist("POST", f"{battle}reveal/", Arena_Voter=voter)
        finally:
            self.voters.append(voter)

    async def introduce(self) -> str:
        """Return a new voter's token."""
        answers = {"answers": {check.id: check.right for check in CHECKS}}
        done = await self.ask("POST", "/api/v1/arena/onboarding/", json=answers)
        return done.headers["Arena-Voter"]

    async def persist(self, method: str, path: str, *, json: object = None, **headers: str) -> httpx.Response:
        """Ask again after a refusal: what was begun is brought to its end."""
        while True:
            try:
                return await self.ask(method, path, json=json, **headers)
            except Refused:
                await asyncio.sleep(0.5)

    async def until(self, path: str, status: str, **headers: str) -> None:
        """Read a job until it has a status."""
        while True:
            found = (await self.persist("GET", path, **headers)).json()["status"]
            if found == status:
                return
            if found in {"failed", "cancelled", "closed"}:
                raise RuntimeError(f"{path} is {found}, not {status}")
            await asyncio.sleep(0.1)


async def offer(visitor: Visitor, rate: float, seconds: float, kinds: dict[str, int]) -> Step:
    """Begin visits at `rate` a second for `seconds`, and wait until all have ended."""
    step = Step()
    tasks = []
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        kind = visitor.random.choices(list(kinds), list(kinds.values()))[0]
        tasks.append(asyncio.create_task(_visit(step, kind, getattr(visitor, kind))))
        await asyncio.sleep(max(0.0, visitor.random.expovariate(rate) - (time.perf_counter() - now)))
    await asyncio.gather(*tasks)
    return step


async def _visit(step: Step, kind: str, act: Callable[[], Awaitable[None]]) -> None:
    begin = time.perf_counter()
    try:
        async with asyncio.timeout(2 * GIVE_UP_S):
            await act()
    except Refused:
        step.refused[kind] += 1
    except (RuntimeError, httpx.TransportError, TimeoutError) as error:
        step.errors[f"{kind}: {error!r}"[:160]] += 1
    else:
        step.latencies_s[kind].append(time.perf_counter() - begin)


async def hold_streams(visitor: Visitor, n: int, is_open: asyncio.Event, close: asyncio.Event) -> int:
    """Open `n` streams of answers that are being made or wait, each by its own person; return how many broke."""
    opened = 0
    broken = 0

    async def hold(number: int) -> None:
        nonlocal opened, broken
        async with httpx.AsyncClient(base_url=visitor.http.base_url, timeout=None) as http:
            body = {"prompt": f"class Number{number}:", "max_tokens": 400, "seed": number}
            while (created := await http.post("/api/v1/generations/", json=body)).status_code == 503:
                await asyncio.sleep(1)  # all ask in one moment, and some are refused
            async with http.stream("GET", f"{created.headers['Location']}stream/") as stream:
                stream.raise_for_status()
                opened += 1
                if opened == n:
                    is_open.set()
                lines = stream.aiter_lines()
                while not close.is_set():
                    try:
                        line = await asyncio.wait_for(anext(lines), 15)
                    except StopAsyncIteration:
                        return
                    except TimeoutError:
                        broken += 1
                        return
                    if line.startswith("event: done"):
                        await close.wait()

    await asyncio.gather(*(hold(number) for number in range(n)))
    return broken


async def measure(site: Production, texts: list[str], arguments: argparse.Namespace) -> None:
    """Print the curve, then the cost of open streams."""
    visitor = Visitor(site.address, texts, [], arguments.seed)
    visitor.voters = [await visitor.introduce() for _ in range(20)]
    await offer(visitor, 5, 5, MIX)  # every process has seen everything once
    print(
        "visits/s offered | answered | refused | errors | p50 ms | p95 ms | "
        + " p95 | ".join(MIX)
        + " p95 | client CPU"
    )
    for rate in map(float, arguments.rates.split(",")):
        cpu, begin = time.process_time(), time.perf_counter()
        step = await offer(visitor, rate, arguments.seconds, MIX)
        share = (time.process_time() - cpu) / (time.perf_counter() - begin)
        kinds = " | ".join(f"{step.p(0.95, kind):.0f}" for kind in MIX)
        n_refused, n_errors = sum(step.refused.values()), sum(step.errors.values())
        print(
            f"{rate:g} | {step.n_answered / arguments.seconds:.1f} | {n_refused} | {n_errors} | {step.p(0.5):.0f} | "
            f"{step.p(0.95):.0f} | {kinds} | {100 * share:.0f} %",
            flush=True,
        )
        for error, count in step.errors.most_common(3):
            print(f"    {count} × {error}")
    idle = await offer(visitor, IDLE_RATE, arguments.seconds, {"page": 1})
    is_open, close = asyncio.Event(), asyncio.Event()
    holding = asyncio.create_task(hold_streams(visitor, arguments.streams, is_open, close))
    await asyncio.wait_for(is_open.wait(), 120)
    held = await offer(visitor, IDLE_RATE, arguments.seconds, {"page": 1})
    close.set()
    n_broken = await holding
    print(f"pages at {IDLE_RATE:g}/s: p95 {idle.p(0.95):.0f} ms idle, {held.p(0.95):.0f} ms beside {arguments.streams}")
    print(f"open streams: ratio {held.p(0.95) / idle.p(0.95):.1f}; {n_broken} streams broke, {held.errors} errors")
    await visitor.http.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="2,5,10,20,40,80,160", help="visits begun a second, one step after another")
    parser.add_argument("--seconds", type=float, default=20, help="of each step")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--web", type=int, default=2, help="web processes")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    documents = list(installed_text(20_000_000))
    texts = [document.text[:1500] for document in documents[:: len(documents) // 200]]
    # Not a private folder, which PostgreSQL's user may not enter.
    with (
        tempfile.TemporaryDirectory(prefix="fairground-load-", ignore_cleanup_errors=True) as name,
        production(Path(name), FAIRGROUND_MAX_STREAMS=str(arguments.streams + 50)) as site,
    ):
        corpus = site.folder / "installed.jsonl"
        with corpus.open("w") as file:
            for number, document in enumerate(documents):
                file.write(json.dumps({"id": str(number), "text": document.text}) + "\n")
        about = ("--owner", "Installed packages", "--licence", "various", "--title", "Installed packages")
        site.manage("add_corpus", "installed", str(corpus), *about)
        site.manage("build_index", "installed", timeout_s=1200)
        site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        site.manage("prepare_demo_arena", "--votes", "2000", timeout_s=1800)
        site.commands["web"][-1] = str(arguments.web)
        for service in SERVICES:
            site.start(service)
        print(f"{os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}, {arguments.web} web processes")
        asyncio.run(measure(site, texts, arguments))


if __name__ == "__main__":
    main()
