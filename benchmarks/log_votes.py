"""Votes acknowledged a second, each with its entry in the log, on PostgreSQL, against bare commits there.

    python -m benchmarks.log_votes [--votes 2000] [--processes 4]

PostgreSQL is its own, on loopback, with its default safety (fsync, synchronous_commit). Battles are drawn before
the clock starts. Each process casts votes one after another through `arena.services.votes.cast_vote`, the path of
page and interface, while the sequencer runs every second as beat runs it. Printed: votes a second until the last
was acknowledged, and until the last one's leaf stood under a signed checkpoint; processor time of a vote in Python
and in PostgreSQL; and the same processes committing one bare row at a time, the limit of this database and disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from benchmarks.production import ROOT, Production, production

WARM_UP = 20
SEQUENCE_EVERY_S = 1.0
DRAW = """
import sys
from arena.models import Season, Voter
from arena.services.draws import SaltedText, draw_battle
from arena.services.epochs import next_draw
from arena.services.seasons import rules_of
from django.db import transaction
from webapp.transparency.services import sequence_entries

n = int(sys.argv[1])
season = Season.objects.get(is_simulated=True)
voters = Voter.objects.bulk_create([Voter(is_simulated=True) for _ in range(n)])
while voters:
    sequence_entries()
    with transaction.atomic():
        epoch, first = next_draw(season)
        room = rules_of(epoch.policy).draws_per_epoch - first
        for draw_index in range(first, first + min(room, len(voters))):
            text = SaltedText.of("A prompt.")
            battle = draw_battle(
                epoch=epoch,
                draw_index=draw_index,
                voter=voters.pop(),
                prompt=text,
                nonce=draw_index.to_bytes(16, "big").hex(),
                pool_prompt=None,
            )
            print(battle.pk)
sequence_entries()
"""
VOTE = """
import sys, time
from arena.models import Battle
from arena.services.votes import cast_vote

battles = list(Battle.objects.select_related("voter").filter(pk__in=sys.argv[1].split()))
warm_up = int(sys.argv[2])
for battle in battles[:warm_up]:
    cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="a")
print("ready", flush=True)
sys.stdin.readline()
begin = time.process_time()
for number, battle in enumerate(battles[warm_up:]):
    cast_vote(battle_id=battle.pk, voter=battle.voter, verdict=("a", "b", "tie")[number % 3])
print(time.process_time() - begin)
"""
BARE = """
import sys
from django.db import connection

with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[1])):
        cursor.execute("INSERT INTO bare (value) VALUES (%s)", [number])
print(0)
"""
SETUP = "import os, django; os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'webapp.settings'); django.setup()\n"


def run_together(site: Production, script: str, arguments: list[list[str]]) -> tuple[float, float]:
    """Run a script once for each list of arguments, all from one moment on; return wall and processor seconds."""
    command = [sys.executable, "-c", SETUP + script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT, "env": site.environment}
    processes = [subprocess.Popen([*command, *own], **pipes) for own in arguments]  # type: ignore[call-overload]
    for process in processes:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("a voting process ended before it began")
    begin = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    with ThreadPoolExecutor(len(processes)) as pool:
        outputs = list(pool.map(lambda process: process.communicate()[0], processes))
    wall_s = time.perf_counter() - begin
    if any(process.returncode for process in processes):
        raise RuntimeError("a voting process failed")
    return wall_s, sum(map(float, outputs))


def sequence_until(site: Production, stop: threading.Event) -> None:
    """Sequence every second in a process of its own, and once more when told to stop."""
    script = (
        "import sys, time\nfrom webapp.transparency.services import sequence_entries\nprint('ready', flush=True)\n"
        f"import threading\nstop = threading.Event()\n"
        f"threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()\n"
        f"while not stop.wait({SEQUENCE_EVERY_S}):\n    sequence_entries()\nsequence_entries()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", SETUP + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=site.environment,
    )
    stop.wait()
    process.communicate("stop\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=4)
    arguments = parser.parse_args()
    # Not a private folder, which PostgreSQL's user may not enter.
    with (
        tempfile.TemporaryDirectory(prefix="fairground-votes-", ignore_cleanup_errors=True) as name,
        production(Path(name)) as site,
    ):
        site.manage("add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint"))
        site.manage("prepare_demo_arena", "--votes", "60")
        n = arguments.votes // arguments.processes
        drawn = subprocess.run(
            [sys.executable, "-c", SETUP + DRAW, str((n + WARM_UP) * arguments.processes)],
            cwd=ROOT,
            env=site.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.split()
        parts = [" ".join(drawn[i :: arguments.processes]) for i in range(arguments.processes)]
        stop = threading.Event()
        sequencer = threading.Thread(target=sequence_until, args=(site, stop))
        sequencer.start()
        before = site.processor_s("postgres")
        wall_s, python_s = run_together(site, VOTE, [[part, str(WARM_UP)] for part in parts])
        database_s = site.processor_s("postgres") - before
        acknowledged = time.perf_counter()
        stop.set()
        sequencer.join()
        sequenced_s = wall_s + time.perf_counter() - acknowledged
        with psycopg.connect(site.environment["DATABASE_URL"], autocommit=True) as connection:
            ((waiting, kept),) = connection.execute(
                "SELECT (SELECT count(*) FROM transparency_entry WHERE index IS NULL), count(*) FROM arena_vote"
            ).fetchall()
            connection.execute("CREATE TABLE bare (id bigserial PRIMARY KEY, value int)")
        bare_s, _ = run_together(site, BARE, [[str(n)]] * arguments.processes)
        total = n * arguments.processes
        load = os.getloadavg()[0]
        python_ms, database_ms = 1000 * python_s / total, 1000 * database_s / total
        print(f"{total} votes by {arguments.processes} processes on {os.cpu_count()} cores, load {load:.1f}")
        print(f"acknowledged: {total / wall_s:.0f} a second; in a signed tree: {total / sequenced_s:.0f} a second")
        print(f"processor time of a vote: {python_ms:.2f} ms in Python, {database_ms:.2f} ms in PostgreSQL")
        print(f"bare commits: {total / bare_s:.0f} a second; ratio {bare_s / wall_s:.2f}")
        print(f"entries without a leaf afterwards: {waiting}; votes stored, with those before: {kept}")


if __name__ == "__main__":
    main()
