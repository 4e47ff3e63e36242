"""Measure a benchmark, read its bulletin, stop it and let it go on, in a real browser, on a desk and on a phone."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.e2e.test_playground import assert_accessible

pytestmark = pytest.mark.browser
KNOWN = "Return evenly spaced numbers over a specified interval."
LONG_MS = 60_000


def benchmark(*texts: str) -> FilePayload:
    lines = "".join(json.dumps({"question": text}) + "\n" for text in texts)
    return {"name": "quiz.jsonl", "mimeType": "application/x-ndjson", "buffer": lines.encode()}


def measure(page: Page, title: str, *texts: str) -> None:
    """Send a benchmark by the form; the page of its bulletin follows."""
    page.goto("/bulletins/")
    page.get_by_label(re.compile("Benchmark")).first.set_input_files(benchmark(*texts))
    page.get_by_label("Title").fill(title)
    assert_accessible(page)
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def read_done(page: Page) -> None:
    """Wait for the end, which the page shows by itself, and look at everything in it."""
    table = page.get_by_role("region", name="Items by level")
    expect(page.get_by_text("Permalink")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("button", name="Stop here")).to_have_count(0)
    row = table.get_by_role("row").filter(has_text="NumPy and SciPy")
    expect(row.get_by_role("cell").nth(0)).to_have_text(re.compile("^1"))
    expect(page.get_by_role("img", name=re.compile("Bars of dirty"))).to_be_visible()
    expect(page.get_by_text(KNOWN).first).to_be_visible()
    assert_accessible(page)


def test_a_benchmark_is_measured_and_read(page: Page) -> None:
    measure(page, "A small quiz", KNOWN, "zq" * 40, "Short.")
    read_done(page)


def test_a_bulletin_fits_a_phone(phone: Page) -> None:
    measure(phone, "A quiz on a phone", KNOWN, "zq" * 40)
    read_done(phone)
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360


def test_a_bulletin_is_stopped_goes_on_and_is_deleted_without_scripts(chromium: Browser, site: str) -> None:
    context = chromium.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/bulletins/")
    page.get_by_label(re.compile("Benchmark")).first.set_input_files(
        benchmark(*(f"{number} {KNOWN} " * 90 for number in range(1_000)))
    )
    page.get_by_role("button", name="Measure").click()
    page.get_by_role("button", name="Stop here").click()
    expect(page.get_by_role("status").filter(has_text="stopped before its end")).to_be_visible()
    expect(page.get_by_role("button", name="Stop here")).to_have_count(0)
    page.get_by_role("button", name="Go on where it ended").click()
    expect(page.get_by_role("status").filter(has_text=re.compile("Waiting to be measured|Measuring"))).to_be_visible()
    page.get_by_role("button", name="Stop here").click()
    page.get_by_text("Share or delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("The bulletin is deleted.")).to_be_visible()
    context.close()
