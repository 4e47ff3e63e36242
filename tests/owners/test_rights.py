"""Who sees what of an owner: its groups their own, operators all, everybody else what is public."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.owners.conftest import API, PAGE, TODAY
from webapp.accounts.services import create_token
from webapp.ownership import Author
from webapp.playground import optout, services
from webapp.playground.models import Checkpoint, Expert, Generation

People = Callable[[str], Client]
OWNERS = ["member", "corpus member", "curator"]
OTHERS = ["other owner", "outsider", "anonymous"]
WITHDRAWN = {"subject": "tiny/web", "reason": "They asked.", "author": Author(is_operator=True)}


@pytest.mark.parametrize("name", [*OWNERS, *OTHERS])
def test_everybody_sees_contribution_use_and_corpora(people: People, name: str) -> None:
    page = people(name).get(PAGE).content.decode()
    for shown in (
        "CC-BY-4.0",
        "a1" * 32,
        "1,234,567 tokens",
        "5.13 before, 3.00 after",
        "by the museum",
        "25 % public",
    ):
        assert shown in page
    assert "Corpus web-text" in page
    assert "Corpus sums" not in page
    body = people(name).get(API).json()
    (expert,) = body["experts"]
    assert expert["contribution"]["weights_sha256"] == "a1" * 32
    assert expert["checkpoint_digest"] == Checkpoint.objects.get().digest
    assert [corpus["slug"] for corpus in body["corpora"]] == ["web-text"]
    assert expert["is_mine"] is (name in OWNERS)


@pytest.mark.parametrize("name", OWNERS)
def test_owners_and_operators_see_figures_and_the_switch(people: People, days: None, name: str) -> None:
    page = people(name).get(PAGE).content.decode()
    assert "Withdraw Web" in page
    assert "25.0 %" in page
    assert "50.0 %" in page
    rows = people(name).get(f"{API}days/").json()["results"]
    yesterday = rows[-1]
    assert yesterday == {
        "expert": "tiny/web",
        "day": (TODAY - timedelta(days=1)).isoformat(),
        "n_answers": 3,
        "n_tokens": 60,
        "share": 0.25,
        "share_when_on": 0.5,
    }
    assert len(rows) == (2 if name == "curator" else 1)


@pytest.mark.parametrize("name", ["member", "corpus member"])
def test_owner_does_not_see_the_day_that_is_not_over(people: People, days: None, name: str) -> None:
    assert "777" not in people(name).get(PAGE).content.decode()
    assert "777" not in people(name).get(f"{API}days/").content.decode()
    assert "777" in people("curator").get(PAGE).content.decode()


@pytest.mark.parametrize("name", OTHERS)
def test_others_see_no_figure_and_no_switch(people: People, days: None, name: str) -> None:
    page = people(name).get(PAGE).content.decode()
    assert "Withdraw Web" not in page
    assert "How much it is used" not in page
    assert "25.0 %" not in page
    refused = people(name).get(f"{API}days/")
    assert (refused.status_code, refused.headers["Content-Type"]) == (403, "application/problem+json")
    assert people(name).post("/opt-outs/out/", {"subject": "tiny/web", "reason": "x"}).status_code == 403


def test_owner_of_another_expert_asks_for_that_one_in_vain(people: People, days: None) -> None:
    assert people("member").get(f"{API}days/?expert=tiny/public").status_code == 403
    assert people("member").get(f"{API}days/?expert=tiny/web").status_code == 200


@pytest.mark.parametrize("name", OTHERS)
def test_withdrawn_expert_is_hidden_from_others(people: People, name: str) -> None:
    optout.opt_out(**WITHDRAWN)  # type: ignore[arg-type]
    page = people(name).get(PAGE).content.decode()
    assert "1 expert of this owner is withdrawn" in page
    assert "a1" * 32 not in page
    assert "They asked." not in page
    assert people(name).get(API).json()["experts"] == []


@pytest.mark.parametrize("name", OWNERS)
def test_owner_withdraws_on_the_page_after_reading_the_effect_and_comes_back(people: People, name: str) -> None:
    client = people(name)
    page = client.get(PAGE).content.decode()
    assert page.index("Stops:") < page.index("Stays:") < page.index(">Withdraw Web</button>")
    done = client.post("/opt-outs/out/", {"subject": "tiny/web", "reason": "We asked.", "next": PAGE})
    assert (done.status_code, done.headers["Location"]) == (302, PAGE)
    page = client.get(PAGE).content.decode()
    assert "Withdrawn since" in page
    assert ">Withdraw Web</button>" not in page
    assert client.get(API).json()["experts"][0]["withdrawn_since"] is not None
    assert client.post("/opt-outs/in/", {"subject": "tiny/web", "next": PAGE}).headers["Location"] == PAGE
    assert ">Withdraw Web</button>" in client.get(PAGE).content.decode()


def test_whole_owner_is_brought_back_by_operators_alone(people: People) -> None:
    optout.opt_out(subject="web owner", reason="All.", author=Author(is_operator=True))
    assert "the operators take that back" in people("member").get(PAGE).content.decode()
    assert "Let web owner be used again" in people("curator").get(PAGE).content.decode()


def test_no_text_of_anybody_reaches_an_owner(people: People, checkpoint: Checkpoint) -> None:
    made = services.start_generation(
        prompt="Return a secret", system_prompt="Hush.", max_tokens=8, seed=2, author=Author(user_id=None)
    )
    services.run_generation(made.id)
    stored = Generation.objects.get()
    assert stored.text
    for client in (people("curator"), people("member")):
        for path in (PAGE, f"{PAGE}?days=365", API, f"{API}days/", "/owners/", "/api/v1/owners/"):
            body = client.get(path).content.decode()
            for told in ("secret", "Hush", stored.text, str(stored.id)):
                assert told not in body


def test_token_reads_its_owners_figures(people: People, days: None) -> None:
    _, token = create_token(user=User.objects.get(username="member"), name="t", scopes=["read"], days=1)
    answer = Client().get(f"{API}days/", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["results"][0]["n_answers"] == 3


def test_list_names_all_owners_and_marks_ones_own(people: People) -> None:
    lines = {line["name"]: line for line in people("member").get("/api/v1/owners/").json()["results"]}
    assert set(lines) == {"public owner", "web owner", "numerics owner", "symbolic owner"}
    assert [name for name, line in lines.items() if line["is_mine"]] == ["web owner"]
    assert (lines["numerics owner"]["n_experts"], lines["numerics owner"]["n_corpora"]) == (1, 1)
    page = people("member").get("/owners/").content.decode()
    assert page.count("yours to switch") == 1
    assert f'href="/owners/{lines["symbolic owner"]["slug"]}/"' in page
    optout.opt_out(**WITHDRAWN)  # type: ignore[arg-type]
    lines = {line["name"]: line["n_experts"] for line in people("outsider").get("/api/v1/owners/").json()["results"]}
    assert lines["web owner"] == 0


def test_owner_known_by_an_opt_out_alone_still_has_a_page(people: People) -> None:
    optout.opt_out(subject="web owner", reason="All.", author=Author(is_operator=True))
    Expert.objects.filter(owner="web owner").delete()
    assert "None on this site" in people("anonymous").get(PAGE).content.decode()


@pytest.mark.django_db
def test_unknown_owner_is_missing() -> None:
    assert Client().get("/owners/nobody-12345678/").status_code == 404
    for path in ("/api/v1/owners/nobody-12345678/", "/api/v1/owners/nobody-12345678/days/"):
        assert Client().get(path).status_code == 404
