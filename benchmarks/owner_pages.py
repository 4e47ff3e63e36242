"""Time of an owner's page and of its figures with 100,000 answers, and what an answer's end costs.

    python -m benchmarks.owner_pages [--answers 100000] [--requests 20]

The site is a database of its own in a temporary folder; requests go through all middleware in this process.
Prints milliseconds with 90 days of figures and no answer stored, with all answers stored, and their ratio; the
time of the same figures added up from the stored answers; and what adding one answer to its day takes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

SLUGS = ("public", "web", "numerics", "learning", "symbolic")
N_DAYS = 90
N_TIMED = 200


def main() -> None:
    """Prepare a site, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairground-benchmark-") as folder:
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {"FAIRGROUND_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        import django

        django.setup()
        print(json.dumps(measure(given.answers, given.requests), indent=1))


def measure(n_answers: int, n_requests: int) -> dict[str, Any]:
    """Return what was measured."""
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    from webapp.identifiers import slug_of_name
    from webapp.playground.models import Checkpoint, Expert

    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    checkpoint = Checkpoint.objects.create(slug="m", digest="0" * 64, context_length=64)
    Expert.objects.bulk_create(
        Expert(checkpoint=checkpoint, position=n, slug=s, title=s, owner=f"{s} owner") for n, s in enumerate(SLUGS)
    )
    client, address = _operator(Client()), slug_of_name("web owner")
    paths = {"page": f"/owners/{address}/", "days": f"/api/v1/owners/{address}/days/?page_size=200"}
    _fill_days(checkpoint, n_answers)
    empty = {name: _milliseconds(lambda path=path: _get(client, path), n_requests) for name, path in paths.items()}
    last = _store(checkpoint, n_answers)
    full = {name: _milliseconds(lambda path=path: _get(client, path), n_requests) for name, path in paths.items()}
    return {
        "answers": n_answers,
        "ms_without_answers": empty,
        "ms_with_all": full,
        "ratio": {name: round(full[name] / empty[name], 2) for name in paths},
        "ms_added_up_from_answers": _milliseconds(lambda: _add_up(checkpoint), 1),
        "ms_to_add_one_answer": _milliseconds_to_add(last),
    }


def _operator(client: Any) -> Any:
    from django.contrib.auth.models import User

    client.force_login(User.objects.create_superuser("curator", "curator@example.org", "x"))
    return client


def _get(client: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200, answer.status_code


def _milliseconds(work: Callable[[], object], n: int) -> float:
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(times), 1)


def _store(checkpoint: Any, n_answers: int) -> list[Any]:
    """Store answers with random masks over `N_DAYS` days; return the last `N_TIMED`."""
    from webapp.playground.models import Generation

    source, now = random.Random(1), datetime.now(UTC)
    made: list[Generation] = []
    for begin in range(0, n_answers, 1000):
        made = []
        for _ in range(min(1000, n_answers - begin)):
            experts = [slug for slug in SLUGS if slug == "public" or source.random() < 0.7]
            cuts = [source.random() for _ in experts]
            made.append(
                Generation(
                    checkpoint=checkpoint,
                    checkpoint_digest=checkpoint.digest,
                    prompt="def mean(values):",
                    text="word " * 64,
                    token_ids=list(range(64)),
                    pieces=["word "] * 64,
                    experts=experts,
                    routing_shares={s: round(c / sum(cuts), 6) for s, c in zip(experts, cuts, strict=True)},
                    max_tokens=64,
                    temperature=0.7,
                    top_p=0.95,
                    seed=1,
                    status="done",
                    finished_at=now - timedelta(days=source.randrange(N_DAYS), seconds=1),
                )
            )
        Generation.objects.bulk_create(made)
    return made[-N_TIMED:]


def _fill_days(checkpoint: Any, n_answers: int) -> None:
    """Write a row for each expert and day, as that many answers would."""
    from webapp.playground.models import ExpertDay

    today, n = datetime.now(UTC).date(), n_answers // N_DAYS
    ExpertDay.objects.bulk_create(
        ExpertDay(expert=expert, day=today - timedelta(days=day), n_answers=n, n_tokens=64 * n, weight=13.0 * n)
        for expert in checkpoint.experts.all()
        for day in range(N_DAYS)
    )


def _milliseconds_to_add(answers: list[Any]) -> float:
    """Return the median time in which one answer is added to its day, in a transaction of its own."""
    from django.db import transaction

    from webapp.playground.expert_days import add_answer

    waiting = iter(answers)

    def add() -> None:
        with transaction.atomic():
            add_answer(next(waiting))

    return _milliseconds(add, len(answers))


def _add_up(checkpoint: Any) -> dict[tuple[str, Any], float]:
    """Return weight by expert and day from the stored answers: what the page would need without its rows."""
    from webapp.playground.models import Generation

    totals: dict[tuple[str, Any], float] = {}
    rows = Generation.objects.filter(checkpoint=checkpoint).values_list("finished_at", "routing_shares", "token_ids")
    for finished_at, shares, token_ids in rows.iterator():
        for slug, share in shares.items():
            key = (slug, finished_at.date())
            totals[key] = totals.get(key, 0.0) + share * len(token_ids)
    return totals


if __name__ == "__main__":
    main()
