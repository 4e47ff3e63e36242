"""Battle, vote, reveal, leaderboard: in a real browser, against the real site."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from arena.onboarding import CHECKS
from tests.e2e.conftest import _watched
from tests.e2e.test_playground import LONG_MS, assert_accessible

pytestmark = pytest.mark.browser


@pytest.fixture
def narrow(chromium: Browser, site: str) -> Iterator[Page]:
    """Open a phone's page in the dark theme."""
    context = chromium.new_context(
        base_url=site, viewport={"width": 360, "height": 740}, has_touch=True, color_scheme="dark"
    )
    yield from _watched(context.new_page())
    context.close()


def start_battle(page: Page) -> None:
    page.goto("/arena/guidelines/")
    for check in CHECKS:
        page.get_by_role("radio", name=dict(check.options)[check.right], exact=True).check()
    page.get_by_role("button", name="Send answers").click()
    page.get_by_label("Prompt", exact=True).fill("Return a new QuerySet")
    page.get_by_role("button", name="Start the battle").click()
    expect(page).to_have_url(re.compile(r"/arena/battles/"))


def fits(page: Page) -> bool:
    width: int = page.locator("html").evaluate("node => node.scrollWidth")
    return width <= 360


def test_battle_by_keyboard_from_prompt_to_reveal_and_matches(page: Page) -> None:
    start_battle(page)
    first = page.get_by_role("radio", name="A is better")
    expect(first).to_be_visible(timeout=LONG_MS)
    for side in ("A", "B"):
        expect(page.get_by_role("article", name=f"Answer {side}").locator("pre")).not_to_be_empty()
    assert_accessible(page)
    first.focus()
    page.keyboard.press("2")
    expect(page.get_by_role("radio", name="Tie")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You said: Tie")).to_be_visible()
    expect(page.get_by_role("heading", name="Who wrote them")).to_have_count(0)
    assert_accessible(page)
    page.get_by_role("button", name="Show who wrote them").click()
    expect(page.get_by_role("heading", name="Who wrote them")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Show matches").click()
    expect(page.get_by_role("article", name="Traced text")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("button", name="Next battle").click()
    expect(page.get_by_text("You have voted 1 time.")).to_be_visible()


def test_battle_on_a_phone_has_tabs_and_resumes_after_a_reload(narrow: Page) -> None:
    start_battle(narrow)
    narrow.reload()
    expect(narrow.get_by_role("button", name=re.compile("Confirm"))).to_be_visible(timeout=LONG_MS)
    expect(narrow.get_by_role("article", name="Answer A")).to_be_visible()
    expect(narrow.get_by_role("article", name="Answer B")).to_be_hidden()
    narrow.get_by_role("tab", name="Answer B").click()
    expect(narrow.get_by_role("article", name="Answer B")).to_be_visible()
    assert fits(narrow)
    assert_accessible(narrow)
    narrow.get_by_role("switch", name="Plain style for both").check()
    expect(narrow).to_have_url(re.compile("plain=1"))
    narrow.get_by_role("button", name="Skip this battle").click()
    expect(narrow.get_by_text("closed without a vote")).to_be_visible()
    assert fits(narrow)


def test_battle_works_without_javascript(without_javascript: Page) -> None:
    page = without_javascript
    start_battle(page)
    verdict = page.get_by_role("radio", name="B is better")
    for _ in range(200):
        if verdict.count():
            break
        page.get_by_role("link", name="Look again").click()
    verdict.check()
    page.get_by_role("button", name=re.compile("Confirm")).click()
    page.get_by_role("button", name="Show who wrote them").click()
    expect(page.get_by_role("heading", name="Who wrote them")).to_be_visible()


@pytest.mark.parametrize(
    "path",
    [
        "/arena/",
        "/arena/guidelines/",
        "/arena/history/",
        "/arena/method/",
        "/arena/leaderboard/",
        "/arena/leaderboard/?season=simulated",
        "/arena/leaderboard/?season=simulated&style=1&both_bad=0",
    ],
)
def test_arena_pages_fit_a_phone_and_are_accessible(narrow: Page, path: str) -> None:
    narrow.goto(path)
    assert fits(narrow)
    assert_accessible(narrow)


def test_leaderboard_leads_to_contestants_and_pairs(page: Page) -> None:
    page.goto("/arena/leaderboard/?season=simulated")
    expect(page.get_by_text("Simulated votes.")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Ratings with their intervals"))).to_be_visible()
    page.get_by_text("Another slice").click()
    page.get_by_label("Category").select_option("numerics")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("category=numerics"))
    expect(page.get_by_text("Computed on demand")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("region", name="Ratings").get_by_role("row").nth(1).get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="What it is")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("region", name="Against each opponent").get_by_role("link").first.click()
    expect(page.get_by_text("Counted votes on this pair")).to_be_visible()
    assert_accessible(page)
