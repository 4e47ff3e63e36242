"""What the arena writes to the log passes the offline verifier, which shares no code with it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import call_command

from arena.models import Contestant, Season, Voter
from arena.services import battles, boards, epochs, seasons, variants, votes
from arena.services.exclusions import exclude_voter, include_again
from arena.services.roster import change_roster
from arena.services.slices import Slice
from tests.arena.conftest import RULES, Enter, answered, battled, eligible_voter
from webapp.transparency import verify
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
VERDICTS = ("a", "b", "tie", "both_bad")


def test_verifier_finds_nothing_when_a_season_holds_everything(
    season: Season, trio: list[Contestant], enter: Enter, voter: Voter, tmp_path: Path
) -> None:
    variant = enter("hidden", visibility="private")
    voters = [voter, eligible_voter()]
    sequence_entries()
    for number in range(12):
        battled(season, voters[number % 2], VERDICTS[number % 4])
    skipped = battles.start_battle(season=season, voter=voter, prompt="Return a new")
    battles.skip_battle(battle_id=skipped.id, voter=voter)
    edited = answered(battles.start_battle(season=season, voter=voter, prompt="Return a new"))
    for verdict in ("a", "tie"):
        votes.cast_vote(battle_id=edited.id, voter=voter, verdict=verdict)
    battles.reveal_battle(battle_id=edited.id, voter=voter)
    exclusion = exclude_voter(season=season, voter=voters[1], rule="always-tie", numbers={"e": "1200.5"})
    sequence_entries()
    boards.publish_leaderboard(season)
    variants.launch(variant)
    change_roster(contestant=trio[0], kind="paused", rule="unreachable", numbers={})
    change_roster(contestant=trio[0], kind="resumed", rule="reachable-again", numbers={})
    seasons.change_policy(season=season, rules=type(RULES)(min_votes=2, draws_per_epoch=4))
    sequence_entries()
    for number in range(8):
        battled(season, voters[number % 2], VERDICTS[number % 3])
    include_again(exclusion=exclusion, numbers={})
    sequence_entries()
    epochs.reveal_finished_epochs(season)
    boards.publish_leaderboard(season)
    boards.publish_leaderboard(season, Slice(both_bad=False))
    boards.publish_leaderboard(season, Slice(include_excluded=True))
    call_command("export_log", str(tmp_path / "export"), stdout=io.StringIO())
    report = verify.verify(tmp_path / "export")
    assert [str(w) for w in report.findings] == []
    replayed = report.replay.seasons["main"]
    assert (len(replayed.votes), len(replayed.boards)) == (21, 5)
    assert sum(e.is_revealed for e in replayed.epochs) >= 4
