"""Contestants whose experts' owners opt out are paused by the rule, and resumed; the log verifies."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from django.test import Client

from arena.models import Contestant, Season, Voter
from arena.services import battles
from arena.services.epochs import roster_at, tree_size
from arena.services.housekeeping import keep_house
from arena.services.optouts import follow_opt_outs
from arena.services.seasons import current_policy, rules_of, write_policy
from arena.views.boards import state_of
from tests.arena.conftest import Enter, answered, battled
from webapp.errors import BadInputError
from webapp.playground import optout
from webapp.playground.optout import OPERATOR
from webapp.transparency import verify
from webapp.transparency.exports import write_export
from webapp.transparency.services import sequence_entries


def out(subject: str) -> None:
    optout.opt_out(subject=subject, reason="They asked.", author=OPERATOR)


def in_again(subject: str) -> None:
    optout.opt_in(subject=subject, author=OPERATOR)


def drawable(season: Season) -> set[str]:
    sequence_entries()
    ids = set(roster_at(season, tree_size()))
    assert ids == {str(c.pk) for c in Contestant.objects.drawable().filter(season=season)}
    return {c.slug for c in season.contestants.all() if str(c.pk) in ids}


def test_those_that_need_the_expert_are_paused_and_resumed_by_rule(season: Season, trio: list[Contestant]) -> None:
    out("tiny/web")
    follow_opt_outs()
    follow_opt_outs()  # nothing more to do
    assert drawable(season) == {"without-web"}
    paused = next(c for c in trio if c.slug == "without-public")
    change = paused.changes.get()
    assert (change.kind, change.rule, change.numbers) == ("paused", "owner-opt-out", {"experts": ["web"]})
    assert state_of(paused) == "paused"
    in_again("tiny/web")
    keep_house()
    assert drawable(season) == {c.slug for c in trio}
    assert [c.rule for c in paused.changes.all()] == ["owner-opt-out", "owner-opt-in"]


def test_stays_paused_until_all_that_it_needs_are_back(season: Season, trio: list[Contestant]) -> None:
    out("tiny/web")
    out("symbolic owner")
    follow_opt_outs()
    assert drawable(season) == set()
    in_again("symbolic owner")
    follow_opt_outs()
    assert drawable(season) == {"without-web"}


def test_open_battle_closes_as_an_error_and_counts_for_nobody(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="Return a")
    for owner in ("public owner", "web owner", "numerics owner"):
        out(owner)
    assert battles.settle_battle(answered(battle))
    assert battle.close.reason == "answer-failed"


def test_nobody_enters_with_an_expert_that_was_withdrawn(season: Season, enter: Enter) -> None:
    out("tiny/web")
    with pytest.raises(BadInputError, match="has opted out"):
        enter("late", experts=["public", "web"])
    assert enter("rest").experts == ["public", "numerics", "symbolic"]


def test_policy_older_than_the_rule_is_published_anew(
    season: Season, trio: list[Contestant], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arena.policy.ROSTER_RULES", ("provider-launch", "retire-lowest"))
    before = write_policy(season, rules_of(current_policy(season)))
    monkeypatch.undo()
    out("tiny/web")
    follow_opt_outs()
    after = current_policy(season)
    assert after.version == before.version + 1
    assert asdict(rules_of(after)) == asdict(rules_of(before))


def test_log_verifies_and_pages_mark_it(
    season: Season, trio: list[Contestant], voter: Voter, tmp_path: Path, client: Client
) -> None:
    battled(season, voter)
    out("tiny/web")
    follow_opt_outs()
    in_again("tiny/web")
    follow_opt_outs()
    out("web owner")
    follow_opt_outs()
    sequence_entries()
    write_export(tmp_path / "log")
    report = verify.verify(tmp_path / "log")
    assert [str(wrong) for wrong in report.findings] == []
    assert report.replay.kinds["opt_out"] == 3
    page = client.get(next(c for c in trio if c.slug == "without-public").get_absolute_url()).content.decode()
    assert "its owner has opted out" in page
    assert "paused: the owner of an expert opted out" in page
