"""Commands that start the site's roles refuse what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from benchmarks.production import free_port


@pytest.mark.parametrize("command", [["beat"], ["worker", "trace"]])
def test_roles_of_their_own_need_a_broker(settings: Any, command: list[str]) -> None:
    settings.EMBEDDED = True
    with pytest.raises(CommandError, match="REDIS_URL is not set"):
        call_command(*command)


def test_several_web_processes_need_a_broker(settings: Any) -> None:
    settings.EMBEDDED = True
    with pytest.raises(CommandError, match="needs REDIS_URL"):
        call_command("serve", processes=2)


def test_no_web_process_is_refused() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        call_command("serve", processes=0)


def test_web_process_is_not_started_on_an_old_database(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    command = [sys.executable, "manage.py", "serve", "--port", "1"]
    done = subprocess.run(
        command,
        env=environment | {"FAIRGROUND_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 1
    assert "Run manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr


COMPUTING = ("torch", "transformers", "scipy.special", "scipy.linalg", "scipy.sparse", "numba", "pyarrow", "sympy")


def test_web_process_imports_nothing_that_computes() -> None:
    code = (
        "import sys, webapp.asgi; from django.urls import get_resolver; get_resolver().url_patterns;"
        f"print([name for name in {COMPUTING} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)

    assert done.stdout.strip() == "[]", done.stderr


def run_python(code: str, **values: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment | values, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_the_site_leaves_nothing_that_a_fork_would_break(tmp_path: Path) -> None:
    code = (
        "import os, threading, webapp.asgi;"
        "files = [os.readlink(f'/proc/self/fd/{number}') for number in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{number}')];"
        "print(len(threading.enumerate()), [name for name in files if name.startswith('socket:')])"
    )
    settings = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    values = settings | {"FAIRGROUND_SECRET_KEY": "x", "FAIRGROUND_DATA_DIR": str(tmp_path)}
    assert run_python(code, **values) == "1 []"


START_ROLE = """
import gc, sys
import celery.apps.beat, celery.apps.worker, manage
from celery.signals import worker_init

def start(worker):
    worker_init.send(sender=worker)
    worker.exitcode = 0

celery.apps.worker.Worker.start = start
celery.apps.beat.Beat.run = lambda beat: None
try:
    manage.main()
except SystemExit as end:
    assert not end.code, end.code
print("webapp.urls" in sys.modules, "arena.tasks" in sys.modules, gc.isenabled())
"""


@pytest.mark.parametrize(
    ("role", "has_tasks"), [(["worker", "trace"], True), (["worker", "model"], True), (["beat"], False)]
)
def test_workers_load_tasks_and_no_views(role: list[str], has_tasks: bool, tmp_path: Path) -> None:
    values = {"REDIS_URL": "redis://127.0.0.1:1/0", "FAIRGROUND_SECRET_KEY": "x", "FAIRGROUND_DATA_DIR": str(tmp_path)}
    printed = run_python(f"import sys\nsys.argv = ['manage.py', *{role!r}]\n{START_ROLE}", **values)
    assert printed.splitlines()[-1] == f"False {has_tasks} True"


@pytest.fixture
def two_processes(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serve with two web processes, without a Redis: probes need none."""
    port = free_port()
    values = {"REDIS_URL": "redis://127.0.0.1:1/0", "FAIRGROUND_SECRET_KEY": "x", "FAIRGROUND_DATA_DIR": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | values
    command = [sys.executable, "manage.py", "serve", "--processes", "2", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)
    yield process, f"http://127.0.0.1:{port}"
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_alive(address: str) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            httpx.get(f"{address}/health/live", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_children(pid: int, but: set[int]) -> list[int]:
    """Return the two children of a process once none of them is in `but`."""
    deadline = time.monotonic() + 180
    while len(found := children(pid)) < 2 or but & set(found):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_web_processes_are_forked_and_replaced_from_the_one_that_loaded_the_site(
    two_processes: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, address = two_processes
    wait_until_alive(address)
    first = wait_for_children(process.pid, set())
    for pid in first:
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert "serve" in command
        assert "spawn_main" not in command
    os.kill(first[0], signal.SIGKILL)
    wait_for_children(process.pid, {first[0]})
    os.kill(first[1], signal.SIGKILL)
    wait_for_children(process.pid, set(first))
    wait_until_alive(address)
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 0


def test_sighup_which_would_load_no_new_code_is_refused(
    two_processes: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, address = two_processes
    wait_until_alive(address)
    before = wait_for_children(process.pid, set())
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 180
    while "SIGHUP refused" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert children(process.pid) == before
    wait_until_alive(address)
