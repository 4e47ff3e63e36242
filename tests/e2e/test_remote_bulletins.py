"""A benchmark measured in a corpus whose index stays on its owner's site, in a browser on a desk and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_bulletins import KNOWN, LONG_MS, benchmark
from tests.e2e.test_playground import assert_accessible
from tests.faults.embedded import EmbeddedSite

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def asking(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSite]:
    """Serve a second site that knows a corpus of the first, which has compiled its search before it is asked."""
    asked = {"texts": [KNOWN]}
    httpx.post(f"{site}/compat/infinigram-api/numerics/windows", json=asked, timeout=300).raise_for_status()
    other = EmbeddedSite(tmp_path_factory.mktemp("asking") / "data", FAIRGROUND_REMOTE_PRIVATE_HOSTS="127.0.0.1")
    other.manage("migrate", "--verbosity", "0")
    facts = ("--owner", "The Press", "--licence", "all rights reserved", "--title", "Press archive", "--timeout", "60")
    other.manage("add_remote_corpus", "press", site, "--name", "numerics", *facts)
    other.start()
    yield other
    other.stop()


@pytest.mark.parametrize("width", [1280, 360])
def test_a_corpus_elsewhere_is_asked_when_it_is_chosen(chromium: Browser, asking: EmbeddedSite, width: int) -> None:
    context = chromium.new_context(base_url=asking.address, viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto("/bulletins/")
    choice = page.get_by_label(re.compile("Press archive.*to which the items are sent"))
    expect(choice).not_to_be_checked()
    choice.check()
    page.get_by_label(re.compile("Benchmark")).first.set_input_files(benchmark(KNOWN, "zq" * 40, "Short."))
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_text("Permalink")).to_be_visible(timeout=LONG_MS)
    read(page)
    assert page.locator("html").evaluate("node => node.scrollWidth") <= width
    context.close()


def read(page: Page) -> None:
    """Look at the numbers, whose index is told, and at the passage that the owner's site showed."""
    row = page.get_by_role("region", name="Items by level").get_by_role("row").filter(has_text="Press archive")
    expect(row.get_by_role("cell").nth(0)).to_have_text(re.compile("^1"))
    expect(row.get_by_role("cell").last).to_have_text(re.compile("tokens|bytes"))
    expect(page.get_by_text(KNOWN).first).to_be_visible()
    assert_accessible(page)
