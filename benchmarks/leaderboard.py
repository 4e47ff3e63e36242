"""Time of the arena with a million votes among 200 contestants: publication of the leaderboard, and the pages
leaderboard, its file and its JSON, transparency report, self-audit, voter quality.

    python -m benchmarks.leaderboard [--votes 1000000] [--contestants 200] [--requests 20] [--cold] [--postgres]

The site is a database of its own (SQLite, or PostgreSQL with Redis) in a temporary folder with everything that so many
draws leave: log entries, epochs, battles, votes, closes. First the leaderboard is published as the rank worker does,
from nothing and then with a few more votes each time, against reading all votes anew. Then the worker makes its
pages, unless --cold, and requests go through all middleware in this process. Prints wall and processor milliseconds
of each, the first request apart, and the limit. Processor time is this process's: PostgreSQL's own is in the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.production import production

LIMIT_MS = 100.0
N_NEW = 500


def main() -> None:
    """Prepare a site, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--contestants", type=int, default=200)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--cold", action="store_true", help="ask before the rank worker has made the pages")
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL and a Redis of its own, not SQLite")
    given = parser.parse_args()
    with ExitStack() as stack:
        name = tempfile.TemporaryDirectory(prefix="fairground-benchmark-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(name))
        site = stack.enter_context(production(folder)) if given.postgres else None
        for setting in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(setting, None)
        os.environ |= {"FAIRGROUND_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        os.environ |= site.environment if site else {}
        import django
        from django.db import connections

        django.setup()
        made = prepare(folder, given.votes - given.votes % DRAWS_PER_EPOCH, given.contestants)
        print(json.dumps(measure(made, given.requests, is_kept=not given.cold), indent=1))
        connections.close_all()


@dataclass(frozen=True)
class Season:
    """The season that was made, and how further votes of it are drawn."""

    pk: int
    policy: int
    ids: list[str]
    n_votes: int

    def fill(self, begin: int, end: int) -> None:
        """Write draws, votes and closes from one number to another."""
        import numpy as np

        n, k = end - begin, len(self.ids)
        strengths = np.random.default_rng(1).normal(0, 0.6, k)
        source = np.random.default_rng([2, begin])
        a = source.integers(0, k, n)
        b = (a + source.integers(1, k, n)) % k
        won = source.random(n) < 1 / (1 + np.exp(strengths[b] - strengths[a]))
        verdict = np.where(source.random(n) < 0.2, 2, np.where(won, 0, 1))
        drawn = zip(range(begin, end), a.tolist(), b.tolist(), verdict.tolist(), strict=True)
        _fill(self.pk, self.policy, min(N_VOTERS, self.n_votes), self.ids, list(drawn))


def prepare(folder: Path, n_votes: int, n_contestants: int) -> Season:
    """Make contestants, battles and votes."""
    from django.core.management import call_command
    from django.db import transaction

    from arena.models import Contestant
    from arena.services import roster, seasons
    from webapp.playground.models import Checkpoint
    from webapp.transparency.services import append_entry, sequence_entries

    call_command("migrate", verbosity=0)
    season = seasons.open_season(slug="main", title="Arena")
    provider = roster.add_provider(slug="lab", name="A lab")
    Checkpoint.objects.create(slug="m", source=str(folder), digest="0" * 64, context_length=64)
    for number in range(n_contestants):
        roster.add_contestant(
            season=season,
            provider=provider,
            slug=f"c-{number}",
            title=f"Contestant {number}",
            licence_group="open-source",
            checkpoint="m",
            max_tokens=1 + number,
        )
    with transaction.atomic():
        append_entry(kind="release", body={"season": "main", "tree_size": 0, "files": {}})
    sequence_entries()
    ids = sorted(str(pk) for pk in Contestant.objects.values_list("pk", flat=True))
    made = Season(season.pk, seasons.current_policy(season).pk, ids, n_votes)
    made.fill(0, n_votes)
    return made


DRAWS_PER_EPOCH = 500  # as the rules have it
N_VOTERS = 5_000
#: What each table gets of the drawn rows d (n, a, b, verdict) with the sides' ids in s. Log entries of draw n are
#: 3 n, 3 n + 1 and 3 n + 2 after those that are there: its draw, vote and close.
ROWS = {
    'transparency_entry (id, kind, at, leaf, leaf_hash, "index")': """
        SELECT uid(3 * n + k), kind, {now}, '{}', zeroblob(32), {base} + 3 * n + k
        FROM drawn, (SELECT 0 AS k, 'draw' AS kind UNION SELECT 1, 'vote' UNION SELECT 2, 'close') AS kinds""",
    "arena_voter (id, salt, is_simulated, community, created_at)": """
        SELECT uid(n), wide(n), false, '', {now} FROM drawn WHERE n < {voters}""",
    "arena_epoch (season_id, number, policy_id, seed, commitment, table_digest, roster_hash, tree_size, n_votes, "
    'created_at, entry_id, "table")': """
        SELECT {season}, n / {draws}, {policy}, '', wide(n), '', '', 0, n, {now}, uid(1000000000 + n), '{table}'
        FROM drawn WHERE n % {draws} = 0""",
    "arena_battle (id, season_id, epoch_id, draw_index, nonce, voter_id, contestant_a_id, contestant_b_id, "
    "is_swapped, p_numerator, p_denominator, is_pre_release, category, discipline, language, receipt, entry_id, "
    "pool_prompt_id, created_at)": """
        SELECT uid(d.n), {season}, e.id, d.n % {draws}, 'ab', uid(d.n * 7919 % {voters}), sa.id,
        sb.id, false, '1', '190', false, CASE d.n % 4 WHEN 0 THEN 'numerics' WHEN 1 THEN 'web' ELSE '' END, '', '', '',
        uid(3 * d.n), CASE WHEN d.n % 5 = 0 THEN 1 + d.n % 1000 END, {now}
        FROM drawn AS d JOIN side AS sa ON sa.n = d.a JOIN side AS sb ON sb.n = d.b
        JOIN arena_epoch AS e ON e.season_id = {season} AND e.number = d.n / {draws}""",
    "arena_vote (id, battle_id, voter_id, verdict, latency_ms, entry_id, created_at)": """
        SELECT uid(n), uid(n), uid(n * 7919 % {voters}),
        CASE verdict WHEN 0 THEN 'a' WHEN 1 THEN 'b' ELSE 'tie' END, 0, uid(3 * n + 1), {now} FROM drawn""",
    "arena_battleclose (battle_id, kind, reason, salt, entry_id, created_at)": """
        SELECT uid(n), 'vote', '', '', uid(3 * n + 2), {now} FROM drawn""",
    'arena_poolprompt (id, "key", text, category, discipline, language, reference, created_at)': """
        SELECT 1 + n, wide(n), 'A prompt.', 'numerics', '', '', '', {now} FROM drawn WHERE n < 1000""",
    "transparency_checkpoint (number, tree_size, root_hash, note, created_at)": """
        SELECT (SELECT max(number) + 1 FROM transparency_checkpoint), 1 + max("index"), zeroblob(32), '', {now}
        FROM transparency_entry""",
}
NOW = {"sqlite": "'2026-01-01 00:00:00'", "postgresql": "timestamptz '2026-01-01 00:00:00+00'"}
#: Ids and digests that numbers make.
FUNCTIONS = """
    CREATE OR REPLACE FUNCTION public.uid(bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
        $$ SELECT lpad(to_hex($1), 32, '0')::uuid $$;
    CREATE OR REPLACE FUNCTION public.wide(bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT lpad(to_hex($1), 64, '0') $$;
    CREATE OR REPLACE FUNCTION public.zeroblob(int) RETURNS bytea LANGUAGE sql IMMUTABLE AS
        $$ SELECT decode(repeat('00', $1), 'hex') $$;
"""


def _drop_guards(cursor: Any, vendor: str) -> None:
    """Make ready to write past the guards, which this throwaway database no longer needs."""
    if vendor == "postgresql":
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(FUNCTIONS)
        return
    cursor.connection.create_function("uid", 1, lambda n: f"{n:032x}", deterministic=True)
    cursor.connection.create_function("wide", 1, lambda n: f"{n:064x}", deterministic=True)
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in cursor.fetchall():
        cursor.execute(f'DROP TRIGGER "{name}"')


def _fill(season: int, policy: int, n_voters: int, ids: list[str], drawn: list[tuple[int, ...]]) -> None:
    """Write everything that draws leave; they go on where those before ended, at the beginning of an epoch."""
    from django.db import connection

    from arena.sampling import uniform_weights

    vendor = connection.vendor
    table = uniform_weights(ids).to_json()
    with connection.cursor() as cursor:
        _drop_guards(cursor, vendor)
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS side (n INTEGER PRIMARY KEY, id {})".format(
                "uuid" if vendor == "postgresql" else "TEXT"
            )
        )
        cursor.execute("DELETE FROM side")
        cursor.executemany(
            "INSERT INTO side VALUES (%s, %s)",
            [(n, i if vendor == "postgresql" else i.replace("-", "")) for n, i in enumerate(ids)],
        )
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS drawn (n BIGINT PRIMARY KEY, a INTEGER, b INTEGER, verdict INTEGER)"
        )
        cursor.execute("DELETE FROM drawn")
        cursor.executemany("INSERT INTO drawn VALUES (%s, %s, %s, %s)", drawn)
        cursor.execute('SELECT (SELECT min(n) FROM drawn), (SELECT max("index") FROM transparency_entry)')
        first, newest = cursor.fetchone()
        values = {
            "season": season,
            "policy": policy,
            "voters": n_voters,
            "draws": DRAWS_PER_EPOCH,
            "table": table,
            "base": newest + 1 - 3 * first,
            "now": NOW[vendor],
        }
        for columns, rows in ROWS.items():
            for name, value in values.items():
                rows = rows.replace(f"{{{name}}}", str(value))
            cursor.execute(f"INSERT INTO {columns} {rows}", None)
        if vendor == "postgresql":
            cursor.execute("SET session_replication_role = DEFAULT")
            cursor.execute("ANALYZE")


PATHS = (
    "/arena/leaderboard/",
    "/arena/leaderboard.csv",
    "/api/v1/arena/leaderboard/",
    "/arena/transparency/",
    "/api/v1/arena/transparency/",
    "/arena/transparency/audit/",
    "/arena/quality/",
)


def measure(made: Season, n_requests: int, *, is_kept: bool) -> dict[str, Any]:
    """Return milliseconds of publication, and of each address: the first request's, then medians."""
    from django.conf import settings
    from django.db import connection
    from django.test import Client

    settings.ALLOWED_HOSTS = ["testserver"]
    figures: dict[str, Any] = {
        "load_average": os.getloadavg()[0],
        "database": connection.vendor,
        "votes": made.n_votes,
        "contestants": len(made.ids),
        "publication": _publications(made),
        "limit_ms": LIMIT_MS,
    }
    if is_kept:
        figures["made_beforehand"] = _timed(_keep)
    for path in PATHS:
        taken = [_timed(partial(_get, Client(), path)) for _ in range(n_requests + 1)]
        figures[path] = {
            "median_ms": statistics.median(one["ms"] for one in taken[1:]),
            "median_cpu_ms": statistics.median(one["cpu_ms"] for one in taken[1:]),
            "first_ms": taken[0]["ms"],
            "first_cpu_ms": taken[0]["cpu_ms"],
        }
    return figures


def _publications(made: Season) -> dict[str, Any]:
    """Publish as the rank worker does: from nothing, then with each time N_NEW votes more; and the slow way once."""
    from arena import models
    from arena.services import boards

    season = models.Season.objects.get(pk=made.pk)

    def publish() -> None:
        boards.publish_leaderboard(season)

    first = _timed(publish)
    later = []
    for begin in range(made.n_votes, made.n_votes + 3 * N_NEW, N_NEW):
        made.fill(begin, begin + N_NEW)
        later.append(_timed(publish))
    slow = _timed(lambda: _read_all(season))
    figures = {name: statistics.median(one[name] for one in later) for name in ("ms", "cpu_ms")}
    ratio = round(slow["cpu_ms"] / figures["cpu_ms"], 1)
    return {
        "first": first,
        f"with {N_NEW} more": figures,
        "all votes read anew": slow,
        "ratio of processor time": ratio,
    }


def _read_all(season: Any) -> None:
    """Do what costs most in the slow way: read all votes from the tables, hash their lines, make the table to rate."""
    from arena.rating import VoteTable
    from arena.services.epochs import tree_size
    from arena.services.slices import Slice
    from arena.services.vote_rows import input_digest, votes_at

    votes = votes_at(season, tree_size(), Slice())
    input_digest(votes)
    VoteTable.from_columns(
        [v.side_a for v in votes],
        [v.side_b for v in votes],
        [v.verdict for v in votes],
        p_pair=[int(p) / int(q) for p, q in (v.probability.split("/") for v in votes)],
        voter=[v.voter for v in votes],
    )


def _get(client: Any, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answered {answer.status_code}")


def _keep() -> None:
    """Do what the rank worker does after it has published."""
    from arena.kept_pages import keep_pages

    keep_pages()


def _timed(what: Callable[[], object]) -> dict[str, float]:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    what()
    return {
        "ms": round(1000 * (time.perf_counter() - begin), 1),
        "cpu_ms": round(1000 * (time.process_time() - begin_cpu), 1),
    }


if __name__ == "__main__":
    main()
