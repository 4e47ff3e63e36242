"""Runs tests, and those that failed once more alone: `python -m tests.reruns make test`. As pytest's plugin it notes.

A test that passes only alone is named at the end as UNSTEADY; it depends on chance, order or the machine's speed and
is a defect to be mended. Only a run that ended by failures of at most `MAX_FAILED` tests is repeated: no crash of a
worker, no error of collecting, nothing interrupted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

MAX_FAILED = 3
_NOTES = "TESTS_RERUN_NOTES"


class Notes:
    """How each test ended, over all its phases and processes, for the process that began the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: set[str] = set()
        self.failed: set[str] = set()
        self.is_broken = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
            self.is_broken |= report.when not in {"setup", "call", "teardown"}  # xdist's note of a dead worker
        elif report.passed and report.when == "call":
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.is_broken |= report.failed

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        is_broken = self.is_broken or exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        passed = sorted(self.passed - self.failed)
        self.path.write_text(json.dumps({"failed": sorted(self.failed), "passed": passed, "is_broken": is_broken}))


def pytest_configure(config: pytest.Config) -> None:
    """Note in the process that began the run, not in xdist's workers; pytest runs that tests begin note nothing."""
    path = os.environ.pop(_NOTES, None)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Notes(Path(path)))
        os.environ.pop("PYTEST_ADDOPTS", None)


def run(command: list[str], folder: Path, options: str = "", **environment: str) -> tuple[int, dict[str, Any]]:
    """Run a command that runs pytest; return its exit code, and the notes, which are empty if pytest did not end."""
    notes = folder / "notes.json"
    notes.unlink(missing_ok=True)
    plugin = f"-p tests.reruns -o cache_dir={folder / 'cache'}"  # no failures of earlier runs
    added = f"{os.environ.get('PYTEST_ADDOPTS', '')} {plugin} {options}"
    values = os.environ | environment | {"PYTEST_ADDOPTS": added, _NOTES: str(notes)}
    code = subprocess.run(command, env=values, check=False).returncode
    return code, json.loads(notes.read_text()) if notes.exists() else {}


def main(command: list[str]) -> int:
    """Return 0 when all tests passed, at once or alone."""
    with tempfile.TemporaryDirectory() as made:
        code, notes = run(command, Path(made))
        failed = notes.get("failed", [])
        if code == 0 or not notes or notes["is_broken"] or not 1 <= len(failed) <= MAX_FAILED:
            return code
        print("Once more, alone:", *failed, sep="\n  ", flush=True)
        code, again = run(command, Path(made), "--last-failed", WORKERS="0")
        if code == 0 and not set(failed) <= set(again.get("passed", [])):
            code = 1
    if code == 0:
        print("".join(f"UNSTEADY: {test} passed only alone\n" for test in failed), end="", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
