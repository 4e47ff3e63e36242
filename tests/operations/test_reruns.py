"""Failed tests are run once more alone: what is forgiven, what is not, and that it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "def test_passes():\n    pass\n"
FAILS = "def test_fails():\n    assert False\n"
FAILS_ONCE = """
from pathlib import Path

def test_fails_once():
    mark = Path(__file__).with_suffix(".seen")
    is_first = not mark.exists()
    mark.touch()
    assert not is_first
"""
CRASHES_ONCE = FAILS_ONCE.replace("assert not is_first", "import os; is_first and os._exit(9)")
INTERRUPTED_ONCE = FAILS_ONCE.replace("assert not is_first", "if is_first: raise KeyboardInterrupt")
CLEANS_UP_ONCE = """
import pytest
from pathlib import Path

@pytest.fixture
def thing():
    yield
    mark = Path(__file__).with_suffix(".seen")
    is_first = not mark.exists()
    mark.touch()
    assert not is_first

def test_fails_once(thing):
    pass
"""


def judge(folder: Path, n_workers: int = 2, **files: str) -> tuple[int, list[str], str]:
    """Run a folder of tests as CI does; return the exit code, the tests named as unsteady, and all that was printed."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    options = f"-c {folder}/pytest.ini --rootdir {folder} -p xdist -n ${{WORKERS:-{n_workers}}} --dist loadfile"
    tests = ["sh", "-c", f"exec {sys.executable} -m pytest -q {options} --no-loadscope-reorder {folder}"]
    left_out = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "WORKERS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "tests.reruns", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    named = [line.split()[1].split("::")[-1] for line in lines if line.startswith("UNSTEADY: ")]
    return done.returncode, named, done.stdout + done.stderr


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("once", [FAILS_ONCE, CLEANS_UP_ONCE], ids=["call", "teardown"])
def test_test_that_fails_once_is_forgiven_and_named(tmp_path: Path, once: str, n_workers: int) -> None:
    code, named, told = judge(tmp_path, n_workers, once=once, passes=PASSES)
    assert (code, named) == (0, ["test_fails_once"]), told
    assert "1 failed, 1 passed" in told or "2 passed, 1 error" in told
    assert "1 passed in" in told or "1 passed, 1 deselected" in told
    assert "test_passes" not in told


def test_three_that_fail_once_are_forgiven_and_four_fail_at_once(tmp_path: Path) -> None:
    for n, wanted in ((3, 0), (4, 1)):
        folder = tmp_path / str(n)
        folder.mkdir()
        code, named, told = judge(folder, **{f"once_{number}": FAILS_ONCE for number in range(n)})
        assert (code, len(named)) == (wanted, 3 if wanted == 0 else 0), told
        assert ("Once more" in told) == (wanted == 0)


def test_one_that_fails_always_fails_the_run_and_no_other_is_called_unsteady(tmp_path: Path) -> None:
    code, named, told = judge(tmp_path, fails=FAILS, once=FAILS_ONCE, passes=PASSES)
    assert (code, named) == (1, []), told
    assert "Once more" in told


@pytest.mark.parametrize(
    "broken",
    [
        {"crashes": CRASHES_ONCE, "passes": PASSES},
        {"interrupted": INTERRUPTED_ONCE, "passes": PASSES},
        {"not_collected": "import nothing_of_this_name\n", "once": FAILS_ONCE},
    ],
    ids=lambda files: next(iter(files)),
)
@pytest.mark.parametrize("n_workers", [0, 2])
def test_run_that_ended_by_more_than_failures_fails_at_once(
    tmp_path: Path, broken: dict[str, str], n_workers: int
) -> None:
    code, named, told = judge(tmp_path, n_workers, **broken)
    assert code != 0, told
    assert (named, "Once more" in told) == ([], False), told


def test_run_without_failures_is_run_once(tmp_path: Path) -> None:
    code, named, told = judge(tmp_path, passes=PASSES)
    assert (code, named, "Once more" in told) == (0, [], False), told


@pytest.mark.parametrize("target", ["test", "test-services"])
def test_ci_runs_both_sets_so_and_the_repetition_has_one_process(target: str) -> None:
    assert f"python -m tests.reruns make {target}\n" in (ROOT / ".ci" / "run").read_text()
    stamps = ["-o", ".venv/.installed", "-o", ".venv/.installed-dev"]
    command = ["make", "--dry-run", "--always-make", *stamps, target]
    shown = subprocess.run(command, cwd=ROOT, env=os.environ | {"WORKERS": "0"}, capture_output=True, text=True)
    assert " -n 0 " in shown.stdout, shown
