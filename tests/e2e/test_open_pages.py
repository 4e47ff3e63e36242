"""Pages on which the arena accounts for itself, in a real browser: readable by all, on any screen, by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import assert_accessible

pytestmark = pytest.mark.browser
PAGES = ["transparency", "transparency/audit", "quality", "releases", "judges"]
PATHS = [f"/arena/{name}/?season=simulated" for name in PAGES]
MAX_TABS = 60


@pytest.mark.parametrize("path", PATHS)
def test_page_is_accessible_in_light_and_dark(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize("path", PATHS)
def test_page_fits_a_phone(phone: Page, path: str) -> None:
    phone.goto(path)
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus, as somebody without a mouse would."""
    wanted = page.locator(selector)
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("node => node === document.activeElement"):
            return
    pytest.fail(f"{selector} is not reached by {MAX_TABS} times Tab")


def test_days_of_the_report_are_chosen_by_keyboard(page: Page) -> None:
    page.goto("/arena/transparency/?season=simulated")
    tab_to(page, "input[name=from]")
    page.keyboard.type("01022026")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"from=2026-01-02"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.parametrize("name", ["releases", "judges"])
def test_page_is_reached_from_the_arena_by_keyboard(page: Page, name: str) -> None:
    page.goto("/arena/")
    tab_to(page, f"nav a[href*='/arena/{name}/']")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/arena/{name}/"))
