"""Every service is killed at random moments under load, and the site keeps its promises (those of `crowd`).

Forty seconds here, and each service once at least; FAIRGROUND_TEST_CHAOS_S=600 for the long run of docs/reliability.md.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.production import Production
from tests.faults.crowd import SERVICES, Crowd, furnished_site

DURATION_S = float(os.environ.get("FAIRGROUND_TEST_CHAOS_S", "40"))
SEED = int(os.environ.get("FAIRGROUND_TEST_CHAOS_SEED", "1"))
VICTIMS = (*SERVICES, "redis", "postgres")


@pytest.fixture
def site() -> Iterator[Production]:
    """Start a production site, every service once."""
    with furnished_site() as made:
        for name in SERVICES:
            made.start(name)
        yield made


def kill_and_restart(site: Production, duration_s: float, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Kill one service after another with SIGKILL and start it again; start what ended by itself, as a supervisor does.

    Return how often each was killed, and how often each ended by itself.
    """
    ended: Counter[str] = Counter()
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    order = list(VICTIMS)
    end = time.monotonic() + duration_s
    while time.monotonic() < end or len(killed) < len(VICTIMS):
        ended.update(site.revive())
        if not order:
            order = list(VICTIMS)
        victim = order.pop(chance.randrange(len(order)))
        time.sleep(chance.uniform(0.5, 3.0))
        site.kill(victim)
        killed[victim] += 1
        time.sleep(chance.uniform(0.0, 1.0))
        site.start(victim)
    time.sleep(2)
    ended.update(site.revive())
    return killed, ended


@pytest.mark.postgres
@pytest.mark.redis
def test_promises_hold_while_everything_is_killed(site: Production) -> None:
    crowd = Crowd(site)
    crowd.start()
    killed, fell = kill_and_restart(site, DURATION_S, SEED)
    crowd.wait_for_more()
    crowd.stop()
    print(f"killed {dict(killed)}; ended by themselves {dict(fell)}")
    crowd.assert_promises_hold()
