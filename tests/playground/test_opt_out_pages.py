"""Opt-outs on their page and over REST: who may, what they are told, where they go back to."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from webapp.accounts.services import create_token
from webapp.playground.models import Checkpoint, Expert, OptOut
from webapp.roles import Role, grant_role

API = "/api/v1/opt-outs/"
BODY = {"subject": "tiny/web", "reason": "They asked."}


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get_or_create(username=name)[0])
    return client


@pytest.fixture
def curator(db: None) -> Client:
    client = client_of("curator")
    grant_role(user=User.objects.get(username="curator"), role=Role.OPERATOR)
    return client


@pytest.fixture
def owner(checkpoint: Checkpoint) -> Client:
    """Return a member of the group that owns the expert web."""
    client = client_of("owner")
    group = Group.objects.create(name="web people")
    group.user_set.add(User.objects.get(username="owner"))
    Expert.objects.filter(slug="web").update(owner_group=group)
    return client


def post(client: Client, path: str = API, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return client.post(path, BODY if body is None else body, content_type="application/json", headers=headers)


def test_operator_withdraws_and_ends_over_rest(curator: Client, checkpoint: Checkpoint) -> None:
    made = post(curator)
    assert made.status_code == 201
    assert (made.json()["owner"], made.json()["expert"], made.json()["ended_at"]) == ("web owner", "tiny/web", None)
    assert [row["id"] for row in Client().get(API).json()["results"]] == [made.json()["id"]]
    assert "They asked" not in Client().get(API).content.decode()
    ended = post(curator, f"{API}{made.json()['id']}/end/", {})
    assert (ended.status_code, ended.json()["ended_at"] is None) == (200, False)
    assert post(curator, f"{API}{made.json()['id']}/end/", {}).status_code == 409


def test_same_key_withdraws_once(curator: Client, checkpoint: Checkpoint) -> None:
    first, second = (post(curator, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    assert post(curator).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"subject": "nobody", "reason": "x"}, 404, "Owners:"),
        ({"subject": "tiny/web"}, 400, "reason"),
        ({"subject": "tiny/web", "reason": "x" * 3000}, 400, "reason"),
    ],
)
def test_problem_says_what_is_wrong(
    curator: Client, checkpoint: Checkpoint, body: dict[str, str], status: int, word: str
) -> None:
    answer = post(curator, body=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert word in answer.content.decode()


def test_strangers_may_neither_withdraw_nor_end(owner: Client, checkpoint: Checkpoint) -> None:
    made = post(owner)
    assert made.status_code == 201
    for stranger in (Client(), client_of("outsider")):
        assert post(stranger, body={**BODY, "subject": "tiny/public"}).status_code == 403
        assert post(stranger, f"{API}{made.json()['id']}/end/", {}).status_code == 403
    assert post(owner, body={**BODY, "subject": "web owner"}).status_code == 403
    assert OptOut.objects.in_force().count() == 1


def test_token_needs_the_scope_manage(owner: Client, checkpoint: Checkpoint) -> None:
    user = User.objects.get(username="owner")
    answers = {}
    for scope in ("generate", "manage"):
        _, token = create_token(user=user, name=scope, scopes=["read", scope], days=1)
        answers[scope] = post(Client(), Authorization=f"Bearer {token}").status_code
    assert answers == {"generate": 403, "manage": 201}


def test_page_shows_owners_their_switch_and_strangers_none(owner: Client, checkpoint: Checkpoint) -> None:
    page = owner.get("/opt-outs/").content.decode()
    assert page.count("Withdraw Web") == 1
    assert "Withdraw Public" not in page
    for stranger in (Client(), client_of("outsider")):
        assert "Withdraw Web" not in stranger.get("/opt-outs/").content.decode()


def test_page_withdraws_and_ends_and_goes_back(owner: Client, checkpoint: Checkpoint) -> None:
    done = owner.post("/opt-outs/out/", {**BODY, "next": "/playground/"})
    assert (done.status_code, done.headers["Location"]) == (302, "/playground/")
    shown = owner.get("/opt-outs/").content.decode()
    assert "They asked." in shown
    assert "They asked." not in Client().get("/opt-outs/").content.decode()
    back = owner.post("/opt-outs/in/", {"subject": "tiny/web", "next": "https://elsewhere.example/"})
    assert back.headers["Location"] == "/opt-outs/"
    assert not OptOut.objects.in_force().exists()


def test_page_says_what_is_wrong(curator: Client, owner: Client, checkpoint: Checkpoint) -> None:
    bad = curator.post("/opt-outs/out/", {"subject": "<b>", "reason": "x"})
    assert bad.status_code == 404
    assert "&lt;b&gt;" in bad.content.decode()
    assert curator.post("/opt-outs/out/", {"subject": "tiny/web", "reason": ""}).status_code == 422
    assert owner.post("/opt-outs/out/", {"subject": "tiny/public", "reason": "x"}).status_code == 403
    assert curator.post("/opt-outs/in/", {"subject": "tiny/web"}).status_code == 409
    assert curator.get("/opt-outs/out/").status_code == 405


def test_operator_withdraws_all_of_an_owner_on_the_page(curator: Client, checkpoint: Checkpoint) -> None:
    assert "<option>web owner</option>" in curator.get("/opt-outs/").content.decode()
    curator.post("/opt-outs/out/", {"subject": "web owner", "reason": "They asked."})
    page = curator.get("/opt-outs/").content.decode()
    assert "all experts, now and later" in page
    assert "<option>web owner</option>" not in page


def test_page_asks_few_queries_however_many_experts(
    curator: Client, checkpoint: Checkpoint, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(12):
        curator.get("/opt-outs/")


def test_page_is_marked_in_the_footer_and_not_as_the_playground(client: Client, checkpoint: Checkpoint) -> None:
    page = client.get("/opt-outs/").content.decode()
    assert page.count('aria-current="page"') == 1
    assert 'href="/opt-outs/" aria-current="page"' in page
    assert 'aria-current="page">Playground' in client.get("/playground/").content.decode()
