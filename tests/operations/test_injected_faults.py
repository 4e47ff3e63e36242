"""`manage.py doctor` is content with a whole production site, and names each fault that is injected into it.

The faults are real ones: services are killed, files damaged, rows changed behind the site's back, disks full.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from benchmarks.production import ROOT, MissingProgramError, Production, production
from tests.conftest import REQUIRED
from tests.faults.site_clock import preloaded
from tests.faults.small_disk import NoMountsError, small_disk

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
SOUND = {
    "FAIRGROUND_SECRET_KEY": "a key of this test alone, which is long enough: 0123456789 abcdefghijklmnopqrstuvwxyz",
    "FAIRGROUND_ALLOWED_HOSTS": "fairground.example.org,127.0.0.1",
    "FAIRGROUND_HTTPS": "true",
    "FAIRGROUND_TRUSTED_PROXIES": "1",
}
Findings = dict[str, dict[str, str]]
Injection = Callable[[Production], AbstractContextManager[dict[str, str]]]
WORKERS = ("worker-trace", "worker-build", "worker-model", "worker-rank")


@pytest.fixture(scope="module")
def site() -> Iterator[Production]:
    # Not pytest's own folder, which PostgreSQL's user may not enter.
    temporary = tempfile.TemporaryDirectory(prefix="fairground-doctor-", ignore_cleanup_errors=True)
    try:
        with temporary as name, production(Path(name), **SOUND) as made:
            corpus, checkpoint = made.folder / "fair.jsonl", made.folder / "checkpoint"
            corpus.write_text(json.dumps({"id": "1", "text": "round and round and round it goes " * 20}) + "\n")
            about = ["--owner", "Fair", "--licence", "CC0-1.0", "--title", "Fair"]
            made.manage("add_corpus", "fair", str(corpus), *about)
            made.manage("build_index", "fair")
            shutil.copytree(ROOT / "webapp" / "demo" / "checkpoint", checkpoint)
            made.manage("add_checkpoint", "demo", str(checkpoint))
            made.manage("prepare_demo_arena", "--votes", "5")
            for service in (*WORKERS, "beat"):
                made.start(service)
            yield made
    except MissingProgramError as error:
        if "services" in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))


def examine(site: Production, *only: str, **environment: str) -> tuple[int, Findings]:
    """Run the real command; return its exit status, and the worst finding of each name."""
    command = [sys.executable, "manage.py", "doctor", "--format", "json", *(f"--only={check}" for check in only)]
    done = subprocess.run(
        command, cwd=ROOT, env={**site.environment, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode in {0, 1}, done.stderr
    order = ["ok", "warning", "fault"]
    found = sorted(json.loads(done.stdout), key=lambda finding: order.index(finding["level"]))
    return done.returncode, {finding["check"]: finding for finding in found}


def execute(site: Production, *statements: str) -> None:
    """Change rows as somebody with the database's password can, past every trigger."""
    with psycopg.connect(site.environment["DATABASE_URL"], autocommit=True) as connection:
        for statement in ("SET session_replication_role = replica", *statements):
            connection.execute(statement.encode())


def killed(service: str) -> Injection:
    @contextmanager
    def inject(site: Production) -> Iterator[dict[str, str]]:
        site.kill(service)
        yield {}
        site.start(service)

    return inject


def changed(statement: str, back: str) -> Injection:
    @contextmanager
    def inject(site: Production) -> Iterator[dict[str, str]]:
        execute(site, statement)
        yield {}
        execute(site, back)

    return inject


def damaged(folder: Callable[[Production], Path], pattern: str) -> Injection:
    """Change one byte in the middle; the size stays."""

    @contextmanager
    def inject(site: Production) -> Iterator[dict[str, str]]:
        file = max(folder(site).rglob(pattern), key=lambda path: path.stat().st_size)
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        yield {}
        file.write_bytes(content)

    return inject


def moved(folder: Callable[[Production], Path]) -> Injection:
    @contextmanager
    def inject(site: Production) -> Iterator[dict[str, str]]:
        place = folder(site)
        place.rename(place.with_name("elsewhere"))
        yield {}
        place.with_name("elsewhere").rename(place)

    return inject


def setting(**values: str) -> Injection:
    @contextmanager
    def inject(site: Production) -> Iterator[dict[str, str]]:
        yield values

    return inject


@contextmanager
def forgetful_redis(site: Production) -> Iterator[dict[str, str]]:
    with redis.Redis.from_url(site.environment["REDIS_URL"]) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield {}
        client.config_set("maxmemory-policy", "noeviction")


@contextmanager
def beat_for_long_gone(site: Production) -> Iterator[dict[str, str]]:
    """Kill beat, and let its last sign of life be of long ago."""
    site.kill("beat")
    time.sleep(1)
    change = "from django.core.cache import cache as c; from webapp.operations.heartbeat import KEY as k; "
    site.manage("shell", "-c", change + "c.set(k, '2020-01-01T00:00:00+00:00', None)")
    yield {}
    site.start("beat")


@contextmanager
def full_disk(site: Production) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(site.folder / "small", size_mb=8))
        except NoMountsError as error:
            if "mounts" in REQUIRED:
                pytest.fail(str(error))
            pytest.skip(f"no small disk can be made here: {error}")
        yield {"FAIRGROUND_DATA_DIR": str(disk.folder)}
    (site.folder / "small").rmdir()


@contextmanager
def slow_clock(site: Production) -> Iterator[dict[str, str]]:
    yield preloaded() | {"FAKETIME": "-10s"}


def index_folder(site: Production) -> Path:
    return next(path for path in (site.folder / "data" / "indexes" / "fair").iterdir() if path.is_dir())


def checkpoint_folder(site: Production) -> Path:
    return site.folder / "checkpoint"


LEAF = "(SELECT max(index) / 2 FROM transparency_entry)"
MIGRATION = "app = 'accounts' AND name = '0001_token'"
FAULTS: dict[str, tuple[Injection, str, str, str]] = {
    # what is injected: how, the check that names it, a word of what it says, a word of its advice
    "database down": (killed("postgres"), "database", "connection", "DATABASE_URL"),
    "Redis down": (killed("redis"), "broker", "does not answer", "REDIS_URL"),
    "Redis forgets": (forgetful_redis, "broker", "allkeys-lru", "noeviction"),
    "migration missing": (
        changed(
            f"UPDATE django_migrations SET name = 'gone' WHERE {MIGRATION}",
            "UPDATE django_migrations SET name = '0001_token' WHERE app = 'accounts' AND name = 'gone'",
        ),
        "migrations",
        "accounts.0001_token",
        "manage.py migrate",
    ),
    "no tracing worker": (killed("worker-trace"), "worker trace", "none answers", "manage.py worker trace"),
    "no building worker": (killed("worker-build"), "worker build", "none answers", "manage.py worker build"),
    "no model worker": (killed("worker-model"), "worker model", "none answers", "manage.py worker model"),
    "no ranking worker": (killed("worker-rank"), "worker rank", "none answers", "manage.py worker rank"),
    "no beat": (beat_for_long_gone, "beat", "no beat arrived", "manage.py beat"),
    "index damaged": (damaged(index_folder, "tokenized*"), "index fair", "tokenized", "build_index fair"),
    "index gone": (moved(index_folder), "index fair", "missing", "Restore the files"),
    "checkpoint damaged": (
        damaged(checkpoint_folder, "*.safetensors"),
        "checkpoint demo",
        "registered is",
        "Restore the registered files",
    ),
    "checkpoint gone": (moved(checkpoint_folder), "checkpoint demo", "checkpoint", "Restore the folder"),
    "log changed": (
        changed(
            f"UPDATE transparency_entry SET leaf = leaf || ' ' WHERE index = {LEAF}",
            f"UPDATE transparency_entry SET leaf = rtrim(leaf) WHERE index = {LEAF}",
        ),
        "log",
        "is not what was entered",
        "Restore the database",
    ),
    "log's key gone": (setting(FAIRGROUND_LOG_KEY="A" * 43 + "="), "log", "key", "Put the key back"),
    "disk full": (full_disk, "disk", "GiB free", "Free some"),
    "data folder cannot be written": (
        setting(FAIRGROUND_DATA_DIR="/proc/fairground"),
        "disk",
        "cannot be written",
        "write access",
    ),
    "clock slow": (slow_clock, "clock", "differ by 10 s", "time synchronisation"),
    "debug on": (setting(FAIRGROUND_DEBUG="true"), "settings", "FAIRGROUND_DEBUG", "Unset"),
    "weak secret": (setting(FAIRGROUND_SECRET_KEY="secret"), "settings", "can be guessed", "token_urlsafe"),
    "any host": (setting(FAIRGROUND_ALLOWED_HOSTS="*"), "settings", "any host name", "FAIRGROUND_ALLOWED_HOSTS"),
    "no TLS": (setting(FAIRGROUND_HTTPS="false"), "settings", "in the clear", "FAIRGROUND_HTTPS"),
    "unknown resident expert": (setting(FAIRGROUND_RESIDENT_EXPERTS="wep"), "resident experts", "wep", "Correct"),
}
#: Which checks to run, where not all: the name's own, so that a minute of tests does not become ten.
ONLY = {
    "index fair": "indexes",
    "checkpoint demo": "checkpoints",
    "resident experts": "checkpoints",
    "clock": "database",
}


def only(check: str) -> str:
    return "workers" if check.startswith("worker ") or check == "beat" else ONLY.get(check, check)


def test_is_content_with_a_sound_production_site(site: Production) -> None:
    def content(found: Findings) -> bool:
        return all(finding["level"] == "ok" for finding in found.values())

    deadline = time.monotonic() + 300
    while not content((result := examine(site))[1]) and time.monotonic() < deadline:  # beat begins within 15 s
        time.sleep(2)
    status, found = result
    assert {name: finding for name, finding in found.items() if finding["level"] != "ok"} == {}
    assert status == 0
    assert {"worker build", "beat", "log", "index fair", "checkpoint demo", "clock", "settings"} <= found.keys()


@pytest.mark.parametrize("name", FAULTS)
def test_names_the_fault_and_what_to_do(site: Production, name: str) -> None:
    inject, check, detail, remedy = FAULTS[name]
    with inject(site) as environment:
        status, found = examine(site, only(check), **environment)
    assert check in found, found
    finding = found[check]
    assert finding["level"] == ("warning" if name == "no TLS" else "fault"), finding
    assert status == (0 if name == "no TLS" else 1)
    assert detail in finding["detail"], finding
    assert remedy in finding["remedy"], finding


def test_looks_at_the_rest_when_the_database_is_away(site: Production) -> None:
    site.kill("postgres")
    _, found = examine(site)
    site.start("postgres")
    assert found["database"]["level"] == "fault"
    assert found["broker"]["level"] == "ok", "what does not need the database is looked at still"


def test_warns_of_jobs_that_wait_for_long(site: Production) -> None:
    create = (
        "from datetime import timedelta as d; from django.utils import timezone as z; from tracer.models import Trace; "
        "n = z.now(); Trace.objects.create(text='x', corpora=[], parameters={}, created_at=n - d(hours=1), "
        "heartbeat_at=n + d(seconds=60))"
    )
    site.manage("shell", "-c", create)
    _, found = examine(site, "jobs")
    execute(site, "DELETE FROM tracer_trace WHERE text = 'x'")
    assert found["jobs trace"]["level"] == "warning", found
    assert "the oldest for 60 min" in found["jobs trace"]["detail"]
    assert "Start more workers" in found["jobs trace"]["remedy"]
