"""Two masks side by side and each expert left out: in a real browser, against the real site."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import LONG_MS, PROMPT, assert_accessible

pytestmark = pytest.mark.browser


def fill(page: Page, n_tokens: int = 24) -> None:
    page.goto("/playground/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("New tokens at most").fill(str(n_tokens))
    page.get_by_text("Compare masks").click()


def test_two_masks_are_read_side_by_side(page: Page) -> None:
    fill(page)
    page.get_by_role("checkbox", name="NumPy", exact=False).last.uncheck()
    assert_accessible(page)
    page.get_by_role("button", name="Compare both masks").click()
    expect(page).to_have_url(re.compile(r"/playground/comparisons/"))
    expect(page.get_by_text("All 2 answers are done.")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("article", name="A: all experts")).to_be_visible()
    expect(page.get_by_role("article", name="B: without NumPy")).to_contain_text("of the words are shared")
    expect(page.get_by_role("row", name="NumPy").get_by_role("cell").last).to_have_text("off")
    assert_accessible(page)
    page.get_by_role("button", name="Show matches of all").click()
    expect(page.get_by_text("All 2 answers are done.")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("button", name="Show matches of all")).not_to_be_visible()
    assert_accessible(page)


def test_both_sides_stream_into_the_page(page: Page) -> None:
    fill(page, 320)
    page.get_by_role("checkbox", name="NumPy", exact=False).last.uncheck()
    page.get_by_role("button", name="Compare both masks").click()
    sides = page.locator("[data-side]")
    for number in range(2):
        expect(sides.nth(number)).not_to_be_empty(timeout=LONG_MS)
    expect(page.get_by_text("0 of 2 answers are done")).to_be_visible()
    half = sides.first.inner_text()
    expect(page.get_by_text("All 2 answers are done.")).to_be_visible(timeout=LONG_MS)
    assert sides.first.inner_text().startswith(half.rstrip()[:40])
    expect(page.get_by_role("article", name="B: without NumPy")).to_contain_text("of the words are shared")


def test_each_expert_is_left_out_in_turn_on_a_phone(phone: Page) -> None:
    fill(phone)
    phone.get_by_role("button", name="Leave each expert out in turn").click()
    expect(phone.get_by_text(re.compile(r"All \d answers are done\."))).to_be_visible(timeout=LONG_MS)
    expect(phone.get_by_role("article", name="Without SymPy")).to_be_visible()
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)


def test_a_comparison_is_asked_and_read_without_javascript(without_javascript: Page) -> None:
    page = without_javascript
    fill(page)
    page.get_by_role("button", name="Leave each expert out in turn").click()
    done = page.get_by_text(re.compile(r"All \d answers are done\."))
    for _ in range(200):
        if done.count():
            break
        page.get_by_role("link", name="Look again").click()
    expect(page.get_by_role("article", name="All experts")).to_be_visible()
