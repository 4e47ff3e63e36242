"""Errors of the interface are problem documents wherever they arise; people get pages."""

from __future__ import annotations

import errno
import re
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from psycopg.errors import DiskFull
from psycopg_pool import PoolTimeout
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from rest_framework.exceptions import APIException, ValidationError

from webapp.problem_page import PROBLEMS

ROOT = Path(__file__).resolve().parents[2]
TYPE = "application/problem+json"
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/nothing/", 404),
        ("/api/v1/corpora/%0A%C3%B1/", 404),
        (f"/api/v1/traces/{'0' * 36}/export.json", 404),
        (f"/api/v1/traces/{uuid.UUID(int=1)}/export.json", 404),
        ("/api/v1/corpora/?cursor=%F3%B4%8D%B6", 400),
        ("/api/v1/corpora/?cursor=none", 400),
    ],
)
def test_address_that_leads_nowhere(path: str, status: int) -> None:
    found = Client().get(path)

    assert (found.status_code, found.headers["Content-Type"]) == (status, TYPE)
    assert found.json()["status"] == status


@pytest.mark.parametrize("path", ["/nowhere/", f"/bulletins/{uuid.UUID(int=1)}/", "/corpora/none/"])
def test_page_of_an_address_that_leads_nowhere_names_nothing_of_the_code(path: str) -> None:
    found = Client().get(path)

    assert found.status_code == 404
    shown = found.content.decode()
    assert "There is nothing at this address, or it is closed to you." in shown
    assert "Resolver404" not in shown
    assert "matches the given query" not in shown


def test_programs_get_a_problem_document_where_a_compatible_interface_has_no_such_address() -> None:
    found = Client().get("/compat/nothing")

    assert (found.status_code, found.headers["Content-Type"]) == (404, TYPE)


def test_reader_of_an_address_that_takes_forms_is_told_so() -> None:
    found = Client().get("/log/check/")

    assert (found.status_code, found["Allow"]) == (405, "POST")
    assert "this address takes what a form on another page sends" in found.content.decode()
    assert "Content-Security-Policy" in found


def test_sender_to_a_page_that_takes_nothing_is_told_what_it_takes() -> None:
    found = Client().post("/about/")

    assert found.status_code == 405
    assert "This page does not take POST; it takes GET, HEAD" in found.content.decode()


def test_wrong_method_of_the_interface_stays_a_problem_document() -> None:
    found = Client().delete("/api/v1/corpora/")

    assert (found.status_code, found.headers["Content-Type"]) == (405, TYPE)


def test_type_of_a_problem_leads_to_what_its_code_means() -> None:
    address, _, code = Client().get("/api/v1/corpora/none/").json()["type"].partition("#")

    page = Client().get(address)
    assert page.status_code == 200
    assert f'<tr id="{code}">' in page.content.decode()


def test_page_of_problems_tells_every_code_that_the_code_names() -> None:
    named = set()
    for folder in ("webapp", "tracer", "arena"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            named |= set(re.findall(r"""\bcode ?= ?"([a-z-]+)\"""", text))
            named |= set(re.findall(r"""\bproblem\(\d{3}, [^()]*?"([a-z-]+)"(?:, |\))""", text))
    framework = [e.default_code for e in APIException.__subclasses__() if e is not ValidationError]
    named |= {str(code).replace("_", "-") for code in framework}
    assert {"not-found", "throttled", "too-large", "server-error", "voted"} <= named
    assert named - PROBLEMS.keys() == set()


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


def _full_postgres() -> Exception:
    error = OperationalError("could not extend file")
    error.__cause__ = DiskFull("could not extend file")
    return error


def _full_sqlite() -> Exception:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 1")
    error = OperationalError("full")
    try:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("CREATE TABLE u (x)")
    except sqlite3.OperationalError as cause:
        error.__cause__ = cause
    finally:
        connection.close()
    return error


FULL = [
    _full_postgres(),
    _full_sqlite(),
    OSError(errno.ENOSPC, "No space left on device"),
    ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
]


@pytest.mark.parametrize("error", FULL, ids=["postgresql", "sqlite", "file", "redis"])
@pytest.mark.parametrize("path", ["/api/v1/corpora/", "/corpora/"])
def test_full_disk_is_503_that_says_that_nothing_was_stored(
    path: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("django.db.models.query.QuerySet._fetch_all", full)
    found = Client(raise_request_exception=False).get(path)

    assert (found.status_code, found.headers["Retry-After"]) == (503, "60")
    assert "nothing of this was stored" in found.content.decode()
