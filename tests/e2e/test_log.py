"""The log's pages in a real browser: verify, follow an entry to its proof, on a desk and on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import LONG_MS, assert_accessible

pytestmark = pytest.mark.browser


def test_verify_then_entry_then_checkpoint(page: Page) -> None:
    page.goto("/log/")
    assert_accessible(page)
    page.get_by_role("button", name="Verify the whole log").or_(page.get_by_text("Nothing is wrong")).first.wait_for()
    if page.get_by_role("button", name="Verify the whole log").count():
        page.get_by_role("button", name="Verify the whole log").click()
    expect(page.get_by_text("Nothing is wrong")).to_be_visible(timeout=LONG_MS)
    page.goto("/log/entries/0/")
    expect(page.get_by_text("The proof holds")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name=re.compile("leaves")).click()
    expect(page.get_by_text("begins with exactly these leaves")).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize("path", ["/log/", "/log/entries/0/", "/log/checkpoints/"])
def test_pages_fit_a_phone(phone: Page, path: str) -> None:
    phone.goto(path)
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)
