"""Trace, compare, search and browse corpora in a real browser, on a desk and on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import assert_accessible

pytestmark = pytest.mark.browser
TEXT = "Return evenly spaced numbers over a specified interval. The average is taken over the flattened array."
LONG_MS = 60_000


def trace(page: Page, text: str, **settings: str) -> str:
    """Trace a text with the form; return the address of the finished trace."""
    page.goto("/traces/")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Preset").select_option("every span")
    for label, value in settings.items():
        page.get_by_label(label.replace("_", " ")).fill(value)
    assert_accessible(page)
    page.get_by_role("button", name="Trace").click()
    expect(page.get_by_role("article", name="Traced text")).to_be_visible(timeout=LONG_MS)
    return page.url


def test_overview_names_every_span_and_leads_to_its_documents(page: Page) -> None:
    trace(page, TEXT)
    overview = page.get_by_role("region", name="Overview")
    expect(overview.get_by_role("img", name=re.compile("Histogram of span lengths"))).to_be_visible()
    expect(overview.get_by_text("Text in spans")).to_be_visible()
    assert_accessible(page)
    table = page.get_by_role("region", name="Table of spans")
    assert table.get_by_role("row").count() > 2
    table.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Documents of this span")).to_be_visible()
    assert_accessible(page)


def test_nothing_found_leads_back_to_the_settings(page: Page) -> None:
    trace(page, "Xyzzyplugh", Seed="5")
    expect(page.get_by_text("No span was found")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Change the settings").click()
    expect(page.get_by_label("Text", exact=True)).to_have_value("Xyzzyplugh")
    expect(page.get_by_label("Seed")).to_have_value("5")


def test_compares_two_traces_side_by_side(page: Page) -> None:
    first = trace(page, TEXT)
    trace(page, "Return evenly spaced numbers.")
    page.get_by_role("link", name="Compare with another trace").click()
    page.get_by_label("Second trace").fill(first)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("region", name="Numbers of both")).to_be_visible()
    expect(page.get_by_role("article", name="Text of the second trace")).to_have_text(TEXT)
    assert_accessible(page)


def test_finds_a_corpus_reads_a_sample_and_searches(page: Page) -> None:
    page.goto("/corpora/")
    page.get_by_label("Title, owner or provenance").fill("scipy")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("region", name="Corpora").get_by_role("link")).to_have_count(1)
    assert_accessible(page)
    page.get_by_role("link", name="NumPy and SciPy").click()
    expect(page.get_by_role("heading", name="Sample documents")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Search for exact words").fill("evenly spaced AND (values OR samples)")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"match"))
    assert_accessible(page)


@pytest.mark.parametrize("kind", ["next", "infinite", "probability", "documents"])
def test_search_answers_each_question_on_a_phone(phone: Page, kind: str) -> None:
    phone.goto(f"/corpora/numerics/search/?query=evenly+spaced&kind={kind}")
    expect(phone.get_by_role("status")).to_be_visible(timeout=LONG_MS)
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)


def test_a_trace_and_a_comparison_fit_a_phone(phone: Page) -> None:
    address = trace(phone, TEXT)
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    identifier = address.rstrip("/").rsplit("/", 1)[-1]
    for path in (f"/traces/compare/?a={identifier}&b={identifier}", "/corpora/?q=nothing-fits", "/corpora/numerics/"):
        phone.goto(path)
        assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
        assert_accessible(phone)
