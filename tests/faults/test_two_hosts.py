"""Web, database and Redis on one host, every worker on another; the link between them is cut and restored under load.

The promises are those of `crowd`. While the link is down the web host goes on answering and accepting. Where the
link comes back nothing is started by hand: what ended meanwhile, a supervisor starts again.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.production import Production
from tests.conftest import REQUIRED
from tests.faults.crowd import WORKERS, Crowd, furnished_site
from tests.faults.two_hosts import End, Link, NoNamespacesError, second_host

#: Longer than a retransmission; longer than Redis clients wait and than a job without a sign of life keeps its worker.
CUTS: tuple[tuple[End, float], ...] = (("here", 3.0), ("here", 12.0), ("there", 3.0), ("there", 12.0))
BETWEEN_S = 6.0


@pytest.fixture
def link() -> Iterator[Link]:
    try:
        with second_host() as made:
            yield made
    except NoNamespacesError as error:
        if "namespaces" in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(f"network namespaces are not permitted here: {error}")


@pytest.fixture
def site(link: Link) -> Iterator[Production]:
    """Start a production site over two hosts."""
    with furnished_site(link.address) as made:
        for name in WORKERS:
            made.commands[name] = [*link.inside, *made.commands[name]]
        for name in ("web", "beat", *WORKERS):
            made.start(name)
        yield made


def assert_workers_are_elsewhere(site: Production, link: Link) -> None:
    inside = subprocess.run(["ip", "netns", "pids", link.namespace], capture_output=True, text=True, check=True)
    processes = {int(word) for word in inside.stdout.split()}
    assert all((site.running[name].pid in processes) == (name in WORKERS) for name in site.running)


@pytest.mark.postgres
@pytest.mark.redis
def test_promises_hold_while_the_link_to_the_workers_is_cut(site: Production, link: Link) -> None:
    assert_workers_are_elsewhere(site, link)
    crowd = Crowd(site)
    crowd.start()
    crowd.wait_for_more()
    fell: Counter[str] = Counter()
    for end, seconds in CUTS:
        time.sleep(BETWEEN_S)
        before = crowd.acknowledged()["traces"]
        link.cut(end)
        time.sleep(seconds)
        with httpx.Client(base_url=site.address, timeout=60) as http:
            assert http.get("/arena/").status_code == 200
            assert http.get("/health/ready").status_code == 200
        deadline = time.monotonic() + 60  # on a slow machine the cut lasts longer
        while crowd.acknowledged()["traces"] <= before:
            assert time.monotonic() < deadline, "the web host takes no more work"
            time.sleep(0.05)
        link.restore(end)
        fell.update(site.revive())
    time.sleep(BETWEEN_S)
    fell.update(site.revive())
    crowd.wait_for_more()
    crowd.stop()
    print(f"cut {CUTS}; ended by themselves {dict(fell)}")
    crowd.assert_promises_hold()
