"""Errors of the interface are problem documents wherever they arise; people get pages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from psycopg_pool import PoolTimeout
from redis.exceptions import ConnectionError as RedisConnectionError

TYPE = "application/problem+json"
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/nothing/", 404),
        ("/api/v1/corpora/%0A%C3%B1/", 404),
        (f"/api/v1/traces/{'0' * 36}/export.json", 404),
        (f"/api/v1/traces/{uuid.uuid4()}/export.json", 404),
        ("/api/v1/corpora/?cursor=%F3%B4%8D%B6", 400),
        ("/api/v1/corpora/?cursor=none", 400),
    ],
)
def test_address_that_leads_nowhere(path: str, status: int) -> None:
    found = Client().get(path)

    assert (found.status_code, found.headers["Content-Type"]) == (status, TYPE)
    assert found.json()["status"] == status


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_unsafe_method_on_an_unknown_address_needs_no_form_token(method: str) -> None:
    found = getattr(Client(enforce_csrf_checks=True), method)("/api/v1/nothing/")

    assert (found.status_code, found.headers["Content-Type"]) == (404, TYPE)


def test_form_without_its_token_says_what_to_do() -> None:
    found = Client(enforce_csrf_checks=True).post("/playground/", {"prompt": "a"})

    assert found.status_code == 403
    assert "reload the page" in found.content.decode()


@pytest.mark.parametrize("path", ["/api/v1/corpora/", "/corpora/"])
def test_unforeseen_error_names_the_id_in_the_log(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("django.db.models.query.QuerySet._fetch_all", broken)
    found = Client(raise_request_exception=False).get(path)

    assert found.status_code == 500
    assert found.headers["X-Request-ID"] in found.content.decode()
    if path.startswith("/api/"):
        assert found.headers["Content-Type"] == TYPE


@pytest.mark.parametrize("error", [OperationalError("away"), RedisConnectionError("away"), PoolTimeout("away")])
@pytest.mark.parametrize("path", ["/api/v1/corpora/", "/corpora/"])
def test_database_or_redis_away_is_503_that_says_when_to_ask_again(
    path: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("django.db.models.query.QuerySet._fetch_all", away)
    found = Client(raise_request_exception=False).get(path)

    assert (found.status_code, found.headers["Retry-After"]) == (503, "5")
    assert "Ask again in 5 seconds" in found.content.decode()
