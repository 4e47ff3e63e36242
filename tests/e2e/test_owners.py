"""Pages of owners in a real browser: use appears after an answer, the switch says its effect first, phones."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_opt_outs import operator, sign_in
from tests.e2e.test_playground import assert_accessible

__all__ = ["operator"]
pytestmark = pytest.mark.browser


def open_owner(page: Page) -> None:
    page.goto("/owners/")
    page.get_by_role("link", name="SymPy developers").click()
    expect(page.get_by_role("heading", level=1, name="SymPy developers")).to_be_visible()


def ask(page: Page) -> None:
    page.goto("/playground/?prompt=def+mean(&max_tokens=12")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("figure").filter(has_text="Routing by layer")).to_be_visible(timeout=90_000)


def test_use_of_an_expert_is_plotted_with_its_table_and_the_switch_tells_its_effect(
    page: Page, operator: tuple[str, str]
) -> None:
    sign_in(page, operator)
    ask(page)
    open_owner(page)
    plot = page.get_by_role("figure").filter(has_text="Share of the routing weight by day")
    expect(plot.get_by_role("img")).to_be_visible()
    plot.get_by_text("As a table").click()
    expect(plot.get_by_role("row").nth(1)).to_be_visible()  # the heading, and today; and yesterday, at midnight
    page.get_by_text("Withdraw SymPy").first.click()
    expect(page.get_by_text("Stops:")).to_be_visible()
    expect(page.get_by_text("Stays:")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Reason").fill("A test.")
    page.get_by_role("button", name="Withdraw SymPy").click()
    expect(page.get_by_text("Withdrawn since")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Let demo/symbolic be used again").click()
    expect(page.get_by_text("Withdrawn since")).to_have_count(0)


def test_pages_fit_a_phone_without_scrolling_sideways(phone: Page, operator: tuple[str, str]) -> None:
    sign_in(phone, operator)
    ask(phone)
    open_owner(phone)
    for summary in phone.locator("summary").all():
        summary.click()
    assert_accessible(phone)
    phone.get_by_label("Reason").fill("A test that gives a reason of some length, as owners do.")
    phone.get_by_role("button", name="Withdraw SymPy").click()
    phone.goto("/opt-outs/")
    expect(phone.get_by_role("button", name="Let demo/symbolic be used again")).to_be_visible()
    assert_fits(phone)
    assert_accessible(phone)
    phone.get_by_role("button", name="Let demo/symbolic be used again").click()
    for path in ("/owners/", "/opt-outs/"):
        phone.goto(path)
        assert_fits(phone)
    open_owner(phone)
    assert_fits(phone)


def assert_fits(page: Page) -> None:
    """Check that neither the page nor a table in it is wider than its place."""
    assert page.locator("html").evaluate("node => node.scrollWidth") <= 360
    tables = page.locator("table, .table-scroll")
    assert tables.evaluate_all("nodes => nodes.filter(n => n.scrollWidth > n.parentElement.clientWidth).length") == 0


def test_stranger_without_javascript_reads_what_is_public(without_javascript: Page) -> None:
    open_owner(without_javascript)
    expect(without_javascript.get_by_text("What was contributed")).to_be_visible()
    expect(without_javascript.get_by_text("How much it is used")).to_have_count(0)
    assert without_javascript.get_by_role("button", name="Withdraw").count() == 0
