"""The whole site in its own process, on loopback, with corpora, indexes and the demonstration's checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.production import free_port
from tests.conftest import CHROMIUM

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
START_TIMEOUT_S = 180
PATIENT_MS = 60_000
expect.set_options(timeout=PATIENT_MS)


@pytest.fixture(scope="session")
def site_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prepare a data folder as `make demo` does, with two of the corpora."""
    environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
    environment["FAIRGROUND_DATA_DIR"] = str(tmp_path_factory.mktemp("site"))
    for command in (
        ["migrate", "--verbosity", "0"],
        ["build_demo_corpora", "--only", "web,numerics"],
        ["add_checkpoint", "demo", str(ROOT / "webapp" / "demo" / "checkpoint")],
        ["prepare_demo_arena", "--votes", "120"],
    ):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            timeout=300,
        )
    return environment


@pytest.fixture(scope="session")
def site(site_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the prepared site; yield its address; end it by its own process."""
    port = free_port()
    log = tmp_path_factory.mktemp("log") / "web"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port)],
            cwd=ROOT,
            env=site_environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_answering(address, process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_answering(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the site answers; fail with its log when it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/about/", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the site did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start the machine's own Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[Page]:
    """Open a desktop page in light and in dark; fail the test on any console error."""
    context = chromium.new_context(base_url=site, color_scheme=request.param, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENT_MS)
    yield from _watched(context.new_page())
    context.close()


@pytest.fixture
def phone(chromium: Browser, site: str) -> Iterator[Page]:
    """Open a page 360 CSS pixels wide with touch."""
    context = chromium.new_context(base_url=site, viewport={"width": 360, "height": 740}, has_touch=True)
    context.set_default_timeout(PATIENT_MS)
    yield from _watched(context.new_page())
    context.close()


@pytest.fixture
def without_javascript(chromium: Browser, site: str) -> Iterator[Page]:
    """Open a page with scripts switched off."""
    context = chromium.new_context(base_url=site, java_script_enabled=False)
    context.set_default_timeout(PATIENT_MS)
    yield context.new_page()
    context.close()


def _watched(page: Page) -> Iterator[Page]:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    assert [error for error in errors if "status of 422" not in error] == []
