"""The arena's pages: from the checks to the reveal, the leaderboard, and what stays hidden before the vote."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client

from arena.models import Battle, BattleClose, Contestant, Season, Vote, VoteDetail
from arena.onboarding import CHECKS
from arena.services import boards, pool
from arena.sessions import COOKIE
from arena.streaming import Side, next_position
from tests.arena.conftest import Enter, answered, battled, eligible_voter
from webapp.accounts.services import delete_account, export_account
from webapp.playground.models import Generation
from webapp.roles import Role, grant_role
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
RIGHT = {check.id: check.right for check in CHECKS}


def pass_checks(client: Client) -> None:
    assert client.post("/arena/guidelines/", RIGHT).status_code == 303


def start(client: Client, prompt: str = "Return a new") -> Battle:
    answer = client.post("/arena/", {"prompt": prompt, "nonce": "ab" * 16})
    assert answer.status_code == 303, answer.content.decode()
    return Battle.objects.get(pk=answer["Location"].split("/")[3])


def content(response: HttpResponse) -> str:
    return response.content.decode()


def test_says_what_to_do_when_no_season_is_open(client: Client) -> None:
    answer = client.get("/arena/")
    assert answer.status_code == 404
    assert "add_contestant" in content(answer)
    assert not Season.objects.exists()


def test_asks_for_the_checks_first_and_explains_a_wrong_answer(client: Client, season: Season) -> None:
    assert "Two short questions" in content(client.get("/arena/"))
    refused = client.post("/arena/", {"prompt": "Hello"})
    assert refused.status_code == 422
    wrong = client.post("/arena/guidelines/", {**RIGHT, CHECKS[0].id: "a"})
    assert wrong.status_code == 422
    assert CHECKS[0].why in content(wrong)
    pass_checks(client)
    assert "Two short questions" not in content(client.get("/arena/"))


def test_battle_goes_from_the_prompt_to_the_reveal(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    battle = start(client)
    page = f"/arena/battles/{battle.pk}/"
    assert "are answering" in content(client.get(page))
    assert "Your verdict" not in content(client.get(page))
    early = client.post(f"{page}vote/", {"verdict": "a"})
    assert early.status_code == 422
    answered(battle)
    assert "Your verdict" in content(client.get(page))
    assert client.post(f"{page}vote/", {"verdict": "b"}).status_code == 303
    shown = content(client.get(page))
    assert "You said: B is better" in shown
    assert client.post(f"{page}reveal/").status_code == 303
    revealed = content(client.get(page))
    for contestant in (battle.contestant_a, battle.contestant_b):
        assert contestant.title in revealed
    assert Vote.objects.get().verdict == "b"
    assert client.post(f"{page}vote/", {"verdict": "a"}).status_code == 422
    again = client.get("/arena/history/")
    assert "B is better" in content(again)


def test_vote_is_described_once(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    battle = answered(start(client))
    page = f"/arena/battles/{battle.pk}/"
    client.post(f"{page}vote/", {"verdict": "a"})
    form = {"strength": "4", "confidence": "", "aspect-helpful": "a", "tags": ["clear"], "comment": "Short."}
    assert client.post(f"{page}describe/", {**form, "strength": "9"}).status_code == 422
    assert client.post(f"{page}describe/", form).status_code == 303
    assert client.post(f"{page}describe/", form).status_code == 422
    detail = VoteDetail.objects.get()
    assert (detail.strength, detail.aspects, detail.tags) == (4, {"helpful": "a"}, ["clear"])
    assert not detail.after_reveal


def test_skip_closes_and_the_next_battle_may_start(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    battle = start(client)
    assert client.post("/arena/", {"prompt": "Another"}).status_code == 422
    assert client.post(f"/arena/battles/{battle.pk}/skip/").status_code == 303
    assert start(client).pk != battle.pk


def test_failed_answer_closes_uncounted_when_the_next_battle_starts(
    client: Client, season: Season, trio: list[Contestant]
) -> None:
    pass_checks(client)
    battle = start(client)
    Generation.objects.filter(pk=battle.turns.get().generation_a_id).update(status="failed")
    page = content(client.get(f"/arena/battles/{battle.pk}/"))
    assert "An answer failed" in page
    assert not BattleClose.objects.exists(), "reading changed something"
    start(client)
    assert BattleClose.objects.get(battle=battle).kind == "error"


def test_further_question_goes_to_both(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    battle = answered(start(client))
    page = f"/arena/battles/{battle.pk}/"
    assert client.post(f"{page}ask/", {"prompt": ""}).status_code == 422
    assert client.post(f"{page}ask/", {"prompt": "And then?"}).status_code == 303
    assert "And then?" in content(client.get(page))
    assert battle.turns.count() == 2


def test_prompt_comes_from_the_pool_with_its_slices(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    line = {"id": "q1", "text": "Return the sum", "category": "code", "language": "en", "reference": "By a person."}
    assert pool.import_prompts([json.dumps(line)]) == (1, 0)
    assert pool.import_prompts([json.dumps(line)]) == (0, 1)
    answer = client.post("/arena/", {"pool": "1", "category": "code"})
    battle = Battle.objects.get()
    assert answer["Location"] == battle.get_absolute_url()
    assert (battle.category, battle.language) == ("code", "en")
    client.post(f"/arena/battles/{battle.pk}/skip/")
    assert "By a person." in content(client.get(battle.get_absolute_url()))


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "no JSON"), ("{}", "no text"), ('{"text": "x", "category": "' + "c" * 61 + '"}', "category is longer")],
)
def test_names_the_line_when_a_prompt_cannot_be_used(line: str, said: str) -> None:
    with pytest.raises(Exception, match=f"line 2.*{said}"):
        pool.import_prompts(['{"text": "fine"}', line])
    assert not pool.PoolPrompt.objects.exists()


def test_open_battle_is_nobody_elses_business(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    battle = answered(start(client))
    other = Client()
    for path in ("", "vote/", "reveal/", "skip/", "ask/", "describe/", "matches/"):
        url = f"/arena/battles/{battle.pk}/{path}"
        answer = other.post(url, {"verdict": "a", "prompt": "x"}) if path else other.get(url)
        assert answer.status_code == 404, path
    assert not Vote.objects.exists()


def test_battle_is_the_same_person_with_the_cookie_alone(
    client: Client, season: Season, trio: list[Contestant]
) -> None:
    pass_checks(client)
    battle = start(client)
    again = Client()
    again.cookies[COOKIE] = client.cookies[COOKIE].value
    assert again.get(battle.get_absolute_url()).status_code == 200
    assert "You have an open battle" in content(again.get("/arena/"))
    forged = Client()
    forged.cookies[COOKIE] = client.cookies[COOKIE].value[:-2] + "xx"
    assert forged.get(battle.get_absolute_url()).status_code == 404


def secrets_of(battle: Battle, contestants: list[Contestant]) -> Iterator[str]:
    """Yield whatever would tell, or help to tell, who answers."""
    for contestant in contestants:
        yield from (contestant.title, contestant.slug, str(contestant.pk), contestant.digest, contestant.provider.name)
    for generation in Generation.objects.all():
        yield str(generation.pk)
        yield str(generation.seed)
    yield battle.epoch.seed
    yield contestants[0].checkpoint_digest


@pytest.mark.parametrize("role", ["anonymous", "annotator", "provider", "curator"])
def test_nothing_tells_who_answers_before_the_vote(
    client: Client, season: Season, trio: list[Contestant], role: str
) -> None:
    if role != "anonymous":
        user = User.objects.create_user("someone")
        if role in ("annotator", "provider"):
            grant_role(user=user, role=Role(role))
        else:
            grant_role(user=user, role=Role.OWNER)
        if role == "provider":
            trio[0].provider.members.add(user)
        client.force_login(user)
    pass_checks(client)
    battle = start(client)
    page = battle.get_absolute_url()
    looked = [client.get(page), client.get("/arena/"), client.get("/arena/history/")]
    answered(battle)
    looked += [client.get(page), client.get(f"{page}?plain=1"), client.get("/arena/history/")]
    looked += [client.post(f"{page}vote/", {"verdict": "tie"}), client.get(page), client.get("/arena/history/")]
    said = "\n".join(f"{answer.status_code}\n{answer.headers}\n{content(answer)}" for answer in looked)
    assert [secret for secret in secrets_of(battle, trio) if secret in said] == []
    for generation in Generation.objects.all():
        assert client.get(f"/api/v1/generations/{generation.pk}/").status_code == 404
        assert client.get(f"/playground/{generation.pk}/").status_code == 404
    assert all(answer["Cache-Control"].startswith("max-age=0") for answer in looked[:6])


def test_both_sides_look_alike_but_for_their_words(client: Client, season: Season, trio: list[Contestant]) -> None:
    pass_checks(client)
    battle = answered(start(client))
    page = content(client.get(battle.get_absolute_url()))
    a, b = (page.split(f'data-side="{side}"')[1].split("</article>")[0] for side in ("a", "b"))
    turn = battle.turns.get()
    assert turn.generation_a is not None
    assert turn.generation_b is not None
    turn.generation_a.refresh_from_db()
    turn.generation_b.refresh_from_db()
    texts = [g.text for g in (turn.generation_a, turn.generation_b)]
    bare = [
        part.split("<pre")[0].replace("Answer A", "").replace("A", "")
        for part in (a, b.replace("Answer B", "").replace("B", "A"))
    ]
    assert "".join(bare[0].split()) == "".join(bare[1].split())
    assert len(texts) == 2


async def read(client: AsyncClient, battle: Battle, cookie: str, last: str = "") -> list[tuple[str, dict[str, object]]]:
    client.cookies[COOKIE] = cookie
    headers = {"last-event-id": last} if last else {}
    response = await client.get(f"/api/v1/arena/battles/{battle.pk}/stream/", headers=headers)
    assert response["Cache-Control"] == "no-store"
    raw = b"".join([chunk async for chunk in response]).decode()  # type: ignore[attr-defined]
    events = [block.split("\n") for block in raw.split("\n\n") if block.startswith("id:")]
    return [(lines[1].removeprefix("event: "), json.loads(lines[2].removeprefix("data: "))) for lines in events]


@pytest.mark.django_db(transaction=True)
def test_stream_carries_both_answers_and_resumes(
    client: Client, season: Season, trio: list[Contestant], monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgiref.sync import async_to_sync

    monkeypatch.setattr("arena.streaming.TICK_S", 0.0)
    pass_checks(client)
    battle = answered(start(client))
    cookie = client.cookies[COOKIE].value
    events = async_to_sync(read)(AsyncClient(), battle, cookie)
    turn = battle.turns.get()
    for side in ("a", "b"):
        generation = getattr(turn, f"generation_{side}")
        assert "".join(str(data[side]) for kind, data in events if kind == "text") == generation.text
    assert events[-1] == ("done", {"failed": False})
    assert {name for _, data in events[:-1] for name in data} == {"a", "b"}
    resumed = async_to_sync(read)(AsyncClient(), battle, cookie, "3")
    assert "".join(str(data["a"]) for kind, data in resumed if kind == "text") == turn.generation_a.text[3:]  # type: ignore[union-attr]


def test_neither_side_runs_ahead_of_the_other() -> None:
    import uuid

    fast, slow = Side(uuid.uuid4(), "x" * 100, is_done=True), Side(uuid.uuid4(), "y" * 10)
    assert next_position((fast, slow), 0) == 10
    assert next_position((fast, slow), 10) == 10
    slow.text += "y" * 50
    assert next_position((fast, slow), 10) == 34
    slow.is_done = True
    assert next_position((fast, slow), 96) == 100


@pytest.fixture
def voted(season: Season, trio: list[Contestant]) -> Season:
    voter = eligible_voter()
    for number in range(9):
        battled(season, voter, ("a", "b", "tie")[number % 3])
    sequence_entries()
    boards.publish_leaderboard(season)
    return season


def test_account_takes_its_battles_along_and_leaves_no_text_behind(
    client: Client, season: Season, trio: list[Contestant]
) -> None:
    user = User.objects.create_user("someone")
    client.force_login(user)
    pass_checks(client)
    battle = answered(start(client, prompt="My own words"))
    client.post(f"/arena/battles/{battle.pk}/vote/", {"verdict": "b"})
    [mine] = [row for row in export_account(user=user) if row["kind"] == "battle"]
    assert (mine["prompt"], mine["verdict"]) == ("My own words", "b")
    delete_account(user=user, confirmation="someone")
    assert Vote.objects.closed().get().voter.user is None
    page = content(Client().get(battle.get_absolute_url()))
    assert "erased at its author" in page
    assert "My own words" not in page
    assert not Generation.objects.exclude(text="").exists()


def test_leaderboard_shows_every_number_of_the_snapshot(client: Client, voted: Season, trio: list[Contestant]) -> None:
    page = content(client.get("/arena/leaderboard/"))
    board = boards.latest_leaderboard(voted)
    assert board is not None
    for row in board.result["ratings"]:
        assert f"{row['lower']:.0f} to {row['upper']:.0f}" in page.replace("−", "-")
    assert board.input_digest in page
    for contestant in trio:
        assert contestant.title in page
    assert content(client.get(board.get_absolute_url())).count("<circle") == len(board.result["ratings"])
    lines = content(client.get("/arena/leaderboard.csv")).splitlines()
    assert len(lines) == 1 + len(board.result["ratings"])


SLICES = {
    "both_bad=0&include_excluded=1": 200,
    "style=1": 200,
    "category=none": 200,
    "tree_size=1": 200,
    "since=2026-01-01&until=2027-01-01": 200,
    "tree_size=-1": 400,
    "tree_size=999999": 400,
    "since=yesterday": 400,
    "since=2027-01-01&until=2026-01-01": 400,
    "season=nothing": 404,
    f"category={'x' * 61}": 400,
}


def test_slice_is_shown_or_its_mistake_is_named(client: Client, voted: Season) -> None:
    for query, status in SLICES.items():
        for path in ("/arena/leaderboard/", "/arena/leaderboard.csv"):
            assert client.get(f"{path}?{query}").status_code == status, query


def test_contestant_pair_provider_and_method_have_pages(client: Client, voted: Season, trio: list[Contestant]) -> None:
    one, two = trio[:2]
    for path, said in (
        (one.get_absolute_url(), one.digest),
        (f"/arena/pairs/{one.pk}/{two.pk}/", "Counted votes"),
        (one.provider.get_absolute_url(), one.title),
        ("/arena/method/", "eq. 9"),
    ):
        answer = client.get(path)
        assert answer.status_code == 200
        assert said in content(answer), path


def test_private_variant_has_no_page_until_something_discloses_it(client: Client, enter: Enter) -> None:
    secret = enter("hidden", visibility="private", experts=["public"])
    assert client.get(secret.get_absolute_url()).status_code == 404
    assert secret.title not in content(client.get(secret.provider.get_absolute_url()))
    assert "under test now: 1" in content(client.get(secret.provider.get_absolute_url()))


def test_simulated_season_is_marked_on_its_pages(client: Client) -> None:
    from arena.services.seasons import open_season

    open_season(slug="simulated", title="Trial", is_simulated=True)
    for path in ("/arena/leaderboard/", "/arena/method/"):
        assert "Simulated votes." in content(client.get(f"{path}?season=simulated"))
