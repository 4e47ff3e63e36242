"""Limits: counted per person or address and resource, announced, refused in the asker's language."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer.models import Trace
from webapp.accounts.services import create_token
from webapp.limit_settings import PRODUCTION, read_limits
from webapp.stream_slots import TooManyStreamsError, free_slot, take_slot

__all__ = ["make_corpus", "tokenizer_path"]


@pytest.fixture(autouse=True)
def limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let everybody ask three times a minute, and let that minute last as long as the test."""
    cache.clear()
    monkeypatch.setattr("webapp.limits.time", SimpleNamespace(time=lambda: 1_800_000_030.0))
    settings.LIMITS = dict.fromkeys(PRODUCTION, 3)
    return settings


@pytest.mark.django_db
def test_refuses_the_fourth_request_and_says_when_to_come_back() -> None:
    client = Client()
    answers = [client.get("/api/v1/corpora/") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    assert answers[0].headers["RateLimit-Policy"] == '"read";q=3;w=60'
    assert answers[3].headers["Content-Type"] == "application/problem+json"
    assert answers[3].json()["code"] == "throttled"
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 61


@pytest.mark.django_db
def test_page_is_refused_as_a_page() -> None:
    client = Client()
    for _ in range(3):
        client.get("/corpora/")

    refused = client.get("/corpora/")

    assert refused.status_code == 429
    assert "requests a minute" in refused.content.decode()


def test_counts_each_resource_and_each_person_apart(make_corpus: MakeCorpus) -> None:
    make_corpus()
    researcher, outsider = User.objects.create_user("researcher"), User.objects.create_user("outsider")
    client = Client()
    client.force_login(researcher)
    for _ in range(4):
        client.get("/api/v1/corpora/")

    assert client.get("/api/v1/corpora/").status_code == 429
    assert client.post("/api/v1/traces/", {"text": SENTENCE}, "application/json").status_code == 202
    assert Client().get("/api/v1/corpora/").status_code == 200
    _, token = create_token(user=researcher, name="notebook", scopes=["read"], days=1)
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/corpora/").status_code == 429
    _, token = create_token(user=outsider, name="notebook", scopes=["read"], days=1)
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/corpora/").status_code == 200


@pytest.mark.django_db
def test_invented_tokens_and_addresses_escape_no_limit() -> None:
    statuses = []
    for number in range(5):
        headers = {"Authorization": f"Bearer fg_{number:064x}", "X-Forwarded-For": f"10.0.0.{number}"}
        statuses.append(Client(headers=headers).get("/api/v1/corpora/").status_code)

    assert statuses == [401, 401, 401, 429, 429]


@pytest.mark.django_db
def test_addresses_are_believed_when_a_trusted_proxy_names_them(limits: Any) -> None:
    limits.TRUSTED_PROXIES = 1
    for _ in range(4):
        Client(headers={"X-Forwarded-For": "spoofed, 10.0.0.1"}).get("/api/v1/corpora/")

    assert Client(headers={"X-Forwarded-For": "other, 10.0.0.1"}).get("/api/v1/corpora/").status_code == 429
    assert Client(headers={"X-Forwarded-For": "other, 10.0.0.2"}).get("/api/v1/corpora/").status_code == 200


@pytest.mark.django_db
def test_probes_are_never_refused() -> None:
    assert {Client().get("/health/live").status_code for _ in range(6)} == {200}


def test_refuses_work_when_too_much_waits(make_corpus: MakeCorpus, limits: Any) -> None:
    make_corpus()
    limits.MAX_WAITING = 1
    assert Client().post("/api/v1/traces/", {"text": SENTENCE}, "application/json").status_code == 202

    refused = Client().post("/api/v1/traces/", {"text": SENTENCE}, "application/json")

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "60"
    assert Trace.objects.count() == 1


def test_streams_are_few_at_once_and_free_again_when_closed(limits: Any) -> None:
    limits.MAX_STREAMS = 2
    first, _ = take_slot("user:1"), take_slot("user:1")

    with pytest.raises(TooManyStreamsError):
        take_slot("user:1")
    take_slot("user:2")
    free_slot(first)
    assert take_slot("user:1") == first


def test_reads_the_operators_limits() -> None:
    assert read_limits("read=5, trace=0", PRODUCTION) == PRODUCTION | {"read": 5, "trace": 0}
    for wrong in ("read", "read=many", "votes=3", "read=-1"):
        with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_LIMITS"):
            read_limits(wrong, PRODUCTION)
