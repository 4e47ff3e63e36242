"""Leaderboards: what is counted, what a snapshot keeps, and the removal rule."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from arena.models import Contestant, Leaderboard, RosterChange, Season, Vote, Voter
from arena.policy import Rules
from arena.rating import RatingOptions, VoteTable, rate
from arena.services import boards, recompute, retirement, seasons
from arena.services.exclusions import exclude_voter, include_again
from arena.services.slices import Slice
from arena.services.vote_rows import VoteRow
from tests.arena.conftest import RULES, battled, eligible_voter
from tests.arena.counted_votes import columns_of
from webapp.errors import BadInputError
from webapp.transparency.models import Entry
from webapp.transparency.services import sequence_entries


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> Season:
    """Twelve votes by two voters, every verdict among them."""
    other = eligible_voter()
    for number in range(12):
        battled(season, voter if number % 3 else other, ("a", "b", "tie", "both_bad")[number % 4])
    sequence_entries()
    return season


pytestmark = pytest.mark.django_db


def test_board_equals_a_rating_of_the_votes(voted: Season, trio: list[Contestant]) -> None:
    board = boards.compute_board(voted, Slice())
    rows = list(Vote.objects.closed().select_related("battle").order_by("battle__close__entry__index"))
    table = VoteTable.from_columns(
        [str(v.battle.contestant_a_id) for v in rows],
        [str(v.battle.contestant_b_id) for v in rows],
        [v.verdict for v in rows],
        p_pair=[int(v.battle.p_numerator) / int(v.battle.p_denominator) for v in rows],
        voter=[str(v.voter_id) for v in rows],
        contestants=[str(c.pk) for c in trio],
    )
    rated = rate(table, RatingOptions(min_votes=1, flips=True)).to_dict()
    assert board.result == {**rated, "overlap": {"n_without": 12, "contestants": {}}}
    assert board.n_votes == 12


def test_input_digest_is_that_of_the_documented_lines(voted: Season) -> None:
    lines = []
    for entry in Entry.objects.filter(kind="close").order_by("index"):
        body = entry.body
        vote = Entry.objects.get(id=body["vote"]).body
        line = [entry.index, body["side_a"], body["side_b"], vote["verdict"], body["probability"], vote["voter"]]
        lines.append(json.dumps(line, separators=(",", ":")) + "\n")
    assert boards.compute_board(voted, Slice()).input_digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_snapshot_is_published_once_for_the_same_votes(voted: Season, voter: Voter) -> None:
    first = boards.publish_leaderboard(voted)
    sequence_entries()
    assert boards.publish_leaderboard(voted) == first
    battled(voted, voter)
    sequence_entries()
    assert recompute.catch_up() == 1
    assert Leaderboard.objects.count() == 2
    assert [e.body["n_votes"] for e in Entry.objects.filter(kind="board").order_by("serial")] == [12, 13]


@pytest.mark.parametrize(("votes_a_second", "stands_s"), [(1, 12), (0.01, 600)])
def test_large_board_stands_for_a_while_and_is_published_then(
    voted: Season, voter: Voter, monkeypatch: pytest.MonkeyPatch, votes_a_second: float, stands_s: int
) -> None:
    monkeypatch.setattr(recompute, "VOTES_A_SECOND", votes_a_second)
    recompute.recompute(voted.pk)
    board = Leaderboard.objects.get()
    battled(voted, voter)
    sequence_entries()

    def n_boards_at(seconds: float) -> int:
        now = board.created_at + timedelta(seconds=seconds)
        monkeypatch.setattr(recompute, "timezone", SimpleNamespace(now=lambda: now))
        assert recompute.recompute(voted.pk) == voted
        recompute.catch_up()
        return Leaderboard.objects.count()

    assert [n_boards_at(seconds) for seconds in (0, stands_s - 1)] == [1, 1]
    assert n_boards_at(stands_s) == 2
    assert board.n_votes == 12


def test_clock_that_steps_back_holds_no_board_up(voted: Season, voter: Voter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "VOTES_A_SECOND", 1)
    board = boards.publish_leaderboard(voted)
    battled(voted, voter)
    sequence_entries()
    before = board.created_at - timedelta(seconds=1)
    monkeypatch.setattr(recompute, "timezone", SimpleNamespace(now=lambda: before))
    recompute.recompute(voted.pk)
    assert Leaderboard.objects.count() == 2


def test_past_state_is_computed_when_a_tree_size_is_named(voted: Season, voter: Voter) -> None:
    board = boards.publish_leaderboard(voted)
    for _ in range(3):
        battled(voted, voter, "a")
    sequence_entries()
    again = boards.compute_board(voted, Slice(), size=board.tree_size)
    assert (again.result, again.input_digest) == (board.result, board.input_digest)
    with pytest.raises(BadInputError, match="no state"):
        boards.compute_board(voted, Slice(), size=10**9)


def test_slices_count_only_what_they_say(voted: Season) -> None:
    assert boards.compute_board(voted, Slice(both_bad=False)).n_votes == 9
    assert boards.compute_board(voted, Slice(filters=(("category", "code"),))).n_votes == 0
    with pytest.raises(BadInputError, match="no slice"):
        Slice(filters=(("colour", "red"),))


def test_excluded_votes_are_left_out_and_come_back(voted: Season, voter: Voter) -> None:
    n_own = Vote.objects.filter(voter=voter).count()
    exclusion = exclude_voter(season=voted, voter=voter, rule="random", numbers={"odds": "1200"})
    sequence_entries()
    assert boards.compute_board(voted, Slice()).n_votes == 12 - n_own
    assert boards.compute_board(voted, Slice(include_excluded=True)).n_votes == 12
    include_again(exclusion=exclusion, numbers={"odds": "3"})
    sequence_entries()
    assert boards.compute_board(voted, Slice()).n_votes == 12
    with pytest.raises(BadInputError, match="rule"):
        exclude_voter(season=voted, voter=voter, rule="i-do-not-like-them", numbers={})


def test_removal_rule_retires_and_says_why(voted: Season, trio: list[Contestant]) -> None:
    rules = Rules(**{**RULES.__dict__, "retire_min_votes": 1, "retire_max_width": 10**6, "retire_percentile": 99})
    with transaction.atomic():
        seasons.change_policy(season=voted, rules=rules)
    run = retirement.apply_removal_rule(voted)
    assert [row["group"] for row in run.outcome] == ["proprietary", "open-weight", "open-source"]
    assert {c.contestant_id for c in RosterChange.objects.filter(kind="retired")} == {
        Contestant.objects.get(pk=name).pk for name in run.outcome[2]["retired"]
    }


standings = st.lists(
    st.builds(
        lambda name, group, rating, width, n: retirement.Standing(
            name, group, float(rating), float(rating - width), float(rating + width), n
        ),
        st.uuids().map(str),
        st.sampled_from(["proprietary", "open-weight", "open-source"]),
        st.integers(800, 1200),
        st.integers(0, 80),
        st.integers(0, 600),
    ),
    max_size=20,
)


@given(standings, st.integers(0, 99))
def test_removal_rule_treats_each_group_alone_and_keeps_its_best(
    found: list[retirement.Standing], percentile: int
) -> None:
    rules = Rules(retire_percentile=percentile)
    together = retirement.decide(found, rules)
    for outcome in together:
        own = [s for s in found if s.group == outcome.group]
        assert outcome in retirement.decide(own, rules)
        judged = [s for s in own if s.n_votes >= rules.retire_min_votes and s.upper - s.lower <= rules.retire_max_width]
        assert outcome.n_judged == len(judged)
        assert set(outcome.retired) <= {s.contestant for s in judged}
        if outcome.retired:
            best = max(judged, key=lambda s: (s.rating, s.contestant))
            assert best.contestant not in outcome.retired
            assert outcome.threshold is not None
            assert all(s.upper < outcome.threshold for s in judged if s.contestant in outcome.retired)


def test_style_is_controlled_for_as_far_as_votes_tell_it_apart(season: Season, trio: list[Contestant]) -> None:
    """Answers whose length decides every vote leave no finite effect; the board is still there, and says so."""
    ids = [str(c.pk) for c in trio]
    pairs = [(a, b) for a in ids for b in ids if a != b]
    votes = [
        VoteRow(n, str(n), *pair, verdict, "1/3", f"v{n}")
        for n, (pair, verdict) in enumerate((p, v) for p in pairs for v in ("a", "b"))
    ]
    policy = seasons.current_policy(season)
    separated = {
        "characters": np.array([1.0 if v.verdict == "a" else -1.0 for v in votes]),
        "bold": np.array([0.0, 1.0] * 6),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boards, "_style_columns", lambda votes: dict(separated))
        result = boards.rate_votes(columns_of(votes), ids, Slice(style=True), policy)
    assert {r.contestant for r in result.ratings} == set(ids)
    assert "covariate_effects" not in result.to_dict()["method"] or not result.to_dict()["method"]["covariate_effects"]
