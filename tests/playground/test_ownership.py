"""Whose answers they are: reading, streaming, tracing, stopping, deleting."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from webapp.accounts.services import create_token
from webapp.jobs import JobStatus
from webapp.playground.models import Checkpoint, Generation


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get_or_create(username=name)[0])
    return client


@pytest.fixture
def private(checkpoint: Checkpoint) -> str:
    """Return the id of a researcher's private answer that still waits."""
    body = {"prompt": "Return the", "max_tokens": 4, "visibility": "private"}
    answer = client_of("researcher").post("/api/v1/generations/", body, "application/json")
    assert answer.status_code == 202, answer.content
    return str(answer.json()["id"])


def test_is_not_there_for_others_when_private(private: str) -> None:
    api = f"/api/v1/generations/{private}"

    for outsider in (Client(), client_of("outsider")):
        for address in (f"/playground/{private}/", f"{api}/", f"{api}/stream/"):
            assert outsider.get(address).status_code == 404
        for address in (f"{api}/cancel/", f"{api}/trace/", f"/playground/{private}/stop/"):
            assert outsider.post(address).status_code == 404
        assert outsider.delete(f"{api}/").status_code == 404
    assert client_of("researcher").get(f"{api}/").status_code == 200


def test_others_may_read_but_not_stop_when_shared_by_link(private: str) -> None:
    api = f"/api/v1/generations/{private}"
    client_of("researcher").patch(f"{api}/", {"visibility": "link"}, "application/json")

    assert client_of("outsider").get(f"{api}/").status_code == 200
    assert client_of("outsider").post(f"{api}/cancel/").status_code == 403
    assert Generation.objects.get(pk=private).status == JobStatus.PENDING
    assert client_of("researcher").post(f"{api}/cancel/").status_code == 202


def test_is_deleted_only_when_finished(private: str) -> None:
    api, owner = f"/api/v1/generations/{private}", client_of("researcher")

    assert owner.delete(f"{api}/").status_code == 409
    owner.post(f"{api}/cancel/")
    assert owner.delete(f"{api}/").status_code == 204
    assert not Generation.objects.exists()


def test_owner_streams_a_private_answer_by_token(private: str) -> None:
    researcher = User.objects.get(username="researcher")
    _, token = create_token(user=researcher, name="notebook", scopes=["read"], days=1)
    address = f"/api/v1/generations/{private}/stream/"

    assert Client(headers={"Authorization": f"Bearer {token}"}).get(address).status_code == 200
    assert Client(headers={"Authorization": "Bearer fg_invented"}).get(address).status_code == 401
