"""Where the draws of a season stand, read by one statement, against the same asked one thing after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from arena.models import Battle, BattleTurn, Contestant, EpochReveal, RosterKind, Season, TurnText, Voter
from arena.services import battles, epochs, roster, seasons
from arena.services.epochs import next_draw, roster_at, standing_of, table_of, tree_size
from arena.services.seasons import current_policy, rules_of
from arena.services.voters import voter_token
from tests.arena.conftest import Enter, eligible_voter
from webapp.playground.models import Generation
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db


def slow(season: Season) -> tuple[int | None, int, int, int, bool]:
    """Newest epoch, policy in force, tree size, draws of the epoch, and whether it is over: statement by statement."""
    epoch = season.epochs.order_by("-number").first()
    size, policy = tree_size(), current_policy(season)
    if epoch is None:
        return None, policy.pk, size, 0, True
    rules = rules_of(epoch.policy)
    n_draws = epoch.battles.count()
    is_over = (
        n_draws >= rules.draws_per_epoch
        or epoch.created_at < timezone.now() - timedelta(hours=rules.epoch_hours)
        or EpochReveal.objects.filter(epoch=epoch).exists()
        or epoch.policy_id != policy.pk
        or roster_at(season, size) != list(table_of(epoch).contestants)
    )
    return epoch.pk, policy.pk, size, n_draws, is_over


def fast(season: Season) -> tuple[int | None, int, int, int, bool]:
    found = standing_of(season)
    return found.epoch.pk if found.epoch else None, found.policy.pk, found.size, found.n_draws, found.is_over


def draw(season: Season, enter: Enter) -> None:
    battle = battles.start_battle(season=season, voter=eligible_voter(), prompt="Return")
    battles.skip_battle(battle_id=battle.pk, voter=battle.voter)


def add(season: Season, enter: Enter) -> None:
    n = Contestant.objects.count()
    enter(f"new-{n}", max_tokens=4 + n)


def pause(season: Season, enter: Enter) -> None:
    one = season.contestants.order_by("created_at").first()
    assert one is not None
    last = one.changes.order_by("pk").last()
    is_paused = last is not None and last.kind == RosterKind.PAUSED
    kind, rule = (RosterKind.RESUMED, "reachable-again") if is_paused else (RosterKind.PAUSED, "unreachable")
    roster.change_roster(contestant=one, kind=kind, rule=rule, numbers={})


def change_rules(season: Season, enter: Enter) -> None:
    rules = rules_of(current_policy(season))
    seasons.change_policy(season=season, rules=replace(rules, min_votes=rules.min_votes + 1))


STEPS: dict[str, Callable[[Season, Enter], object]] = {
    "draw": draw,
    "sequence": lambda *_: sequence_entries(),
    "add": add,
    "pause or resume": pause,
    "change the rules": change_rules,
    "reveal": lambda season, _: epochs.reveal_finished_epochs(season),
}


@examples(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=14))
def test_one_statement_tells_what_many_tell(
    season: Season, enter: Enter, trio: list[Contestant], names: list[str]
) -> None:
    assert fast(season) == slow(season)  # each example goes on where the one before ended: nothing is taken back
    for name in names:
        STEPS[name](season, enter)
        assert fast(season) == slow(season), name


@pytest.mark.parametrize("name", ["add", "pause or resume", "change the rules"])
def test_news_end_an_epoch_once_they_have_their_place(
    season: Season, enter: Enter, trio: list[Contestant], name: str
) -> None:
    draw(season, enter)
    assert not standing_of(season).is_over
    STEPS[name](season, enter)
    assert standing_of(season).is_over == (name == "change the rules")
    sequence_entries()
    assert standing_of(season).is_over
    assert fast(season) == slow(season)


def test_epoch_ends_with_its_last_draw_and_with_its_day(
    season: Season, enter: Enter, trio: list[Contestant], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        draw(season, enter)
    assert (standing_of(season).n_draws, standing_of(season).is_over) == (4, False)
    later = timezone.now() + timedelta(hours=25)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: later)
        assert standing_of(season).is_over
    draw(season, enter)
    assert (standing_of(season).n_draws, standing_of(season).is_over) == (5, True)
    with transaction.atomic():
        epoch, draw_index = next_draw(season)
    assert (epoch.number, draw_index) == (1, 0)


def test_draw_asks_nothing_twice(client: Client, season: Season, enter: Enter, trio: list[Contestant]) -> None:
    draw(season, enter)  # opens the epoch
    voter = eligible_voter()
    with CaptureQueriesContext(connection) as asked:
        answer = client.post(
            "/api/v1/arena/battles/",
            {"prompt": "Return"},
            content_type="application/json",
            headers={"Arena-Voter": voter_token(voter)},
        )
    assert answer.status_code == 202
    statements = [query["sql"] for query in asked if "SAVEPOINT" not in query["sql"]]
    assert len(statements) <= 20, statements
    twice = [sql for sql in statements if statements.count(sql) > 1]
    assert all('FROM "arena_epoch"' in sql for sql in twice), twice  # before the season's lock and under it


def test_answers_that_cannot_wait_leave_nothing_behind_but_the_draw(
    season: Season, trio: list[Contestant], voter: Voter, settings: Any
) -> None:
    settings.MAX_WAITING = 1
    battle = battles.start_battle(season=season, voter=voter, prompt="Return")
    turn = BattleTurn.objects.get()
    assert (turn.generation_a, turn.generation_b) == (None, None)
    assert TurnText.objects.get().prompt == "Return"
    assert Battle.objects.get() == battle
    assert (battle.close.kind, battle.close.reason) == ("error", "answer-not-possible")
    assert Generation.objects.count() == 0
