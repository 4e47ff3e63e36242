"""The page of opt-outs and the charts of routing in a real browser."""

from __future__ import annotations

import secrets
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT
from tests.e2e.test_playground import assert_accessible

pytestmark = pytest.mark.browser


@pytest.fixture
def operator(site_environment: dict[str, str]) -> tuple[str, str]:
    """Make an operator; return name and password."""
    name, password = f"curator-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    environment = site_environment | {"DJANGO_SUPERUSER_PASSWORD": password}
    command = ["createsuperuser", "--noinput", "--username", name, "--email", f"{name}@example.org"]
    subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300
    )
    return name, password


def sign_in(page: Page, operator: tuple[str, str]) -> None:
    page.goto("/account/login/?next=/opt-outs/")
    page.get_by_label("Username").fill(operator[0])
    page.get_by_label("Password", exact=False).first.fill(operator[1])
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_role("heading", name="Opt-outs")).to_be_visible()


def test_operator_withdraws_an_expert_and_lets_it_be_used_again(page: Page, operator: tuple[str, str]) -> None:
    sign_in(page, operator)
    page.get_by_text("demo/learning ·").click()
    expert = page.get_by_role("listitem").filter(has_text="demo/learning ·")
    expert.get_by_label("Reason").fill("A test.")
    assert_accessible(page)
    expert.get_by_role("button").click()
    expect(page.get_by_text("out of memory within seconds")).to_be_visible()
    page.goto("/playground/")
    expect(page.get_by_role("switch")).to_have_count(4)
    page.goto("/opt-outs/")
    assert_accessible(page)
    page.get_by_role("button", name="Let demo/learning be used again").click()
    page.goto("/playground/")
    expect(page.get_by_role("switch")).to_have_count(5)


def test_fits_a_phone(phone: Page, operator: tuple[str, str]) -> None:
    sign_in(phone, operator)
    phone.get_by_text("demo/learning ·").click()
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)


def test_answer_shows_its_routing_with_tables(page: Page) -> None:
    page.goto("/playground/?prompt=def+mean(")
    page.get_by_role("button", name="Ask").click()
    along = page.get_by_role("figure").filter(has_text="Routing along the answer")
    expect(along.get_by_role("img")).to_have_count(5, timeout=30_000)
    along.get_by_text("As a table").click()
    expect(along.get_by_role("table")).to_be_visible()
    expect(page.get_by_role("figure").filter(has_text="Routing by layer").get_by_role("img")).to_have_count(5)
    assert_accessible(page)
