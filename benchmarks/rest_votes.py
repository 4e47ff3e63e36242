"""Battles a second over REST, from the draw to the close, on a whole production site with PostgreSQL.

    python -m benchmarks.rest_votes [--battles 600] [--clients 8] [--contestants 200] [--web 2]

Web processes, rank worker and beat are the site's own, on loopback; the clients are threads of this process, on the
same cores. Each battle has a voter of its own, who has passed the introduction, and three requests: draw, vote,
reveal. No model answers: between draw and vote both answers are written into the database, all at once, untimed.
Printed by step: requests a second, and processor milliseconds of a request in the web processes, in PostgreSQL and
in the client. Then the same three steps by the services alone, one process without HTTP, in the same run, and the
ratio of both in Python's processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from benchmarks.log_votes import SETUP
from benchmarks.production import ROOT, Production, production

SERVICES = ("web", "worker-rank", "beat")
WARM_UP = 20
PREPARE = """
import json, sys
from arena.models import OnboardingAnswer, Voter
from arena.onboarding import CHECKS
from arena.services import roster, seasons
from arena.services.voters import voter_token
from webapp.transparency.services import sequence_entries

n_voters, n_contestants = int(sys.argv[1]), int(sys.argv[2])
season = seasons.open_season(slug="main", title="Arena")
provider = roster.add_provider(slug="many", name="A lab with many")
for number in range(n_contestants):
    roster.add_contestant(
        season=season, provider=provider, slug=f"c-{number}", title=f"Contestant {number}",
        licence_group="open-source", checkpoint="demo", max_tokens=1 + number,
    )
sequence_entries()
voters = Voter.objects.bulk_create([Voter() for _ in range(n_voters)])
OnboardingAnswer.objects.bulk_create(
    [OnboardingAnswer(voter=voter, check_id=check.id, is_right=True) for voter in voters for check in CHECKS]
)
print(json.dumps([[str(voter.pk), voter_token(voter)] for voter in voters]))
"""
ANSWER = """
from django.utils import timezone
from webapp.playground.models import Generation

open_ones = Generation.objects.exclude(status="done")
print(open_ones.update(status="done", text="An answer of a few words.", finished_at=timezone.now()))
"""
SERVICE = """
import json, sys, time
from arena.models import Season, Voter
from arena.services import battles, votes
from webapp.playground.models import Generation

season = Season.objects.get(slug="main")
found = Voter.objects.in_bulk(sys.argv[1].split())
drawn = []
def step(name, act, given):
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for one in given:
        act(one)
    times[name] = [time.perf_counter() - begin, time.process_time() - begin_cpu]
times = {}
step("draw", lambda v: drawn.append(battles.start_battle(season=season, voter=v, prompt="sort a list")), found.values())
Generation.objects.exclude(status="done").update(status="done", text="An answer of a few words.")
step("vote", lambda b: votes.cast_vote(battle_id=b.pk, voter=b.voter, verdict="a"), drawn)
step("reveal", lambda b: battles.reveal_battle(battle_id=b.pk, voter=b.voter), drawn)
print(json.dumps(times))
"""


@dataclass(frozen=True)
class Step:
    """One step of all battles: seconds by the clock, and processor seconds by who used them."""

    name: str
    n: int
    wall_s: float
    cpu_s: dict[str, float]

    def __str__(self) -> str:
        used = ", ".join(f"{1000 * seconds / self.n:.2f} ms {who}" for who, seconds in self.cpu_s.items())
        return f"{self.name}: {self.n / self.wall_s:.0f} a second; processor time of one: {used}"


def run(site: Production, script: str, *arguments: str) -> str:
    """Run a script in the site's environment; return what it printed last."""
    command = [sys.executable, "-c", SETUP + script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=site.environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


class Clients:
    """Threads that ask at once, each with a connection that it keeps."""

    def __init__(self, site: Production, n: int) -> None:
        self.site, self.n = site, n
        self.connections: SimpleQueue[HTTPConnection] = SimpleQueue()

    def ask(self, path: str, token: str, body: object) -> dict[str, Any]:
        """POST as a voter; return the answer. Asks again where the site has too much to do."""
        connection = self.connections.get()
        try:
            while True:
                headers = {"Content-Type": "application/json", "Arena-Voter": token}
                connection.request("POST", path, json.dumps(body), headers)
                answer = connection.getresponse()
                data = answer.read()
                if answer.status == 503:
                    time.sleep(0.05)
                    continue
                if answer.status >= 400:
                    raise RuntimeError(f"{path}: {answer.status} {data[:300]!r}")
                found: dict[str, Any] = json.loads(data)
                return found
        finally:
            self.connections.put(connection)

    def step(self, name: str, acts: list[Callable[[], None]]) -> Step:
        """Do all acts, `n` at a time, over new connections: the server closes those that are idle for long."""
        self.connections = SimpleQueue()
        for _ in range(self.n):
            self.connections.put(HTTPConnection(self.site.host, self.site.ports["web"], timeout=60))
        before = self._cpu_s()
        begin = time.perf_counter()
        with ThreadPoolExecutor(self.n) as pool:
            for _ in pool.map(lambda act: act(), acts):
                pass
        wall_s = time.perf_counter() - begin
        after = self._cpu_s()
        return Step(name, len(acts), wall_s, {who: after[who] - before[who] for who in after})

    def _cpu_s(self) -> dict[str, float]:
        return {
            "web": self.site.processor_s("web"),
            "PostgreSQL": self.site.processor_s("postgres"),
            "client": time.process_time(),
        }


def measure(site: Production, clients: Clients, voters: list[list[str]]) -> list[Step]:
    """Let each voter fight one battle; return the three steps of all."""
    drawn: dict[str, str] = {}

    def draw(token: str) -> None:
        drawn[token] = clients.ask("/api/v1/arena/battles/", token, {"prompt": "sort a list"})["id"]

    def vote(token: str) -> None:
        found = clients.ask(f"/api/v1/arena/battles/{drawn[token]}/vote/", token, {"verdict": "a"})
        if found["status"] != "voted":
            raise RuntimeError(f"a vote left its battle {found['status']}")

    def reveal(token: str) -> None:
        found = clients.ask(f"/api/v1/arena/battles/{drawn[token]}/reveal/", token, {})
        if found["status"] != "closed":
            raise RuntimeError(f"a reveal left its battle {found['status']}")

    tokens = [token for _, token in voters]
    steps = [clients.step("draw", [lambda token=token: draw(token) for token in tokens])]  # type: ignore[misc]
    run(site, ANSWER)
    steps.append(clients.step("vote", [lambda token=token: vote(token) for token in tokens]))  # type: ignore[misc]
    steps.append(clients.step("reveal", [lambda token=token: reveal(token) for token in tokens]))  # type: ignore[misc]
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--contestants", type=int, default=200)
    parser.add_argument("--web", type=int, default=2, help="web processes")
    given = parser.parse_args()
    # Not a private folder, which PostgreSQL's user may not enter.
    with (
        tempfile.TemporaryDirectory(prefix="fairground-rest-", ignore_cleanup_errors=True) as name,
        production(Path(name), FAIRGROUND_MAX_WAITING=str(2 * given.battles + WARM_UP)) as site,
    ):
        site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        n = given.battles
        voters = json.loads(run(site, PREPARE, str(2 * n + WARM_UP), str(given.contestants)))
        site.commands["web"][-1] = str(given.web)
        for service in SERVICES:
            site.start(service)
        clients = Clients(site, given.clients)
        measure(site, clients, voters[:WARM_UP])
        steps = measure(site, clients, voters[WARM_UP : WARM_UP + n])
        alone = json.loads(run(site, SERVICE, " ".join(pk for pk, _ in voters[WARM_UP + n :])))
        print(f"{n} battles, {given.clients} clients, {given.web} web processes, {given.contestants} contestants,")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for step in steps:
            print(step)
        whole = n / sum(step.wall_s for step in steps)
        print(f"whole battles over REST: {whole:.0f} a second")
        for step, (wall_s, cpu_s) in zip(steps, alone.values(), strict=True):
            ratio = step.cpu_s["web"] / cpu_s
            alone_ms = 1000 * cpu_s / n
            print(f"{step.name} by the service: {n / wall_s:.0f} a second, {alone_ms:.2f} ms; ratio {ratio:.1f}")
        by_service = sum(cpu_s for _, cpu_s in alone.values())
        print(
            f"ratio of Python's processor time of whole battles: {sum(s.cpu_s['web'] for s in steps) / by_service:.1f}"
        )


if __name__ == "__main__":
    main()
