"""What belongs together stands in line, and no word is broken where there is room: measured in the browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page

from tests.e2e.test_account import sign_up

pytestmark = pytest.mark.browser


TOP_OF_WORDS = """piece => {
  const words = document.createRange();
  words.selectNodeContents(piece);
  return Math.round(words.getBoundingClientRect().top);
}"""
N_LINES = """cell => {
  const words = document.createRange();
  words.selectNodeContents(cell);
  return words.getClientRects().length;
}"""


def box(piece: Locator) -> dict[str, float]:
    found = piece.bounding_box()
    assert found is not None
    return dict(found)


def test_arena_menu_begins_where_the_page_does(page: Page) -> None:
    page.goto("/arena/leaderboard/")
    first = page.get_by_role("navigation", name="Arena").get_by_role("link", name="Battle", exact=True)
    padding = float(first.evaluate("link => parseFloat(getComputedStyle(link).paddingLeft)"))

    assert box(first)["x"] + padding == pytest.approx(box(page.get_by_role("heading", level=1))["x"], abs=1)


def test_account_menu_is_one_line_and_says_where_one_is(page: Page) -> None:
    sign_up(page)
    page.goto("/account/tokens/")
    menu = page.get_by_role("navigation", name="Account")
    links, button = menu.get_by_role("link").all(), menu.get_by_role("button", name="Sign out")

    assert len({piece.evaluate(TOP_OF_WORDS) for piece in [*links, button]}) == 1
    assert [link.inner_text() for link in menu.locator("[aria-current=page]").all()] == ["Tokens"]


def test_filters_of_the_corpora_stand_in_line(page: Page) -> None:
    page.goto("/corpora/")
    filters = page.get_by_role("form", name="Filter the corpora")
    fields = [*filters.get_by_role("searchbox").all(), *filters.get_by_role("combobox").all()]

    assert len({round(box(field)["y"]) for field in fields}) == 1
    assert len({round(box(label)["y"]) for label in filters.locator("label").all()}) == 1


def test_headings_of_the_owners_keep_their_words_whole_on_a_phone(phone: Page) -> None:
    phone.goto("/owners/")

    assert [cell.evaluate(N_LINES) for cell in phone.get_by_role("columnheader").all()] == [1, 1, 1]
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
