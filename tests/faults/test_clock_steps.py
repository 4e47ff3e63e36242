"""The clock of the whole site steps back by an hour under load, and forward again, with Redis and PostgreSQL apart.

The promises are those of `crowd`. While the clock is back, a worker of each kind is killed with its jobs in hand,
whose last sign of life then lies ahead; the site goes on taking and ending work at either time, and the log goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import psycopg
import pytest

from benchmarks.production import Production
from tests.faults.crowd import SERVICES, WORKERS, Crowd, furnished_site
from tests.faults.site_clock import SiteClock

HOUR_S = 3600
STALE_AFTER_S = 5.0


@pytest.fixture
def site() -> Iterator[Production]:
    """Yield a site whose databases run and keep the true time; no service runs yet."""
    with furnished_site() as made:
        yield made


def steps_of(site: Production) -> float:
    """Return by how many seconds the clock of web is ahead of the true one."""
    answer = httpx.get(f"{site.address}/health/live", timeout=60)
    return (parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)).total_seconds()


def n_sequenced(site: Production) -> int:
    """Return how many log entries have their place under a signed checkpoint."""
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT coalesce(max(tree_size), 0) FROM transparency_checkpoint").fetchone()
    assert row is not None
    return int(row[0])


def go_on(site: Production, crowd: Crowd, step_s: int) -> None:
    """Wait until work of every kind was taken and the log has grown, all by a clock that is `step_s` ahead."""
    assert abs(steps_of(site) - step_s) < 60
    before = n_sequenced(site)
    crowd.wait_for_more()
    deadline = time.monotonic() + 180
    while n_sequenced(site) <= before:
        assert time.monotonic() < deadline, "no log entry gets its place"
        time.sleep(0.2)


@pytest.mark.postgres
@pytest.mark.redis
def test_promises_hold_while_the_clock_of_the_site_steps(site: Production) -> None:
    clock = SiteClock(site.folder / "clock")
    begin = time.monotonic()
    site.environment |= clock.environment
    for name in SERVICES:
        site.start(name)
    crowd = Crowd(site)
    crowd.start()
    go_on(site, crowd, 0)
    for name in WORKERS:
        site.kill(name)
    clock.set(-HOUR_S)
    for name in WORKERS:
        site.start(name)
    go_on(site, crowd, -HOUR_S)
    clock.set(0)
    time.sleep(STALE_AFTER_S)
    go_on(site, crowd, 0)
    crowd.stop()
    assert not crowd.fell, f"ended by themselves: {dict(crowd.fell)}"
    print(f"load for {time.monotonic() - begin:.0f} s")
    crowd.assert_promises_hold()
