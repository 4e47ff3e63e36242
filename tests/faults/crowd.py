"""A site under load, and what must hold once the load has ended, whatever happened meanwhile.

- No acknowledged vote is lost or counted twice.
- Every acknowledged trace, answer and build of an index ends: done, or failed with a reason.
- The same idempotency key never makes two traces.
- A stream goes on after a reconnect, without a gap or a repetition.
- Every build of one corpus gives the same index.
- The log verifies.
"""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from benchmarks.production import MissingProgramError, Production, production
from tests.faults.builder import Builder
from tests.faults.clients import WORDS, Client, Reader, Tracer, Voter
from tests.requirements import unless_missing

logging.getLogger("httpx").setLevel(logging.WARNING)
ROOT = Path(__file__).resolve().parents[2]
SETTLE_S = 600.0
PROGRESS_S = 300.0
WORKERS = ("worker-trace", "worker-build", "worker-model", "worker-rank")
SERVICES = ("web", *WORKERS, "beat")
QUICK_ARENA = """
from arena.services.roster import add_contestant, add_provider
from arena.services.seasons import MAIN, open_season
season, provider = open_season(slug=MAIN, title="Arena"), add_provider(slug="fair", name="Fair")
for n in range(2, 6):
    about = {"slug": f"quick-{n}", "title": f"{n} tokens", "licence": "CC0-1.0", "licence_group": "open-source"}
    add_contestant(season=season, provider=provider, checkpoint="demo", max_tokens=n, **about)
"""


@contextmanager
def furnished_site(host: str = "127.0.0.1", **settings: str) -> Iterator[Production]:
    """Yield a production site with two corpora, the demonstration's checkpoint and an arena; no service runs yet.

    Its contestants say a few tokens, so that many battles come to their vote between one fault and the next.
    """
    # Not pytest's own folder, which PostgreSQL's user may not enter.
    temporary = tempfile.TemporaryDirectory(prefix="fairground-faults-", ignore_cleanup_errors=True)
    with (
        unless_missing("services", MissingProgramError),
        temporary as name,
        production(Path(name), host, FAIRGROUND_STALE_AFTER_S="5", **settings) as made,
    ):
        folder = made.folder
        corpus, words = folder / "fair.jsonl", folder / "words.jsonl"
        corpus.write_text(json.dumps({"id": "1", "text": " ".join(WORDS)}) + "\n")
        chance = random.Random(3)
        lines = (json.dumps({"text": " ".join(chance.choices(WORDS, k=300))}) for _ in range(1500))
        words.write_text("\n".join(lines) + "\n")
        about = ["--owner", "Fair", "--licence", "CC0-1.0"]
        made.manage("add_corpus", "fair", str(corpus), *about, "--title", "Fair")
        made.manage("add_corpus", "words", str(words), *about, "--title", "Words")
        made.manage("build_index", "fair")
        made.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        made.manage("shell", "-c", QUICK_ARENA)
        yield made


class Crowd:
    """Two clients that trace, two that read answers, three that vote and one that builds indexes."""

    def __init__(self, site: Production) -> None:
        self.site = site
        self.fell: Counter[str] = Counter()
        self.tracers = [Tracer(site.address, 1), Tracer(site.address, 2)]
        self.readers = [Reader(site.address, 3), Reader(site.address, 4)]
        self.voters = [Voter(site.address, seed) for seed in (5, 6, 8)]
        self.builder = Builder(site, "words", n_shards=3)
        self.clients: list[Client] = [*self.tracers, *self.readers, *self.voters, self.builder]

    def start(self) -> None:
        """Let them begin."""
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        """Let them end, and pass on what broke one of them."""
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(PROGRESS_S)
        assert not any(client.is_alive() for client in self.clients), "a client does not end"
        crashes = {type(client).__name__: client.crash for client in self.clients if client.crash}
        assert not crashes, "\n".join(f"{name}: {crash!r:.2000}" for name, crash in crashes.items())

    def acknowledged(self) -> dict[str, int]:
        """Return how much each kind of client was told so far."""
        return {
            "traces": sum(len(tracer.keys) for tracer in self.tracers),
            "answers": sum(len(reader.asked) for reader in self.readers),
            "votes": sum(len(voter.votes) for voter in self.voters),
            "builds": len(self.builder.asked),
        }

    def wait_for_more(self) -> None:
        """Wait until another trace, answer and vote was acknowledged; start what ended, as a supervisor does."""
        begin, deadline = self.acknowledged(), time.monotonic() + PROGRESS_S
        while any(self.acknowledged()[kind] <= begin[kind] for kind in ("traces", "answers", "votes")):
            assert time.monotonic() < deadline, f"nothing more since {begin}: {self.acknowledged()}"
            time.sleep(0.5)
            self.fell.update(self.site.revive())

    def assert_promises_hold(self) -> Counter[str]:
        """Wait until all that was acknowledged has ended; return how often it ended how."""
        locations = [at for tracer in self.tracers for at in tracer.keys.values()]
        asked = [*locations, *(at for reader in self.readers for at in reader.asked), *self.builder.asked]
        ended = wait_until_ended(self.site, asked)
        outcomes = Counter(job["status"] for job in ended.values())
        builds = Counter(ended[at]["status"] for at in self.builder.asked)
        n_resumed, n_refused = sum(r.n_resumed for r in self.readers), sum(c.n_refused for c in self.clients)
        print(f"ended by themselves while waited for {dict(self.fell)}")
        print(f"acknowledged {self.acknowledged()}; jobs {dict(outcomes)}; of these builds {dict(builds)}")
        print(f"reasons {dict(Counter(job['error'] for job in ended.values() if job['error']))}")
        print(f"streams resumed {n_resumed}; refused or cut {n_refused}")

        assert all(job["status"] == "done" or job["error"] for job in ended.values())
        assert outcomes["done"] > outcomes["failed"]
        assert len(set(locations)) == len(locations)
        for reader in self.readers:
            for location, text in reader.read.items():
                if ended[location]["status"] == "done":
                    assert text == ended[location]["text"]
        digests = {ended[at]["index"] for at in self.builder.asked if ended[at]["status"] == "done"}
        assert len(digests) == 1, f"builds of one corpus gave {digests}"
        votes = {battle: verdict for voter in self.voters for battle, verdict in voter.votes.items()}
        assert_votes_are_stored_once(self.site, votes)
        assert_log_verifies(self.site)
        return outcomes


def wait_until_ended(site: Production, asked: list[str]) -> dict[str, dict[str, str]]:
    """Return every job by its address once it has ended."""
    ended: dict[str, dict[str, str]] = {}
    deadline = time.monotonic() + SETTLE_S
    with httpx.Client(base_url=site.address, timeout=30) as http:
        while len(ended) < len(set(asked)) and time.monotonic() < deadline:
            for location in set(asked) - ended.keys():
                try:
                    answer = http.get(location)
                except httpx.TransportError:  # the machine is slow, or web is started again
                    break
                if answer.status_code >= 500:
                    break
                job = answer.raise_for_status().json()
                if job["status"] not in {"pending", "running"}:
                    ended[location] = job
            time.sleep(0.5)
            site.revive()
    left = set(asked) - ended.keys()
    assert not left, f"{len(left)} jobs never ended, such as {sorted(left)[0]}"
    return ended


def assert_votes_are_stored_once(site: Production, votes: dict[str, str]) -> None:
    """Compare acknowledged votes with the database's."""
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT v.battle_id::text, v.verdict, count(*) FROM arena_vote v "
            "LEFT JOIN arena_vote later ON later.supersedes_id = v.id WHERE later.id IS NULL GROUP BY 1, 2"
        ).fetchall()
    stored = {battle: (verdict, number) for battle, verdict, number in rows}
    assert votes
    for battle, verdict in votes.items():
        assert stored[battle] == (verdict, 1)


def assert_log_verifies(site: Production) -> None:
    """Export the log and check it as a stranger would."""
    folder = site.folder / "log-export"
    site.manage("export_log", str(folder))
    command = [sys.executable, "-m", "webapp.transparency.verify", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
