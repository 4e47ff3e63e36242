"""An operator who builds a corpus's index again and again while things break."""

from __future__ import annotations

import subprocess
import time

from benchmarks.production import Production
from tests.faults.clients import Client

REST_S = 5.0


class Builder(Client):
    """Starts a build on the workers, waits until it has ended, and starts the next one.

    `asked` are the addresses of builds whose command ended well: those must end too.
    """

    def __init__(self, site: Production, slug: str, *, n_shards: int) -> None:
        super().__init__(site.address, seed=7)
        self.site, self.slug, self.n_shards = site, slug, n_shards
        self.asked: list[str] = []

    def act(self) -> None:
        try:
            options = ["--shards", str(self.n_shards), "--workers", "--no-wait"]
            build = self.site.manage("build_index", self.slug, *options, timeout_s=300).strip()
        except (RuntimeError, subprocess.TimeoutExpired):  # the database or Redis is away
            self.n_refused += 1
            time.sleep(0.5)
            return
        location = f"/api/v1/builds/{build}/"
        self.asked.append(location)
        while not self.stopping.is_set():
            answer = self.persist(lambda: self.http.get(location))
            if answer is None or answer.raise_for_status().json()["status"] not in {"pending", "running"}:
                break
            time.sleep(0.3)
        self.stopping.wait(REST_S)
