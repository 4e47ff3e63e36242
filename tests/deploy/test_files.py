"""What deploy/ says agrees with the code: commands, settings, folders, metrics."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from tests.conftest import REQUIRED
from webapp.environment import KNOWN
from webapp.operations.metrics import SiteCollector

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "fairground"}


def units() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((DEPLOY / "systemd").iterdir())}


@pytest.mark.parametrize("service", OURS)
def test_command_of_each_service_is_one_that_the_site_has(service: str) -> None:
    name, *arguments = OURS[service]["command"]

    command = load_command_class(get_commands()[name], name)

    command.create_parser("manage.py", name).parse_args(arguments)


def test_units_start_what_the_compose_file_starts() -> None:
    started = re.findall(r"^ExecStart=\S+ manage\.py (.+)$", "\n".join(units().values()), re.MULTILINE)
    queues = re.findall(r"fairground-worker@(\w+)", units()["fairground.target"])
    by_units = {line.split()[0] for line in started if "%i" not in line} | {f"worker {queue}" for queue in queues}
    commands = [service["command"] for service in OURS.values()]
    by_compose = {" ".join(command[: 2 if command[0] == "worker" else 1]) for command in commands}

    assert by_compose - {"migrate"} == by_units
    assert "manage.py migrate" in units()["fairground-web.service"]


def test_modules_are_compiled_once_though_code_is_read_only() -> None:
    for name, unit in units().items():
        if "ExecStart=" in unit:
            assert "Environment=PYTHONPYCACHEPREFIX=/var/cache/fairground/" in unit, name
            assert "CacheDirectory=fairground" in unit, name
    image = (DEPLOY / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\w+) \1$", image, re.MULTILINE)
    packages = [name for name in copied if list((ROOT / name).glob("*.py"))]
    assert packages
    assert f"RUN python -m compileall -q {' '.join(packages)}" in image.partition("\nUSER ")[0]


def test_exactly_one_service_sends_periodic_jobs() -> None:
    assert sum(service["command"] == ["beat"] for service in OURS.values()) == 1


def test_example_settings_are_known_and_every_known_one_is_documented() -> None:
    example = (DEPLOY / ".env.example").read_text()
    named = set(re.findall(r"^#? ?(FAIRGROUND_\w+)=", example, re.MULTILINE))

    assert named <= KNOWN
    documented = (ROOT / "docs" / "operators.md").read_text()
    assert [name for name in sorted(KNOWN) if f"`{name}`" not in documented] == []


def test_example_settings_name_what_the_compose_file_asks_for() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))

    assert asked
    assert asked <= set(re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))


def test_image_holds_what_it_copies_and_never_data_or_keys() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert {name for name in names if not (ROOT / name).exists()} == set()
    assert lines[1] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == names
    assert not any(fnmatch.fnmatch("var", line) for line in lines if line.startswith("!"))
    assert re.search(r"^USER fairground$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)


def test_dashboard_asks_for_metrics_that_there_are(db: None) -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"fairground_\w+", target["expr"])
    }
    with_redis = {"fairground_cache_lookups", "fairground_redis_memory_bytes"}
    there = {family.name for family in SiteCollector().collect()} | with_redis

    assert {re.sub(r"_(total|bucket)$", "", name) for name in asked} == there


STREAMS = (
    "/api/v1/generations/0190a2b4-0000-7000-8000-000000000000/stream/",
    "/api/v1/arena/battles/0190a2b4-0000-7000-8000-000000000000/stream/",
    "/v1/chat/completions",
)


@pytest.mark.parametrize("path", STREAMS)
def test_nginx_buffers_no_stream(path: str) -> None:
    config = (DEPLOY / "nginx.conf").read_text()
    match = re.search(r"location ~ (\S+) \{(.*?)\n    \}", config, re.DOTALL)
    assert match

    resolve(path)  # the address exists
    assert re.search(match[1], path)
    assert "proxy_buffering off;" in match[2]


def test_every_stream_of_the_site_is_among_them() -> None:
    from django.urls import URLPattern, URLResolver, get_resolver

    def walk(resolver: URLResolver, prefix: str = "") -> list[str]:
        found: list[str] = []
        for entry in resolver.url_patterns:
            route = prefix + str(entry.pattern)
            found += walk(entry, route) if isinstance(entry, URLResolver) else [route]
            assert isinstance(entry, URLPattern | URLResolver)
        return found

    streams = [route for route in walk(get_resolver()) if route.endswith("stream/")]
    pattern = re.search(r"location ~ (\S+) \{", (DEPLOY / "nginx.conf").read_text())
    assert pattern
    assert streams
    for route in streams:
        assert re.search(pattern[1], "/" + re.sub(r"<[^>]+>", "x", route)), route


def test_systemd_takes_the_units() -> None:
    if shutil.which("systemd-analyze") is None:
        if "systemd" in REQUIRED:
            pytest.fail("systemd-analyze is not installed (Debian: systemd)")
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    found = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted((DEPLOY / "systemd").iterdir()))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    # The machine that runs this test has no /srv/fairground.
    complaints = [line for line in found.stderr.splitlines() if "is not executable: No such file" not in line]
    assert [line for line in complaints if "fairground" in line] == []
