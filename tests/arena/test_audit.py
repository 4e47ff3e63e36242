"""The audit's checks look at the data: each passes on an honest arena and fails when its lie is planted."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from math import sqrt
from pathlib import Path
from statistics import NormalDist

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from arena.guards import GUARDS, remove_sql
from arena.kept_pages import keep_pages
from arena.models import Contestant, Exclusion, Leaderboard, PoolPrompt, Season, Vote, Voter
from arena.services import battles, boards, votes
from arena.services.audit import records, recount, results
from arena.services.audit.contestants import wilson
from arena.services.audit.items import ITEMS
from arena.services.audit.report import self_audit
from arena.services.exclusions import exclude_voter
from arena.services.transparency.battles import DrawTally
from arena.services.transparency.scope import scope_of
from tests.arena.conftest import answered, battled
from webapp.playground.models import Generation
from webapp.transparency.models import Entry, Node
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
REFERENCE = "A reference answer that only people may read."


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    cache.clear()


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> Season:
    """A season with votes, an exclusion, a leaderboard, and a battle on a prompt with a reference."""
    for number in range(12):
        battled(season, voter, ("a", "b", "tie")[number % 3])
    exclude_voter(season=season, voter=Voter.objects.create(), rule="random", numbers={})
    sequence_entries()
    boards.publish_leaderboard(season)
    sequence_entries()
    return season


def outcome(season: Season, item: str) -> tuple[str, str]:
    cache.clear()
    row = next(row for row in self_audit(scope_of(season)).rows if row.item == item)
    return row.outcome, row.reason


def lift(name: str) -> None:
    """Take a guard away, as only somebody with the database's own rights could."""
    guard = next(guard for guard in GUARDS if guard.name == name)
    with connection.cursor() as cursor:
        for statement in remove_sql(guard, connection.vendor):
            cursor.execute(statement)


def test_honest_arena_passes_what_can_be_checked(voted: Season) -> None:
    rows = {row.item: row for row in self_audit(scope_of(voted)).rows}
    assert list(rows) == [item.item for item in ITEMS]
    passed = {item for item, row in rows.items() if row.outcome == "pass"}
    assert passed >= {"T.1", "T.6", "T.7", "T.10", "R.2", "R.7"}
    assert {item for item, row in rows.items() if row.outcome == "fail"} == {"R.12", "R.13"}
    assert not any(rows[item].is_evaluated for item in ("T.4", "R.1", "R.5", "R.12", "R.13"))
    assert rows["T.5"].outcome == rows["T.3"].outcome == "could not decide"


def test_season_without_anything_decides_nothing_by_itself(season: Season) -> None:
    rows = {row.item: row.outcome for row in self_audit(scope_of(season)).rows}
    for item in ("T.1", "T.2", "T.3", "T.5", "T.7", "O.i.1", "R.9", "R.10"):
        assert rows[item] == "could not decide", item


def test_digest_that_is_not_the_contestants_is_found(voted: Season) -> None:
    assert outcome(voted, "T.1")[0] == "pass"
    lift("arena_contestant_no_update")
    one = voted.contestants.first()
    assert one is not None
    Contestant.objects.filter(pk=one.pk).update(digest="0" * 64)
    found, reason = outcome(voted, "T.1")
    assert found == "fail"
    assert "2 of 3 contestants" in reason


@pytest.mark.parametrize("name", ["arena_vote_no_delete", "arena_contestant_private_cap"])
def test_guard_that_is_missing_is_found(voted: Season, name: str) -> None:
    lift(name)
    row = next(row for row in self_audit(scope_of(voted)).rows if row.item == "T.6")
    assert (row.outcome, row.numbers["missing"]) == ("fail", [name])


def test_trigger_of_the_log_that_is_missing_is_found(voted: Season) -> None:
    with connection.cursor() as cursor:
        on = " ON transparency_entry" if connection.vendor == "postgresql" else ""
        names = {"postgresql": "transparency_entry_delete", "sqlite": "transparency_entry_delete_delete"}
        cursor.execute(f"DROP TRIGGER {names[connection.vendor]}{on}")
    assert outcome(voted, "T.6")[0] == "fail"


def test_vote_after_the_close_is_found(voted: Season) -> None:
    vote = Vote.objects.closed().first()
    assert vote is not None
    lift("arena_vote_no_update")
    newest = Entry.objects.sequenced().filter(kind="board").last()
    assert newest is not None
    Vote.objects.filter(pk=vote.pk).update(entry=newest)
    assert outcome(voted, "T.10")[0] == "fail"


def test_tree_that_lost_a_node_is_found(voted: Season) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type='trigger' AND tbl_name='transparency_node'")
            for (name,) in cursor.fetchall():
                cursor.execute(f'DROP TRIGGER "{name}"')
        else:
            cursor.execute("ALTER TABLE transparency_node DISABLE TRIGGER USER")
        cursor.execute(f"DELETE FROM {Node._meta.db_table}")
    answer = outcome(voted, "T.10")
    assert answer[0] == "fail"
    assert "lacks node" in answer[1]


def test_leaderboard_of_other_votes_is_found(voted: Season) -> None:
    lift("arena_leaderboard_no_update")
    Leaderboard.objects.update(input_digest="0" * 64)
    assert outcome(voted, "T.7")[0] == "fail"


def test_rating_without_an_interval_is_found(voted: Season) -> None:
    lift("arena_leaderboard_no_update")
    board = boards.latest_leaderboard(voted)
    assert board is not None
    row = {"contestant": "x", "rating": 1000.0, "lower": 1000.0, "upper": 1000.0, "rank_low": 1, "rank_high": 1}
    Leaderboard.objects.update(result={**board.result, "ratings": [row]})
    assert outcome(voted, "R.10")[0] == "fail"
    Leaderboard.objects.update(result={**board.result, "ratings": [{**row, "lower": 990.0, "upper": 1010.0}]})
    assert outcome(voted, "R.10")[0] == "pass"


def test_exclusion_by_no_rule_is_found(voted: Season) -> None:
    lift("arena_exclusion_no_update")
    Exclusion.objects.update(rule="dislike")
    assert outcome(voted, "R.7")[0] == "fail"


def test_verifier_that_needs_the_site_is_found(voted: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "verify.py"
    file.write_text("import json\nfrom django.db import models\n")
    monkeypatch.setattr(records, "VERIFIER", file)
    answer = outcome(voted, "R.2")
    assert answer[0] == "fail"
    assert "django" in answer[1]


def test_contestant_drawn_too_often_is_found(
    voted: Season, trio: list[Contestant], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = (str(one.pk) for one in trio)
    epoch = voted.epochs.get(number=0)  # nobody had voted, so every pair was equally likely
    for counts, expected in (((100, 100, 100), "pass"), ((160, 70, 70), "fail")):
        pairs = Counter(dict(zip(((a, b), (a, c), (b, c)), counts, strict=True)))
        tally = DrawTally(Counter({epoch.number: sum(counts)}), pairs, pairs)
        with monkeypatch.context() as patch:
            patch.setattr(results, "tally_draws", lambda scope, tally=tally: tally)
            assert outcome(voted, "O.i.1")[0] == expected, counts


def test_reference_that_a_model_read_is_found(season: Season, trio: list[Contestant], voter: Voter) -> None:
    pool = PoolPrompt.objects.create(key="p", text="Return a new", reference=REFERENCE)
    battle = battles.start_battle(season=season, voter=voter, prompt="", pool_prompt=pool)
    answered(battle)
    votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a")
    sequence_entries()
    assert outcome(season, "T.5")[0] == "pass"
    turn = battle.turns.get()
    Generation.objects.filter(pk=turn.generation_a_id).update(model_prompt=f"Know: {REFERENCE} Now: Return a new")
    assert outcome(season, "T.5")[0] == "fail"


def test_share_of_failures_decides_when_its_interval_does(season: Season, trio: list[Contestant], voter: Voter) -> None:
    assert outcome(season, "T.2")[0] == "could not decide"
    for kind, n, expected in (("skip", 90, "pass"), ("error", 25, "fail"), ("skip", 300, "could not decide")):
        for _ in range(n):
            battle = battles.start_battle(season=season, voter=voter, prompt="Return a new")
            battles.close_battle(battle_id=battle.pk, kind=kind, reason="test")
        sequence_entries()
        assert outcome(season, "T.2")[0] == expected, kind
    assert outcome(season, "T.3")[0] == "pass"


@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_bounds_are_the_shares_that_the_count_just_does_not_refute(n: int, share: float) -> None:
    k = round(share * n)
    z = NormalDist().inv_cdf(0.975)
    for p in wilson(k, n):
        assert -1e-12 <= p <= 1 + 1e-12
        assert abs(k / n - p) == pytest.approx(z * sqrt(max(p * (1 - p), 0) / n), abs=1e-6)


def test_page_and_resource_say_the_same(client: Client, voted: Season) -> None:
    found = client.get("/api/v1/arena/audit/").json()
    page = client.get("/arena/transparency/audit/").content.decode()
    assert sum(found["counts"].values()) == len(found["items"]) == len(ITEMS)
    for outcome_name, n in found["counts"].items():
        assert f"{n} {outcome_name}" in page
    for row in found["items"]:
        assert row["item"] in page
    for limit in found["cannot_be_proven"]:
        assert limit["claim"] in page
        assert limit["claim"] in client.get("/arena/method/").content.decode()
    assert "distinct people" in page
    assert client.get("/arena/transparency/audit/?season=none").status_code == 404


def test_large_board_is_counted_by_the_worker_and_its_finding_shown(
    voted: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "MAX_FOR_A_PAGE", 3)
    board = boards.latest_leaderboard(voted)
    assert board is not None
    assert outcome(voted, "T.7")[0] == "could not decide"
    cache.clear()
    found = recount.recount_when_due(voted)
    assert found is not None
    assert (found.board, found.n_votes, found.is_same) == (str(board.pk), board.n_votes, True)
    row = next(row for row in self_audit(scope_of(voted)).rows if row.item == "T.7")
    assert (row.outcome, row.numbers["board"], row.numbers["n_votes"]) == ("pass", str(board.pk), board.n_votes)
    assert "The newest leaderboard's" in row.reason
    assert recount.recount_when_due(voted) is None, "it was counted again though nothing changed"


def test_large_board_of_other_votes_is_found_by_the_worker(voted: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recount, "MAX_FOR_A_PAGE", 3)
    lift("arena_leaderboard_no_update")
    Leaderboard.objects.update(input_digest="0" * 64)
    keep_pages()
    row = next(row for row in self_audit(scope_of(voted)).rows if row.item == "T.7")
    assert (row.outcome, row.is_evaluated) == ("fail", True)


def test_newer_large_board_waits_while_the_last_count_is_fresh(
    voted: Season, voter: Voter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "MAX_FOR_A_PAGE", 3)
    first = recount.recount_when_due(voted)
    assert first is not None
    battled(voted, voter)
    sequence_entries()
    newer = boards.publish_leaderboard(voted)
    assert newer.n_votes == first.n_votes + 1
    monkeypatch.setattr(recount.timezone, "now", lambda: first.at + timedelta(seconds=99 * first.took_s))
    assert recount.recount_when_due(voted) is None
    row = next(row for row in self_audit(scope_of(voted), renew=True).rows if row.item == "T.7")
    assert row.numbers["tree_size"] == first.tree_size
    assert f"At tree size {first.tree_size}" in row.reason
    monkeypatch.setattr(recount.timezone, "now", lambda: first.at + timedelta(seconds=101 * first.took_s))
    second = recount.recount_when_due(voted)
    assert second is not None
    assert (second.board, second.is_same) == (str(newer.pk), True)
