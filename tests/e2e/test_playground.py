"""Ask, toggle, trace, document: in a real browser, against the real site."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
PROMPT = "def numpy.mean(a, axis=None)\n\nCompute the"
LONG_MS = 60_000


def ask(page: Page, *, switch_off: str | None = None) -> None:
    page.goto("/playground/")
    if switch_off:
        page.get_by_role("switch", name=switch_off).uncheck()
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("button", name="Show matches")).to_be_visible(timeout=LONG_MS)


def assert_accessible(page: Page) -> None:
    page.evaluate("() => Promise.all(document.getAnimations().map((animation) => animation.finished))")
    results = Axe().run(page)
    serious = [v for v in results.response["violations"] if v["impact"] in {"serious", "critical"}]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in serious] == []


def test_ask_toggle_trace_document(page: Page) -> None:
    ask(page, switch_off="SymPy")
    expect(page.get_by_role("switch", name="SymPy")).not_to_be_checked()
    expect(page.locator("[data-share='symbolic'] span")).to_have_text("0 %")
    shares = [float(text.removesuffix(" %")) for text in page.locator("[data-share]:visible span").all_inner_texts()]
    assert 97 <= sum(shares) <= 103
    assert_accessible(page)
    page.get_by_role("button", name="Show matches").click()
    traced = page.get_by_role("article", name="Traced text")
    expect(traced).to_be_visible(timeout=LONG_MS)
    answer = page.locator("[data-answer]").text_content()
    assert traced.text_content() == answer
    assert_accessible(page)
    traced.get_by_role("link").first.click()
    expect(page.locator("#trace .span.selected").first).to_be_visible()
    expect(page.get_by_role("heading", name="Documents of this span")).to_be_visible()
    page.get_by_role("region", name="Documents", exact=True).get_by_role("heading", level=3).get_by_role(
        "link"
    ).first.click()
    expect(page).to_have_url(re.compile(r"/documents/"))
    expect(page.get_by_role("article", name="Text of the document").locator("mark").first).to_be_visible()
    assert_accessible(page)


def test_all_experts_off_says_what_to_do(phone: Page) -> None:
    phone.goto("/playground/")
    for switch in phone.get_by_role("switch").all():
        switch.uncheck()
    phone.get_by_label("Prompt", exact=True).fill("Return")
    with phone.expect_response("**/playground/") as answered:
        phone.get_by_role("button", name="Ask", exact=True).click()
    assert answered.value.status == 422
    expect(phone.get_by_role("alert")).to_have_text(re.compile("Switch at least one on"))


@pytest.mark.parametrize(
    "path", ["/playground/", "/playground/history/", "/traces/", "/corpora/", "/corpora/web/", "/about/"]
)
def test_pages_fit_a_phone_and_are_accessible(phone: Page, path: str) -> None:
    phone.goto(path)
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)


def test_keyboard_alone_asks_and_reads(page: Page) -> None:
    page.goto("/playground/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_role("switch").first.focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("switch").first).not_to_be_checked()
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("Return the")
    page.get_by_role("button", name="Ask", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Show matches")).to_be_visible(timeout=LONG_MS)


def test_reading_works_without_javascript(without_javascript: Page) -> None:
    page = without_javascript
    page.goto("/traces/")
    page.get_by_label("Text", exact=True).fill("Return evenly spaced numbers over a specified interval.")
    page.get_by_role("button", name="Trace").click()
    expect(page).to_have_url(re.compile(r"/traces/[0-9a-f-]{36}/"))
    traced = page.get_by_role("article", name="Traced text")
    for _ in range(200):
        if traced.count():
            break
        page.get_by_role("link", name="Look again").click()
    traced.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Documents of this span")).to_be_visible()


def test_presets_fill_and_turns_follow_each_other(page: Page) -> None:
    page.goto("/playground/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_text("Settings", exact=True).click()
    page.get_by_role("button", name="Copying: No").click()
    expect(page.get_by_label("System prompt", exact=True)).to_have_value("Copying: No")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    page.get_by_role("button", name="Always the likeliest").click()
    expect(page.get_by_label("System prompt", exact=True)).to_have_value("Copying: No")
    expect(page.get_by_label("Temperature")).to_have_value("0")
    page.get_by_label("New tokens at most").fill("12")
    assert_accessible(page)
    page.get_by_label("New tokens at most").press("Enter")
    further = page.get_by_label("Ask further")
    expect(further).to_be_visible(timeout=LONG_MS)
    further.fill("And then?")
    page.get_by_role("button", name="Ask after this answer").click()
    conversation = page.get_by_role("region", name="Conversation")
    expect(conversation).to_contain_text("And then?")
    expect(further).to_be_visible(timeout=LONG_MS)
    assert_accessible(page)
    page.get_by_role("link", name="Your conversations").click()
    expect(page.get_by_role("main").get_by_role("listitem").first).to_contain_text("2 questions")
    assert_accessible(page)


def test_a_link_fills_the_form_and_asks_nothing(phone: Page) -> None:
    ask(phone)
    phone.get_by_role("link", name="Link to the question").click()
    expect(phone).to_have_url(re.compile(r"/playground/\?prompt="))
    expect(phone.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    expect(phone.get_by_text("The answer will stand here.")).to_be_visible()
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360


def test_matches_appear_while_the_answer_is_made(page: Page) -> None:
    page.goto("/playground/")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_label("Show matches while it answers").check()
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("New tokens at most").fill("320")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#answer[aria-busy] [data-answer] mark").first).to_be_visible(timeout=LONG_MS)
    traced = page.get_by_role("article", name="Traced text")
    expect(traced).to_be_visible(timeout=LONG_MS)
    assert traced.text_content() == page.locator("[data-answer]").text_content()
    assert_accessible(page)
