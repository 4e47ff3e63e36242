"""Time of the leaderboard's page, its file and its JSON with a million votes among 200 contestants.

    python -m benchmarks.leaderboard [--votes 1000000] [--contestants 200] [--requests 20]

The site is a database of its own in a temporary folder, with as many rows of battles and votes as the
leaderboard counts; requests go through all middleware in this process. Prints milliseconds and the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT_MS = 100.0


def main() -> None:
    """Prepare a site, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--contestants", type=int, default=200)
    parser.add_argument("--requests", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairground-benchmark-") as folder:
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {"FAIRGROUND_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        import django

        django.setup()
        n_rows = prepare(Path(folder), given.votes, given.contestants)
        print(json.dumps(measure(given.requests, n_rows), indent=1))


def prepare(folder: Path, n_votes: int, n_contestants: int) -> dict[str, int]:
    """Make contestants, battles, votes and the leaderboard that counts them; return the numbers of rows."""
    import numpy as np
    from django.core.management import call_command
    from django.db import connection, transaction

    from arena.models import Contestant, Leaderboard, Vote, Voter
    from arena.rating import VoteTable, rate
    from arena.rating.verdicts import VERDICTS
    from arena.services import boards, roster, seasons
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
    sequence_entries()
    ids = sorted(str(pk) for pk in Contestant.objects.values_list("pk", flat=True))
    voter = Voter.objects.create()
    source = np.random.default_rng(1)
    strengths = source.normal(0, 0.6, n_contestants)
    a = source.integers(0, n_contestants, n_votes)
    b = (a + source.integers(1, n_contestants, n_votes)) % n_contestants
    p = 1 / (1 + np.exp(strengths[b] - strengths[a]))
    won = source.random(n_votes) < p
    verdict = np.where(source.random(n_votes) < 0.2, 2, np.where(won, 0, 1))
    words = ["a", "b", "tie"]
    codes = np.array([list(VERDICTS).index(next(v for v in VERDICTS if v.value == w)) for w in words], dtype=np.int8)
    table = VoteTable(tuple(ids), a, b, codes[verdict], voter=source.integers(0, 5000, n_votes))
    policy = seasons.current_policy(season)
    result = rate(table, seasons.rules_of(policy).rating_options()).to_dict()
    rows = [
        boards.VoteRow(n, "", ids[i], ids[j], words[v], "1/1", "")
        for n, (i, j, v) in enumerate(zip(a.tolist(), b.tolist(), verdict.tolist(), strict=True))
    ]
    with transaction.atomic():
        entry = append_entry(kind="release", body={"season": "main", "tree_size": 0, "files": {}})
    sequence_entries()
    Leaderboard.objects.create(
        season=season,
        slice_key=boards.Slice().key,
        parameters={"slice": boards.Slice().to_json()},
        input_digest="0" * 64,
        tree_size=n_votes,
        policy=policy,
        n_votes=n_votes,
        result=result,
        pairs=boards.count_pairs(rows),
        result_digest="0" * 64,
        entry=entry,
    )
    with connection.cursor() as cursor:
        _fill(
            cursor, season.pk, voter.pk.hex, [i.replace("-", "") for i in ids], a.tolist(), b.tolist(), words, verdict
        )
    return {"votes": Vote.objects.count(), "contestants": n_contestants}


def _fill(
    cursor: Any, season: int, voter: str, ids: list[str], a: list[int], b: list[int], words: list[str], verdict: Any
) -> None:
    """Write the rows of battles and votes past the guards, which this throwaway database no longer needs."""
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in cursor.fetchall():
        cursor.execute(f'DROP TRIGGER "{name}"')
    battle = (
        "INSERT INTO arena_battle (id, season_id, epoch_id, draw_index, nonce, voter_id, contestant_a_id, "
        "contestant_b_id, is_swapped, p_numerator, p_denominator, is_pre_release, category, discipline, language, "
        "receipt, entry_id, created_at) VALUES (%s, %s, 1, %s, 'ab', %s, %s, %s, 0, '1', '190', 0, %s, '', '', '', "
        "%s, '2026-01-01 00:00:00')"
    )
    vote = (
        "INSERT INTO arena_vote (id, battle_id, voter_id, verdict, latency_ms, entry_id, created_at) "
        "VALUES (%s, %s, %s, %s, 0, %s, '2026-01-01 00:00:00')"
    )
    categories = ["numerics", "web", "general", ""]
    step = 50_000
    for begin in range(0, len(a), step):
        numbers = range(begin, min(begin + step, len(a)))
        cursor.executemany(
            battle,
            [(f"{n:032x}", season, n, voter, ids[a[n]], ids[b[n]], categories[n % 4], f"{n:032x}") for n in numbers],
        )
        cursor.executemany(
            vote, [(f"{n:032x}", f"{n:032x}", voter, words[verdict[n]], f"{len(a) + n:032x}") for n in numbers]
        )


def measure(n_requests: int, n_rows: dict[str, int]) -> dict[str, Any]:
    """Return the median milliseconds of each address, the first request apart."""
    from django.conf import settings
    from django.test import Client

    settings.ALLOWED_HOSTS = ["testserver"]
    figures: dict[str, Any] = {"load_average": os.getloadavg()[0], "rows": n_rows, "limit_ms": LIMIT_MS}
    for path in ("/arena/leaderboard/", "/arena/leaderboard.csv", "/api/v1/arena/leaderboard/"):
        taken = []
        for _ in range(n_requests + 1):
            begin = time.perf_counter()
            answer = Client().get(path)
            taken.append((time.perf_counter() - begin) * 1000)
            if answer.status_code != 200:
                raise RuntimeError(f"{path} answered {answer.status_code}")
        figures[path] = {"median_ms": round(statistics.median(taken[1:]), 1), "first_ms": round(taken[0], 1)}
    return figures


if __name__ == "__main__":
    main()
