"""Take docs/playground.png from a demonstration of its own: `python -m docs.make_screenshot`. Needs Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import sync_playwright

from benchmarks.site import demonstration_site

TARGET = Path(__file__).with_name("playground.png")
PROMPT = "def numpy.linalg.solve(a, b)\n\n"
SEED = 7


def main() -> None:
    """Ask, show the matches, select nothing, and photograph the page from the answer down."""
    with demonstration_site(corpora="stdlib,web,numerics,learning,symbolic") as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 1500})
        page.goto(f"/playground/?{urlencode({'prompt': PROMPT})}")
        page.get_by_text("Settings", exact=True).click()
        page.get_by_label("Seed").fill(str(SEED))
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_role("button", name="Show matches").click(timeout=30_000)
        page.get_by_role("article", name="Traced text").wait_for(timeout=30_000)
        page.screenshot(path=TARGET)
        browser.close()
    print(TARGET)


if __name__ == "__main__":
    main()
