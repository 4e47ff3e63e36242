"""Hostile text in corpora, metadata, prompts and addresses: nothing runs, nothing is fetched from elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.browser
ELSEWHERE = "beacon.invalid"
PIECES = (
    "<script>window.pwned = 1</script>",
    f'<img src="https://{ELSEWHERE}/a.png" onerror="window.pwned = 1">',
    f'<svg onload="window.pwned = 1"><image href="https://{ELSEWHERE}/b.svg"/></svg>',
    f"![beacon](https://{ELSEWHERE}/c.png) [click](javascript:window.pwned=1)",
    '"><iframe srcdoc="<script>parent.pwned = 1</script>"></iframe>',
    f"<link rel=stylesheet href=https://{ELSEWHERE}/d.css><style>@import url(https://{ELSEWHERE}/e.css)</style>",
    "{{ 7*7 }} {% load static %} ${window.pwned=1}",
    "\u202eevil txt.exe\u202c and \u2066isolated\u2069 p\u0430ypal",
    "[" * 2000 + "]" * 2000,
    f'<div hx-get="https://{ELSEWHERE}/f" hx-trigger="load"></div><a hx-on:load="window.pwned=1">x</a>',
)
TEXT = "The carousel turns. " + " and then ".join(PIECES)


@pytest.fixture(scope="module")
def hostile_corpus(site: str, site_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Add a corpus whose documents, titles, addresses and metadata all mean harm."""
    file = tmp_path_factory.mktemp("hostile") / "hostile.jsonl"
    documents = [
        {
            "id": f"<b>{number}</b>",
            "text": TEXT if number == 0 else piece,
            "title": piece[:180],
            "url": ("javascript:window.pwned=1", "data:text/html,<script>window.pwned=1</script>")[number % 2],
            "metadata": {"<img src=x onerror=window.pwned=1>": piece},
        }
        for number, piece in enumerate(PIECES)
    ]
    file.write_text("\n".join(map(json.dumps, documents)) + "\n")
    title = "<script>window.pwned = 1</script>"
    for command in (
        ["add_corpus", "hostile", str(file), "--owner", PIECES[1], "--licence", "CC0-1.0", "--title", title],
        ["build_index", "hostile"],
    ):
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=Path(ROOT),
            env=site_environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    return "hostile"


@pytest.fixture
def watched(chromium: Browser, site: str) -> Iterator[Page]:
    """Open a page that fails the test when anything runs, opens a dialog or asks another host."""
    context = chromium.new_context(base_url=site, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield page
    assert page.evaluate("() => window.pwned") is None
    page.close()
    context.close()
    hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme in {"http", "https", "ws", "wss"}}
    assert hosts == {urlsplit(site).netloc}
    assert dialogs == []


def assert_inert(page: Page) -> None:
    assert page.evaluate("() => window.pwned") is None
    assert page.locator("main iframe, main object, main embed, main img, main script:not([src])").count() == 0
    hrefs = page.locator("main a").evaluate_all("nodes => nodes.map(node => node.getAttribute('href') || '')")
    assert [href for href in hrefs if href.lower().startswith(("javascript:", "data:"))] == []


def test_corpus_search_and_documents_are_text(watched: Page, hostile_corpus: str) -> None:
    watched.goto("/corpora/")
    assert_inert(watched)
    watched.goto(f"/corpora/{hostile_corpus}/")
    assert_inert(watched)
    watched.goto(f"/corpora/{hostile_corpus}/search/?q={quote('window.pwned')}")
    assert_inert(watched)
    watched.goto(f"/documents/{hostile_corpus}/{quote('<b>0</b>', safe='')}/")
    expect(watched.locator("main")).to_contain_text("<script>window.pwned = 1</script>")
    assert_inert(watched)


def test_trace_of_hostile_text_shows_it_as_it_is(watched: Page, hostile_corpus: str) -> None:
    watched.goto("/traces/")
    watched.get_by_label("Text", exact=True).fill(TEXT)
    watched.get_by_role("button", name="Trace").click()
    traced = watched.get_by_role("article", name="Traced text")
    expect(traced).to_be_visible(timeout=60_000)
    assert (traced.locator("[data-answer]").or_(traced).first.text_content() or "").find("<script>") >= 0
    assert_inert(watched)


@pytest.mark.parametrize("piece", PIECES)
def test_prefilled_question_is_text(watched: Page, piece: str) -> None:
    watched.goto(f"/playground/?prompt={quote(piece[:1500])}")
    expect(watched.get_by_label("Prompt", exact=True)).to_have_value(piece[:1500])
    assert_inert(watched)


def test_hostile_question_and_its_answer_are_text(watched: Page) -> None:
    watched.goto("/playground/")
    watched.get_by_label("Prompt", exact=True).fill(PIECES[0] + PIECES[1])
    watched.get_by_role("button", name="Ask", exact=True).click()
    expect(watched.locator("[data-answer]")).not_to_be_empty(timeout=60_000)
    assert_inert(watched)


def test_addresses_are_text(watched: Page) -> None:
    for path in (
        f"/arena/?prompt={quote(PIECES[1])}",
        f"/log/?kind={quote(PIECES[0])}",
        f"/corpora/?q={quote(PIECES[4])}",
        f"/traces/?text={quote(PIECES[2])}",
        f"/nothing/{quote(PIECES[0])}",
    ):
        watched.goto(path)
        assert_inert(watched)
