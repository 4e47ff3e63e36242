"""A process that found the log damaged takes no votes, says why, and goes on with everything else."""

from __future__ import annotations

import pytest
from django.test import Client

from arena.models import Battle, Contestant, Season, Vote, Voter
from arena.services import battles, voters, votes
from arena.sessions import HEADER
from tests.arena.conftest import answered
from tests.transparency.test_soundness import lift_triggers
from webapp.transparency import soundness
from webapp.transparency.models import Entry
from webapp.transparency.services import sequence_entries
from webapp.transparency.soundness import check_at_start

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_found", type(soundness._found)())


@pytest.fixture
def battle(season: Season, trio: list[Contestant], voter: Voter) -> Battle:
    started = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    sequence_entries()
    return started


def damage() -> tuple[int, str]:
    """Change the newest leaf as only somebody with the database's own rights could; return what it was."""
    lift_triggers()
    newest = Entry.objects.sequenced().last()
    assert newest is not None
    assert newest.index is not None
    Entry.objects.filter(pk=newest.pk).update(leaf="{}")
    return newest.index, newest.leaf


def test_votes_and_draws_are_refused_while_the_log_is_damaged(battle: Battle, voter: Voter, client: Client) -> None:
    index, _ = damage()
    check_at_start()
    path = f"/api/v1/arena/battles/{battle.pk}/vote/"
    own = {HEADER: voters.voter_token(voter)}
    refused = client.post(path, {"verdict": "a"}, content_type="application/json", headers=own)
    assert refused.status_code == 503
    assert refused.json()["code"] == "log-unsound"
    assert f"Leaf {index}: does not have its hash" in refused.json()["detail"]
    assert int(refused["Retry-After"]) > 0
    with pytest.raises(soundness.LogUnsoundError):
        battles.start_battle(season=battle.season, voter=voter, prompt="Another")
    assert not Vote.objects.exists()
    assert not Entry.objects.filter(kind="vote").exists()
    assert Battle.objects.count() == 1


def test_the_site_goes_on_and_says_so(battle: Battle, voter: Voter, client: Client) -> None:
    damage()
    check_at_start()
    assert client.get("/arena/").status_code == 200
    assert client.get("/log/").status_code == 200
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["log"]) == (200, "warning")
    battles.skip_battle(battle_id=battle.pk, voter=voter)


def test_votes_are_taken_again_once_the_log_is_mended(
    battle: Battle, voter: Voter, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, leaf = damage()
    check_at_start()
    monkeypatch.setattr(soundness, "LOOK_AGAIN_S", 0)
    with pytest.raises(soundness.LogUnsoundError):
        votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a")
    Entry.objects.filter(index=index).update(leaf=leaf)
    monkeypatch.setattr(soundness, "LOOK_AGAIN_S", 3600)
    with pytest.raises(soundness.LogUnsoundError):
        votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a")
    monkeypatch.setattr(soundness, "LOOK_AGAIN_S", 0)
    assert votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a") == Vote.objects.get()
    assert soundness.known_damage() == ""


def test_a_sound_log_is_not_looked_at_for_a_vote(battle: Battle, voter: Voter, monkeypatch: pytest.MonkeyPatch) -> None:
    check_at_start()
    monkeypatch.setattr(soundness, "_tail_is_right", pytest.fail)
    votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a")
    assert Vote.objects.count() == 1
