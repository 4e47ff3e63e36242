"""`manage.py demo` in an empty folder: a traced answer is printed, the arena is filled, the doctor is content."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from arena.services.seasons import MAIN, SIMULATED
from tests.e2e.conftest import ROOT, free_port
from webapp.demo.arena import CONTESTANTS

N_VOTES = 60


def test_demo_fills_the_arena_and_the_doctor_says_ok_on_every_line(tmp_path: Path) -> None:
    """As `make demo` runs it, but for one of the five corpora and fewer simulated votes."""
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    environment["FAIRGROUND_DATA_DIR"] = str(tmp_path / "data")
    port, printed, errors = str(free_port()), tmp_path / "printed", tmp_path / "errors"
    address = f"http://127.0.0.1:{port}"
    command = ["demo", "--only", "numerics", "--votes", str(N_VOTES), "--port", port]
    with printed.open("wb") as out, errors.open("wb") as err:
        demo = subprocess.Popen(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, stdout=out, stderr=err
        )
    try:
        wait_until_served(address, demo, errors)
        assert "Prompt: def numpy.linalg.solve(a, b)" in printed.read_text()
        with httpx.Client(base_url=address, timeout=60) as http:
            assert_arena_is_filled(http)
        doctor = subprocess.run(
            [sys.executable, "manage.py", "doctor", "--format", "json"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        findings = json.loads(doctor.stdout)
        assert [finding for finding in findings if finding["level"] != "ok"] == []
        assert {"database", "migrations", "index numerics", "checkpoint demo"} <= {
            finding["check"] for finding in findings
        }
        demo.send_signal(signal.SIGINT)
        assert demo.wait(180) == 0, errors.read_text()
    finally:
        demo.kill()
        demo.wait()


def wait_until_served(address: str, demo: subprocess.Popen[bytes], errors: Path) -> None:
    deadline = time.monotonic() + 300
    while True:
        assert demo.poll() is None, errors.read_text()
        try:
            httpx.get(f"{address}/health/live", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.1)


def assert_arena_is_filled(http: httpx.Client) -> None:
    """Both seasons have the contestants, and the simulated one a published board of all its votes, marked as such."""

    def read(path: str, **query: str) -> Any:
        return http.get(f"/api/v1/arena/{path}/", params=query).raise_for_status().json()

    titles = {title for _, title, *_ in CONTESTANTS}
    entered = {season: read("contestants", season=season)["results"] for season in (MAIN, SIMULATED)}
    for rows in entered.values():
        assert {row["title"] for row in rows} == titles
    board = read("leaderboard", season=SIMULATED)
    assert (board["is_simulated"], board["n_votes"]) == (True, N_VOTES)
    told = {row["contestant"] for row in (*board["ratings"], *board["unrankable"])}
    assert told == {row["id"] for row in entered[SIMULATED]}
    page = http.get("/arena/leaderboard/", params={"season": SIMULATED}).raise_for_status().text
    assert "imulated" in page
    assert any(title in page for title in titles)
