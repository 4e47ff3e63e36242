"""A whole site as production runs it: its own PostgreSQL and Redis, and every service of deploy/; on loopback, or at
an address that a second host can reach.

For benchmarks and tests that need services which they may kill. Nothing outside the folder is touched.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import redis
import yaml
from celery import Celery
from kombu.exceptions import OperationalError

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 240.0
SERVERS_PORTS = (15_000, 32_768)  # Linux's outgoing connections begin above


class MissingProgramError(RuntimeError):
    """PostgreSQL's or Redis's own program is not installed."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this machine's address that nothing listens on.

    It is none of those that the system gives to outgoing connections, which would often take one before it is used,
    and drawn by the system's chance: tests that run side by side seed `random` alike.
    """
    while True:
        port = random.SystemRandom().randrange(*SERVERS_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port


def find_program(name: str) -> str:
    """Return a program's path; Debian keeps PostgreSQL's outside the PATH."""
    beside = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(beside))
    if found is None:
        raise MissingProgramError(f"{name} is not installed (Debian: postgresql, redis-server)")
    return found


class Production:
    """Services by name: `postgres`, `redis`, and those of deploy/compose.yaml (`web`, `worker-trace`, …)."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", **settings: str) -> None:
        self.folder = folder
        self.host = host
        self.ports = {name: free_port(host) for name in ("postgres", "redis", "web")}
        self.address = f"http://{host}:{self.ports['web']}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FAIRGROUND_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # each start would compile some two thousand modules again
        self.environment = kept | {
            "FAIRGROUND_DATA_DIR": str(folder / "data"),
            "DATABASE_URL": f"postgres://fairground@{host}:{self.ports['postgres']}/postgres",
            "REDIS_URL": f"redis://{host}:{self.ports['redis']}/0",
            "FAIRGROUND_SECRET_KEY": "for this run only",
            "FAIRGROUND_ALLOWED_HOSTS": host,
            "FAIRGROUND_LIMITS": "read=0,trace=0,generate=0,arena=0,manage=0",
            **settings,
        }
        compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
        here = {"0.0.0.0": host, "8000": str(self.ports["web"])}
        self.commands = {
            name: [sys.executable, "manage.py", *(here.get(word, word) for word in service["command"])]
            for name, service in compose["services"].items()
            if service["image"] == "fairground"
        }
        del self.commands["migrate"]
        self.commands |= {"postgres": self._postgres_command(), "redis": self._redis_command()}

    def manage(self, *command: str, timeout_s: float = 300) -> str:
        """Run a command of manage.py to its end; return what it printed. Raises `RuntimeError` with its error."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {' '.join(command)}: {done.stderr[-3000:]}")
        return done.stdout

    def log(self, name: str) -> Path:
        """Return the file of what a service wrote, over all its lives."""
        return self.folder / f"{name}.log"

    def start(self, name: str, command: list[str] | None = None) -> float:
        """Start a service and wait until it works; return the seconds that took."""
        begin = time.perf_counter()
        answers: dict[str, Callable[[], bool]] = {
            "postgres": self._postgres_answers,
            "redis": self._redis_answers,
            "web": self._web_answers,
            "beat": lambda: True,
        }
        as_user = {"user": "postgres", "group": "postgres"} if name == "postgres" and os.getuid() == 0 else {}
        with self.log(name).open("ab") as out:
            self.running[name] = subprocess.Popen(
                command or self.commands[name],
                cwd=ROOT if not as_user else "/",
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user,  # type: ignore[call-overload]
            )
        self._wait(name, answers.get(name, lambda: self._worker_answers(name)))
        return time.perf_counter() - begin

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a service with all its processes, at once unless another signal is given."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def revive(self) -> list[str]:
        """Start services that ended by themselves, as their supervisor would (restart: unless-stopped); name them."""
        ended = [name for name, process in self.running.items() if process.poll() is not None]
        for name in ended:
            self.kill(name)
            self.start(name)
        return ended

    def memory_mb(self, name: str) -> float:
        """Return the proportional memory (PSS) of a service's processes, in MB: shared pages count once."""
        total = 0
        for folder in self._processes(name):
            with suppress(OSError):
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1000

    def processor_s(self, name: str) -> float:
        """Return the processor time that a service's processes took so far, with children that they waited for."""
        ticks = 0
        for folder in self._processes(name):
            with suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime (proc(5), counted from field 3)
        return ticks / os.sysconf("SC_CLK_TCK")

    def _processes(self, name: str) -> Iterator[Path]:
        """Yield the folders of /proc of a service's processes; PostgreSQL's have groups of their own."""
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        found = {self.running[name].pid}
        while more := {process for process, parent in parents.items() if parent in found} - found:
            found |= more
        yield from (Path("/proc") / str(process) for process in found)

    def stop(self) -> None:
        """End everything that still runs, databases last."""
        for name in sorted(self.running, key=lambda name: name in {"postgres", "redis"}):
            self.kill(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)

    def _wait(self, name: str, works: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not works():
            if self.running[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: {self.log(name).read_text()[-3000:]}")
            time.sleep(0.02)

    def _postgres_command(self) -> list[str]:
        data = self.folder / "postgres"
        data.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        as_user = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(data, owner.pw_uid, owner.pw_gid)
            as_user = {"user": "postgres", "group": "postgres", "cwd": "/"}
        make = [find_program("initdb"), "--pgdata", str(data), "--auth", "trust", "--username", "fairground"]
        subprocess.run(make, check=True, capture_output=True, **as_user)  # type: ignore[call-overload]
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        options = {
            "port": self.ports["postgres"],
            "listen_addresses": self.host,
            "unix_socket_directories": str(data),
        }
        return [find_program("postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in options.items())]

    def _redis_command(self) -> list[str]:
        folder = self.folder / "redis"
        folder.mkdir()
        port = str(self.ports["redis"])
        kept = ["--protected-mode", "no", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""]
        return [find_program("redis-server"), "--port", port, "--bind", self.host, "--dir", str(folder), *kept]

    def _postgres_answers(self) -> bool:
        try:
            psycopg.connect(self.environment["DATABASE_URL"], connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _redis_answers(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.environment["REDIS_URL"], socket_timeout=2).ping())
        except redis.RedisError:
            return False

    def _worker_answers(self, name: str) -> bool:
        worker = f"{name.removeprefix('worker-')}@{socket.gethostname()}"
        with Celery(broker=self.environment["REDIS_URL"]) as app:
            try:
                return bool(app.control.ping(destination=[worker], timeout=1))
            except (OperationalError, redis.RedisError, OSError):
                return False

    def _web_answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/health/live", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def production(folder: Path, host: str = "127.0.0.1", **settings: str) -> Iterator[Production]:
    """Yield a site with databases that run and are migrated; its other services are the caller's to start."""
    site = Production(folder, host, **settings)
    try:
        site.start("postgres")
        site.start("redis")
        site.manage("migrate", "--verbosity", "0")
        yield site
    finally:
        site.stop()
