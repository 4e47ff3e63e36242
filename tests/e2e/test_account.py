"""Signing up, a token, the second factor: in a real browser, against the real site."""

from __future__ import annotations

import secrets

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import assert_accessible

pytestmark = pytest.mark.browser


def sign_up(page: Page) -> str:
    name, password = f"annotator-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    page.goto("/account/signup/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=False).first.fill(password)
    page.get_by_label("Password (again)").fill(password)
    assert_accessible(page)
    page.get_by_role("button", name="Sign Up").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    return name


def test_signs_up_and_calls_the_interface_with_a_token(page: Page, site: str) -> None:
    sign_up(page)
    page.get_by_role("navigation", name="Account").get_by_role("link", name="Tokens").click()
    page.get_by_label("Name").fill("notebook")
    page.get_by_label("trace texts").check()
    page.get_by_role("button", name="Make a token").click()
    token = page.get_by_label("Your new token").input_value()
    assert_accessible(page)

    headers = {"Authorization": f"Bearer {token}"}
    body = {"text": "Return the number of items.", "visibility": "private"}
    asked = httpx.post(f"{site}/api/v1/traces/", json=body, headers=headers)

    assert asked.status_code == 202
    assert httpx.get(f"{site}{asked.headers['Location']}").status_code == 404
    assert httpx.get(f"{site}{asked.headers['Location']}", headers=headers).status_code == 200
    page.goto("/account/tokens/")
    page.get_by_role("button", name="Revoke notebook").click()
    expect(page.get_by_text("The token is revoked.")).to_be_visible()
    assert httpx.get(f"{site}{asked.headers['Location']}", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["", "tokens/", "sessions/", "2fa/", "password/change/", "delete/"])
def test_account_fits_a_phone_and_is_accessible(phone: Page, path: str) -> None:
    sign_up(phone)
    phone.goto(f"/account/{path}")
    assert phone.locator("html").evaluate("node => node.scrollWidth") <= 360
    assert_accessible(phone)
