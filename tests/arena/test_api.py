"""The arena over REST: what the page can do, blind until the close, and open data after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from arena.models import Battle, Contestant, Provider, RosterChange, Season
from arena.onboarding import CHECKS
from arena.services import boards, pool
from tests.arena.conftest import Enter, answered, battled, eligible_voter
from webapp.accounts.models import Scope
from webapp.accounts.services import create_token
from webapp.models import IdempotentRequest
from webapp.roles import Role, grant_role
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
RIGHT = {check.id: check.right for check in CHECKS}
API = "/api/v1/arena/"


class Program:
    """A client without cookies: it knows itself by the Arena-Voter header alone."""

    def __init__(self, **headers: str) -> None:
        self.client, self.headers = Client(), headers

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        answer = Client().post(
            API + path, json.dumps(body or {}), content_type="application/json", headers={**self.headers, **headers}
        )
        if "Arena-Voter" in answer:
            self.headers["Arena-Voter"] = answer["Arena-Voter"]
        return answer

    def get(self, path: str) -> Any:
        return Client().get(API + path, headers=self.headers)


@pytest.fixture
def program(season: Season) -> Program:
    asker = Program()
    assert asker.post("onboarding/", {"answers": RIGHT}).json()["has_passed"]
    return asker


def member_of(provider: Provider, name: str = "member") -> Program:
    user = User.objects.create_user(name)
    provider.members.add(user)
    _, token = create_token(user=user, name="arena", scopes=[Scope.ARENA, Scope.READ], days=1)
    return Program(Authorization=f"Bearer {token}")


def test_battle_goes_from_the_checks_to_the_reveal(program: Program, trio: list[Contestant]) -> None:
    started = program.post("battles/", {"prompt": "Return a new", "nonce": "ab" * 16})
    assert started.status_code == 202, started.content
    place = started["Location"].removeprefix(API)
    battle = Battle.objects.get()
    assert started.json()["status"] == "answering"
    assert program.post(f"{place}vote/", {"verdict": "a"}).status_code == 409
    answered(battle)
    ready = program.get(place).json()
    assert ready["status"] == "ready"
    assert isinstance(ready["turns"][0]["answer_a"], str)
    assert program.post(f"{place}turns/", {"prompt": "And then?"}).status_code == 200
    answered(battle)
    assert program.post(f"{place}vote/", {"verdict": "c"}).status_code == 400
    voted = program.post(f"{place}vote/", {"verdict": "tie"}).json()
    assert voted["vote"]["verdict"] == "tie"
    assert voted["reveal"] is None
    assert program.post(f"{place}vote/", {"verdict": "b"}).json()["vote"]["verdict"] == "b"
    assert program.post(f"{place}description/", {"strength": 4, "tags": ["clear"]}).status_code == 200
    revealed = program.post(f"{place}reveal/").json()
    assert revealed["status"] == "closed"
    assert revealed["reveal"]["sides"]["a"]["contestant"] == str(battle.contestant_a_id)
    assert program.post(f"{place}vote/", {"verdict": "a"}).status_code == 409
    without_index = program.post(f"{place}matches/")
    assert without_index.status_code == 400
    assert "index" in without_index.json()["detail"]
    assert [b["outcome"] for b in program.get("battles/").json()["results"]] == ["vote"]
    assert Program().get("battles/").json()["results"] == []
    assert Program().get(place).status_code == 200  # closed: open to everybody


def test_open_battle_is_closed_to_others_and_to_voters_without_the_checks(
    program: Program, trio: list[Contestant]
) -> None:
    place = program.post("battles/", {"prompt": "Return"})["Location"].removeprefix(API)
    for other in (Program(), Program(**{"Arena-Voter": "forged"})):
        for answer in (other.get(place), other.post(f"{place}vote/", {"verdict": "a"}), other.post(f"{place}skip/")):
            assert answer.status_code == 404
    refused = Program().post("battles/", {"prompt": "Return"})
    assert refused.status_code == 403
    assert refused["Content-Type"] == "application/problem+json"
    assert program.post(f"{place}skip/").json()["status"] == "closed"


def test_same_key_draws_once(program: Program, trio: list[Contestant]) -> None:
    first = program.post("battles/", {"prompt": "Return"}, **{"Idempotency-Key": "k"})
    again = program.post("battles/", {"prompt": "Return"}, **{"Idempotency-Key": "k"})
    assert first.json()["id"] == again.json()["id"]
    assert Battle.objects.count() == IdempotentRequest.objects.count() == 1


def test_takes_a_prompt_from_the_pool(program: Program, trio: list[Contestant]) -> None:
    pool.import_prompts([json.dumps({"id": "1", "text": "Return evenly", "category": "numerics"})])
    assert program.post("battles/", {"from_pool": True, "category": "none"}).status_code == 400
    made = program.post("battles/", {"from_pool": True, "category": "numerics"}).json()
    assert made["turns"][0]["prompt"] == "Return evenly"
    assert made["category"] == "numerics"


def test_wrong_checks_are_explained(season: Season) -> None:
    wrong = Program().post("onboarding/", {"answers": {**RIGHT, CHECKS[0].id: "a"}}).json()
    assert wrong["wrong"] == {CHECKS[0].id: CHECKS[0].why}
    assert Program().get("onboarding/").json()["has_passed"] is False
    shown = Program().get("onboarding/").json()
    assert set(shown["checks"][0]) == {"id", "question", "options"}
    assert shown["wrong"] == {}


def test_provider_enters_tests_and_launches_a_private_variant(
    season: Season, provider: Provider, trio: list[Contestant]
) -> None:
    member, other = member_of(provider), member_of(Provider.objects.create(slug="else", name="Else"), "other")
    body = {
        "provider": "lab", "slug": "secret", "title": "Secret", "licence_group": "open-source",
        "visibility": "private", "experts": ["public"], "max_tokens": 4,
    }  # fmt: skip
    assert other.post("contestants/", body).status_code == 403
    assert Program().post("contestants/", body).status_code == 403
    made = member.post("contestants/", body)
    assert made.status_code == 201, made.content
    place = made["Location"].removeprefix(API)
    assert len(made.json()["digest"]) == 64
    assert member.get(place).json()["state"] == "private variant"
    for stranger in (other, Program()):
        assert stranger.get(place).status_code == 404
        assert stranger.post(f"{place}launch/").status_code == 404
        assert "Secret" not in stranger.get("contestants/").content.decode()
    assert member.post("contestants/", {**body, "slug": "again"}).status_code == 409  # the same digest
    counters = Program().get("providers/").json()["results"]
    assert {p["slug"]: p["n_private_now"] for p in counters}["lab"] == 1
    launched = member.post(f"{place}launch/")
    assert launched.json()["state"] == "active"
    board = launched.json()["changes"][0]["board"]
    assert Program().get(f"leaderboards/{board}/").status_code == 200
    assert member.post(f"{place}launch/").status_code == 409
    assert "Secret" in Program().get("contestants/").content.decode()


def test_withdrawal_publishes_the_rating_and_public_ones_stay(provider: Provider, trio: list[Contestant]) -> None:
    member = member_of(provider)
    body = {"provider": "lab", "slug": "v", "title": "V", "licence_group": "open-source", "visibility": "private"}
    place = member.post("contestants/", {**body, "experts": ["web"]})["Location"].removeprefix(API)
    assert member.post(f"{place}withdraw/").json()["changes"][0]["kind"] == "withdrawn"
    assert RosterChange.objects.get().board is not None
    assert member.post(f"contestants/{trio[0].pk}/withdraw/").status_code == 409


def test_cap_on_private_variants_holds_over_rest(provider: Provider, trio: list[Contestant]) -> None:
    member = member_of(provider)
    body = {"provider": "lab", "title": "V", "licence_group": "open-source", "visibility": "private"}
    answers = [member.post("contestants/", {**body, "slug": f"v{n}", "max_tokens": 9 + n}) for n in range(4)]
    assert [a.status_code for a in answers] == [201, 201, 201, 409]
    assert "Launch or withdraw one first" in answers[-1].json()["detail"]


def test_only_the_role_registers_a_provider(season: Season) -> None:
    user = User.objects.create_user("founder")
    _, token = create_token(user=user, name="t", scopes=[Scope.ARENA], days=1)
    founder = Program(Authorization=f"Bearer {token}")
    body = {"slug": "new-lab", "name": "New Lab"}
    assert founder.post("providers/", body).status_code == 403
    assert Program().post("providers/", body).status_code == 403
    grant_role(user=user, role=Role.PROVIDER)
    assert founder.post("providers/", body).status_code == 201
    assert Provider.objects.get(slug="new-lab").members.get() == user
    assert founder.post("providers/", body).status_code == 409


def test_open_data_after_the_close(season: Season, trio: list[Contestant]) -> None:
    for verdict in "abab":
        battled(season, eligible_voter(), verdict)
    sequence_entries()
    board = boards.publish_leaderboard(season)
    asker = Program()
    votes = asker.get("votes/").json()["results"]
    assert len(votes) == 4
    assert all("/" in v["p_pair"] and len(v["voter"]) == 64 for v in votes)
    now = asker.get("leaderboard/").json()
    assert now["id"] == str(board.pk)
    assert now["input_digest"] == board.input_digest
    assert now["pairs"] == board.pairs
    earlier = asker.get(f"leaderboard/?tree_size={board.tree_size - 1}").json()
    assert earlier["n_votes"] < 4
    assert asker.get("leaderboard/?tree_size=999999").status_code == 400
    assert asker.get("leaderboard/?since=never").status_code == 400
    assert asker.get("leaderboards/").json()["results"][0]["result_digest"] == board.result_digest
    assert asker.get(f"leaderboards/{board.pk}/").json() == now
    assert asker.get("policies/").json()["results"][0]["version"] == 1
    assert asker.get("seasons/").json()["results"][0]["slug"] == "main"


def test_seed_of_a_running_epoch_is_secret(program: Program, trio: list[Contestant]) -> None:
    from arena.models import Epoch

    program.post("battles/", {"prompt": "Return"})
    shown = program.get("epochs/").json()["results"]
    assert shown[0]["seed"] is None
    assert Epoch.objects.get().seed not in json.dumps(shown)


Ask = Callable[[str], Any]


@pytest.mark.parametrize("role", ["the voter", "anonymous", "annotator", "researcher", "provider", "member"])
def test_nothing_tells_who_answers_before_the_vote(
    role: str, program: Program, provider: Provider, trio: list[Contestant], enter: Enter
) -> None:
    """Every address that takes the battle, its answers or the pair, asked by every role but the operator's."""
    place = program.post("battles/", {"prompt": "Return a new"})["Location"].removeprefix(API)
    battle = answered(Battle.objects.get())
    sequence_entries()
    headers = dict(program.headers) if role == "the voter" else {}
    client = Client()
    if role == "member":
        headers = member_of(provider).headers
    elif role not in ("the voter", "anonymous"):
        user = User.objects.create_user(role)
        grant_role(user=user, role=Role(role))
        client.force_login(user)
    turn = battle.turns.get()
    pages = [
        f"/arena/battles/{battle.pk}/",
        f"/arena/battles/{battle.pk}/?plain=1",
        f"/arena/battles/{battle.pk}/?matches=a",
        "/arena/",
        "/arena/history/",
        f"{API}{place}",
        f"{API}battles/",
        f"{API}votes/",
        f"{API}epochs/",
        f"/api/v1/generations/{turn.generation_a_id}/",
        f"/api/v1/generations/{turn.generation_b_id}/routing/",
        "/api/v1/log/entries/",
    ]
    contestants = (battle.contestant_a, battle.contestant_b)
    names = [str(c.pk) for c in contestants] + [c.title for c in contestants] + [c.digest for c in contestants]
    pair = {f"{battle.p_numerator}/{battle.p_denominator}", *map(str, (turn.generation_a_id, turn.generation_b_id))}
    for page in pages:
        answer = client.get(page, headers=headers)
        text = answer.content.decode() + json.dumps(dict(answer.headers))
        if "/generations/" in page:
            assert answer.status_code == 404
            continue
        if page.startswith((f"{API}epochs", "/api/v1/log")):
            continue  # name the whole roster alike; nothing in them knows the battle's pair: see below
        found = [name for name in [*names, *pair] if name in text]
        assert not found, (page, found)
    entries = client.get("/api/v1/log/entries/?page_size=1000").json()["entries"]
    draws = [entry["leaf"] for entry in entries if entry["kind"] == "draw"]
    assert draws
    assert not [name for name in [*names, *pair] if name in json.dumps(draws)]


def test_both_sides_are_answered_alike_whoever_sits_there(program: Program, trio: list[Contestant]) -> None:
    """Headers of the blind resource and page are the same for every pair."""
    seen = set()
    for _ in range(4):
        place = program.post("battles/", {"prompt": "Return a new"})["Location"].removeprefix(API)
        answer = program.get(place)
        assert answer["Cache-Control"] == "private, no-store"
        seen.add(tuple(sorted(k for k in answer.headers if k != "X-Request-Id")))
        program.post(f"{place}skip/")
    assert len(seen) == 1
