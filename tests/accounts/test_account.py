"""Signing up and in, roles, one's data, deletion."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer.models import Trace
from webapp.roles import Role, grant_role, has_role
from webapp.sign_in import social_providers

__all__ = ["make_corpus", "tokenizer_path"]
PASSWORD = "carousel-and-lanterns"


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    cache.clear()


@pytest.fixture
def researcher(db: None) -> User:
    return User.objects.create_user("researcher", password=PASSWORD)


@pytest.mark.django_db
def test_signs_up_and_in_with_a_name_and_a_password() -> None:
    client = Client()

    client.post("/account/signup/", {"username": "annotator", "password1": PASSWORD, "password2": PASSWORD})

    assert client.get("/account/").status_code == 200
    client.post("/account/logout/")
    assert client.get("/account/").status_code == 302
    client.post("/account/login/", {"login": "annotator", "password": PASSWORD})
    assert client.get("/account/").status_code == 200


@pytest.mark.django_db
def test_nobody_signs_up_when_the_operator_closed_it(settings: object) -> None:
    settings.SIGNUP = "closed"  # type: ignore[attr-defined]

    Client().post("/account/signup/", {"username": "outsider", "password1": PASSWORD, "password2": PASSWORD})

    assert not User.objects.exists()


def test_stops_guessing_when_passwords_fail_too_often(researcher: User) -> None:
    client = Client()
    for _ in range(6):
        client.post("/account/login/", {"login": "researcher", "password": "wrong"})

    client.post("/account/login/", {"login": "researcher", "password": PASSWORD})

    assert client.get("/account/").status_code == 302


@pytest.mark.parametrize("address", ["", "tokens/", "sessions/", "2fa/", "password/change/", "delete/"])
def test_pages_are_closed_until_signed_in_and_open_after(researcher: User, address: str) -> None:
    client = Client()
    assert client.get(f"/account/{address}").status_code == 302
    client.force_login(researcher)
    assert client.get(f"/account/{address}").status_code == 200


def test_export_holds_what_a_person_made(researcher: User, make_corpus: MakeCorpus) -> None:
    make_corpus()
    client = Client()
    client.force_login(researcher)
    client.post("/api/v1/traces/", {"text": SENTENCE}, "application/json")
    Client().post("/api/v1/traces/", {"text": "Nothing else."}, "application/json")

    sent = client.post("/account/data/")

    records = [json.loads(line) for line in sent.getvalue().decode().splitlines()]  # type: ignore[attr-defined]
    assert [record["kind"] for record in records] == ["account", "trace"]
    assert records[0]["username"] == "researcher"
    assert records[1]["text"] == SENTENCE


def test_deletion_takes_what_a_person_made_and_nothing_else(researcher: User, make_corpus: MakeCorpus) -> None:
    make_corpus()
    client = Client()
    client.force_login(researcher)
    client.post("/api/v1/traces/", {"text": SENTENCE}, "application/json")
    Client().post("/api/v1/traces/", {"text": "Nothing else."}, "application/json")

    assert client.post("/account/delete/", {"confirmation": "somebody"}).status_code == 422
    assert User.objects.exists()
    assert client.post("/account/delete/", {"confirmation": "researcher"}).status_code == 302
    assert not User.objects.exists()
    assert [trace.text for trace in Trace.objects.all()] == ["Nothing else."]


def test_roles_are_given_and_taken_by_command(researcher: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("role", "grant", "provider", "researcher")
    assert has_role(researcher, Role.PROVIDER)
    assert capsys.readouterr().out.strip() == "researcher: provider"
    call_command("role", "revoke", "provider", "researcher")
    assert not has_role(researcher, Role.PROVIDER)
    with pytest.raises(CommandError, match="does not have"):
        call_command("role", "revoke", "provider", "researcher")
    with pytest.raises(CommandError, match="sign up"):
        call_command("role", "grant", "provider", "nobody")


def test_only_active_people_have_roles(researcher: User) -> None:
    grant_role(user=researcher, role=Role.OPERATOR)
    researcher.is_active = False

    assert not has_role(researcher, Role.OPERATOR)
    assert not has_role(AnonymousUser(), Role.OPERATOR)
    assert has_role(User.objects.create_superuser("curator"), Role.OPERATOR)


def test_sign_in_elsewhere_is_on_when_its_client_is_set() -> None:
    providers = social_providers({"FAIRGROUND_GITHUB_CLIENT": "abc:def", "FAIRGROUND_HUGGINGFACE_CLIENT": "g:h"})

    assert providers["github"]["APPS"] == [{"client_id": "abc", "secret": "def"}]
    assert providers["openid_connect"]["APPS"][0]["provider_id"] == "huggingface"
    assert "orcid" not in providers
    with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_ORCID_CLIENT"):
        social_providers({"FAIRGROUND_ORCID_CLIENT": "no colon"})


@pytest.mark.parametrize("provider", ["github", "orcid", "oidc/huggingface"])
def test_sign_in_elsewhere_that_is_not_set_up_is_no_address_of_the_site(
    db: None, client: Client, provider: str
) -> None:
    assert client.get(f"/account/{provider}/login/").status_code == 404
    assert client.post(f"/account/{provider}/login/").status_code == 404


def test_menu_of_the_account_offers_other_sign_ins_only_where_there_are_any(researcher: User, client: Client) -> None:
    client.force_login(researcher)
    assert "Other sign-ins" not in client.get("/account/").content.decode()
