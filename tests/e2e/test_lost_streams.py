"""What the pages' scripts say when their event stream is lost and comes back; the scripts alone, without a site."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.browser

STREAM = """
window.EventSource = class extends EventTarget {
  constructor() { super(); this.readyState = 0; window.source = this; }
  close() {}
};
window.EventSource.CLOSED = 2;
"""
PAGES = {
    "playground": '<section id="answer" data-stream="/s"><pre data-answer></pre><p data-live>Waiting</p></section>',
    "comparison": '<section id="comparison" data-stream="/s"><p data-live>Waiting</p><pre data-side></pre></section>',
    "arena": '<section data-battle="/b" data-stream="/s"></section><p data-live>Waiting</p>',
}
LOST = "The connection was lost; trying again …"


@pytest.mark.parametrize("script", sorted(PAGES))
def test_says_that_it_answers_again_when_a_lost_stream_comes_back(script: str, chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content(PAGES[script])
    page.add_script_tag(content=STREAM)
    page.add_script_tag(path=ROOT / "static" / "js" / f"{script}.js")
    said = page.locator("[data-live]")

    page.evaluate("source.dispatchEvent(new Event('open'))")
    expect(said).to_have_text("Waiting")
    page.evaluate("source.dispatchEvent(new Event('error'))")
    expect(said).to_have_text(LOST)
    page.evaluate("source.dispatchEvent(new Event('open'))")
    expect(said).to_contain_text("nswering …")
    page.close()
