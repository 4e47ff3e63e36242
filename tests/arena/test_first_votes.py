"""The vote in two statements does what the vote under a lock does, also when something crosses it."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena.models import Battle, Contestant, Season, Verdict, Vote
from arena.services import battles, first_votes, votes
from tests.arena.conftest import eligible_voter
from webapp.errors import ConflictError, FairgroundError
from webapp.playground.models import Generation
from webapp.transparency.models import Entry
from webapp.transparency.services import append_entry_with, sequence_entries

only_postgresql = pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time: nothing can cross")
VERDICTS = [*Verdict.values, "nobody"]
ACTIONS = ["answer", "fail", "vote", "ask", "skip", "reveal", "other"]


@pytest.fixture
def battle(season: Season, trio: list[Contestant]) -> Battle:
    """An open battle whose answers are there."""
    started = battles.start_battle(season=season, voter=eligible_voter(), prompt="Return")
    answer(started)
    return started


def answer(battle: Battle, status: str = "done") -> None:
    for turn in battle.turns.all():
        Generation.objects.filter(pk__in=[turn.generation_a_id, turn.generation_b_id]).update(status=status)


def act(battle: Battle, action: str, verdict: str) -> Any:
    """Do one thing to a battle; return what came out, in words that do not name the battle."""
    own: dict[str, Any] = {"battle_id": battle.pk, "voter": battle.voter}
    try:
        if action in ("answer", "fail"):
            answer(battle, "done" if action == "answer" else "failed")
        elif action == "other":
            votes.cast_vote(battle_id=battle.pk, voter=eligible_voter(), verdict=verdict)
        elif action == "vote":
            return votes.cast_vote(**own, verdict=verdict).verdict
        elif action == "ask":
            battles.add_turn(**own, prompt="And then?")
        else:
            (battles.skip_battle if action == "skip" else battles.reveal_battle)(**own)
    except FairgroundError as error:
        return type(error), error.code, error.message
    return None


def stored(battle: Battle) -> list[Any]:
    """Return the votes of a battle with their leaves, without what differs from battle to battle."""
    rows = list(battle.votes.order_by("pk"))
    places = {vote.entry_id: place for place, vote in enumerate(rows)}
    found = []
    for vote in rows:
        body = json.loads(Entry.objects.get(id=vote.entry_id).leaf)["body"]
        before = body.pop("supersedes", None)
        assert body == {
            "season": battle.season.slug,
            "epoch": battle.epoch.number,
            "draw_index": battle.draw_index,
            "battle": str(battle.pk),
            "verdict": vote.verdict,
            "voter": battle.voter.digest(battle.season),
        }
        assert vote.voter_id == battle.voter_id
        assert 0 <= vote.latency_ms < 600_000
        found.append((vote.verdict, places[uuid.UUID(before)] if before else None, vote.supersedes_id is None))
    return found


@only_postgresql
@pytest.mark.django_db(transaction=True)
def test_same_things_come_out_as_under_the_lock(season: Season, trio: list[Contestant]) -> None:
    steps = st.tuples(st.sampled_from([*ACTIONS, "vote", "vote"]), st.sampled_from(VERDICTS))

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, min_size=1, max_size=6), st.booleans())
    def check(done: list[tuple[str, str]], is_answered: bool) -> None:
        came_out = []
        for is_locked in (False, True):
            battle = battles.start_battle(season=season, voter=eligible_voter(), prompt="Return")
            if is_answered:
                answer(battle)
            with pytest.MonkeyPatch.context() as patch:
                if is_locked:
                    patch.setattr(votes, "cast_first_vote", lambda *_: None)
                came_out.append([act(battle, *step) for step in done] + stored(battle))
        assert came_out[0] == came_out[1]

    check()
    sequence_entries()


@only_postgresql
@pytest.mark.django_db(transaction=True)
def test_first_vote_takes_two_statements(battle: Battle, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        vote = votes.cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="a")
    assert Vote.objects.get() == vote
    assert stored(battle) == [("a", None, True)]
    for field in Vote._meta.concrete_fields:
        assert getattr(vote, field.attname) == getattr(Vote.objects.get(), field.attname), field.name


Cross = Callable[[Battle], object]


def vote_b(battle: Battle) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(votes, "cast_first_vote", lambda *_: None)
        votes.cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="b")


@only_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("cross", "code", "after"),
    [
        (lambda b: battles.skip_battle(battle_id=b.pk, voter=b.voter), "closed", []),
        (lambda b: battles.add_turn(battle_id=b.pk, voter=b.voter, prompt="And?"), "not-ready", []),
        (vote_b, "", [("b", None, True), ("a", 0, False)]),
    ],
)
def test_what_crosses_a_vote_is_seen(
    battle: Battle, monkeypatch: pytest.MonkeyPatch, cross: Cross, code: str, after: list[object]
) -> None:
    def crossed(*arguments: Any, **named: Any) -> uuid.UUID:
        cross(battle)
        return append_entry_with(*arguments, **named)

    monkeypatch.setattr(first_votes, "append_entry_with", crossed)
    if code:
        with pytest.raises(ConflictError) as raised:
            votes.cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="a")
        assert raised.value.code == code
    else:
        assert votes.cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="a").supersedes is not None
    assert stored(battle) == after
    assert Entry.objects.filter(kind="vote").count() == len(after), "no entry without its vote"


@only_postgresql
@pytest.mark.django_db(transaction=True)
def test_many_at_once_leave_one_first_vote(battle: Battle) -> None:
    begin, given_back = threading.Barrier(4), []

    def cast() -> None:
        begin.wait()
        given_back.append(votes.cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="tie").pk)
        connection.close()

    threads = [threading.Thread(target=cast) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(given_back) == {Vote.objects.get().pk}
    assert len(given_back) == 4
    assert Entry.objects.filter(kind="vote").count() == 1


@pytest.mark.django_db
def test_within_a_transaction_the_lock_decides(battle: Battle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_votes, "append_entry_with", pytest.fail)
    with transaction.atomic():
        votes.cast_vote(battle_id=battle.pk, voter=battle.voter, verdict="a")
    assert stored(battle) == [("a", None, True)]
