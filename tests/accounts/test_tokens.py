"""Tokens: made on a page, shown once, used within their scopes, ended by time or their owner."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from webapp.accounts import services
from webapp.accounts.models import ApiToken
from webapp.errors import BadInputError, ConflictError
from webapp.identifiers import uuid7


@pytest.fixture
def researcher(db: None) -> User:
    return User.objects.create_user("researcher")


def api(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def made(user: User, *scopes: str) -> str:
    _, token = services.create_token(user=user, name=f"notebook {uuid7()}", scopes=scopes, days=7)
    return token


def test_page_shows_a_token_once_and_keeps_only_its_digest(researcher: User) -> None:
    client = Client()
    client.force_login(researcher)

    page = client.post("/account/tokens/", {"name": "notebook", "scopes": ["read", "trace"], "days": "30"})

    token = re.search(r'value="(fg_[0-9a-f]+)"', page.content.decode())
    assert token is not None
    assert token[1] not in client.get("/account/tokens/").content.decode()
    row = ApiToken.objects.get()
    assert token[1] not in {row.digest, row.token_key, row.name}
    assert page.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")


def test_page_makes_no_second_token_when_reloaded(researcher: User) -> None:
    client = Client()
    client.force_login(researcher)
    form = {"name": "notebook", "scopes": ["read"], "days": "30"}

    assert client.post("/account/tokens/", form).status_code == 200
    again = client.post("/account/tokens/", form)

    assert again.status_code == 422
    assert "another name" in again.content.decode()
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize(
    ("scopes", "status"), [(("read",), 403), (("generate",), 403), (("trace",), 400), (("read", "trace"), 400)]
)
def test_writes_only_within_scope(researcher: User, scopes: tuple[str, ...], status: int) -> None:
    answer = api(made(researcher, *scopes)).post("/api/v1/traces/", {"text": ""}, "application/json")

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_reads_with_any_scope(researcher: User) -> None:
    assert api(made(researcher, "generate")).get("/api/v1/corpora/").status_code == 200


def test_is_refused_when_expired_revoked_or_invented(researcher: User) -> None:
    expired, revoked = made(researcher, "read"), made(researcher, "read")
    rows = {row.token_key: row for row in ApiToken.objects.all()}
    ApiToken.objects.filter(pk=rows[expired[:15]].pk).update(expiry=timezone.now() - timedelta(seconds=1))
    services.revoke_token(user=researcher, digest=rows[revoked[:15]].digest)

    for token in (expired, revoked, "fg_" + "0" * 64, "nonsense"):
        answer = api(token).get("/api/v1/corpora/")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["code"] == "authentication-failed"


def test_cannot_be_revoked_by_another(researcher: User) -> None:
    token = made(researcher, "read")
    outsider = Client()
    outsider.force_login(User.objects.create_user("outsider"))

    outsider.post(f"/account/tokens/{ApiToken.objects.get().digest}/revoke/")

    assert api(token).get("/api/v1/corpora/").status_code == 200


def test_owner_makes_private_work_when_sending_a_token(researcher: User) -> None:
    body = {"text": "x", "visibility": "private", "corpora": ["none"]}

    answer = api(made(researcher, "trace")).post("/api/v1/traces/", body, "application/json")

    assert "Sign in" not in answer.json()["detail"]
    assert "none" in answer.json()["detail"]


@pytest.mark.parametrize(
    "bad", [{"name": " "}, {"name": "x" * 101}, {"scopes": []}, {"scopes": ["root"]}, {"days": 0}, {"days": 10_000}]
)
def test_refuses_what_a_token_cannot_be(researcher: User, bad: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "notebook", "scopes": ["read"], "days": 7}
    with pytest.raises(BadInputError):
        services.create_token(user=researcher, **(good | bad))  # type: ignore[arg-type]


def test_refuses_one_token_too_many(researcher: User) -> None:
    for _ in range(services.MAX_TOKENS):
        made(researcher, "read")

    with pytest.raises(ConflictError, match="Revoke one"):
        made(researcher, "read")
