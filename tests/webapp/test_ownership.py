"""Whose traces and answers they are: every reader against every visibility, by page, interface, export and stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer.models import Trace
from tracer.services import run_trace
from webapp.roles import Role, grant_role

__all__ = ["make_corpus", "tokenizer_path"]
SignIn = Callable[[str], Client]


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """Return a client signed in as the named person of the cast."""

    def sign_in(name: str) -> Client:
        user, _ = User.objects.get_or_create(username=name)
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def traced(client: Client, visibility: str) -> str:
    answer = client.post("/api/v1/traces/", {"text": SENTENCE, "visibility": visibility}, "application/json")
    assert answer.status_code == 202, answer.content
    run_trace(answer.json()["id"])
    return str(answer.json()["id"])


def addresses(trace: str) -> list[str]:
    api = f"/api/v1/traces/{trace}"
    return [f"/traces/{trace}/", f"{api}/", f"{api}/export.csv", f"{api}/export.md"]


@pytest.mark.parametrize(("visibility", "status"), [("private", 404), ("link", 200), ("public", 200)])
def test_outsider_reads_by_visibility_when_knowing_the_address(
    make_corpus: MakeCorpus, sign_in: SignIn, visibility: str, status: int
) -> None:
    make_corpus()
    trace = traced(sign_in("researcher"), visibility)

    for outsider in (Client(), sign_in("outsider")):
        assert [outsider.get(address).status_code for address in addresses(trace)] == [status] * 4


def test_owner_and_operator_read_when_private(make_corpus: MakeCorpus, sign_in: SignIn) -> None:
    make_corpus()
    trace = traced(sign_in("researcher"), "private")
    operator = sign_in("curator")
    grant_role(user=User.objects.get(username="curator"), role=Role.OPERATOR)

    for reader in (sign_in("researcher"), operator):
        assert [reader.get(address).status_code for address in addresses(trace)] == [200] * 4


def test_private_text_is_not_marked_in_documents_when_an_outsider_names_the_trace(
    make_corpus: MakeCorpus, sign_in: SignIn
) -> None:
    make_corpus()
    trace = traced(sign_in("researcher"), "private")

    page = Client().get(f"/documents/fair/doc-0/?trace={trace}")

    assert page.status_code == 200
    assert b"<mark" not in page.content


def test_only_the_owner_deletes(make_corpus: MakeCorpus, sign_in: SignIn) -> None:
    make_corpus()
    trace = traced(sign_in("researcher"), "link")

    assert sign_in("outsider").delete(f"/api/v1/traces/{trace}/").status_code == 403
    assert sign_in("outsider").post(f"/traces/{trace}/delete/").status_code == 403
    assert Trace.objects.filter(pk=trace).exists()
    assert sign_in("researcher").delete(f"/api/v1/traces/{trace}/").status_code == 204
    assert not Trace.objects.filter(pk=trace).exists()


def test_sharing_changes_who_reads_when_its_owner_says_so(make_corpus: MakeCorpus, sign_in: SignIn) -> None:
    make_corpus()
    trace, owner = traced(sign_in("researcher"), "private"), sign_in("researcher")

    shared = owner.patch(f"/api/v1/traces/{trace}/", {"visibility": "public"}, "application/json")

    assert shared.json()["visibility"] == "public"
    assert Client().get(f"/traces/{trace}/").status_code == 200
    assert trace in Client().get("/traces/").content.decode()
    owner.post(f"/traces/{trace}/share/", {"visibility": "link"})
    assert trace not in Client().get("/traces/").content.decode()
    assert trace in owner.get("/traces/").content.decode()


def test_a_browser_without_account_owns_what_it_makes(make_corpus: MakeCorpus) -> None:
    make_corpus()
    browser = Client()
    page = browser.post("/traces/", {"text": SENTENCE, "visibility": "private"})
    address = page.headers["Location"]

    assert browser.get(address).status_code == 200
    assert Client().get(address).status_code == 404
    assert browser.post(f"{address}delete/").status_code == 302
    assert browser.get(address).status_code == 404


def test_refuses_private_work_that_nobody_could_read(make_corpus: MakeCorpus) -> None:
    make_corpus()

    refused = Client().post("/api/v1/traces/", {"text": SENTENCE, "visibility": "private"}, "application/json")

    assert refused.status_code == 400
    assert "Sign in" in refused.json()["detail"]
    assert not Trace.objects.exists()
