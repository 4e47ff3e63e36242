"""Votes counted from columns are those of the tables, to the last bit, whatever came between."""

from __future__ import annotations

import hashlib
import itertools
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from arena.api.presentation import present_battle
from arena.models import Battle, BattleClose, Contestant, Provider, Season, Vote, Voter
from arena.policy import Rules
from arena.services import boards, epochs, roster, seasons, simulation, vote_columns
from arena.services.battles import get_battle
from arena.services.counted import closed_at, counted_at
from arena.services.epochs import tree_size
from arena.services.exclusions import exclude_battle, exclude_voter, include_again
from arena.services.overlaps import settings_digest, settings_of
from arena.services.simulation import Simulation, simulate_votes
from arena.services.slices import Slice
from arena.services.vote_columns import columns_at
from arena.services.vote_rows import VoteRow, input_digest, votes_at
from tests.arena.conftest import battled
from tests.arena.counted_votes import (
    columns_of,
    count_pairs,
    line_of,
    mean_shares,
    same_tables,
    shares_at,
    table_of,
)
from tests.inference.tiny import EXPERTS
from webapp.playground.models import Checkpoint
from webapp.transparency.services import sequence_entries

NAMES = ("ant", "bee", "cat", "dog")
pairs = st.permutations(NAMES).map(lambda names: names[:2])
rows = st.lists(
    st.tuples(
        pairs,
        st.sampled_from(["a", "b", "tie", "both_bad"]),
        st.tuples(st.integers(1, 2**64), st.integers(1, 2**64)).map(sorted),
        st.sampled_from(["v1", "v2", "v3"]),
    ),
    max_size=30,
).map(
    lambda found: [
        VoteRow(3 * n, str(n), a, b, verdict, f"{p}/{q}", voter)
        for n, ((a, b), verdict, (p, q), voter) in enumerate(found)
    ]
)


@given(rows, st.data())
def test_columns_give_what_the_rows_give(votes: list[VoteRow], data: st.DataObject) -> None:
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(votes), max_size=len(votes))), dtype=bool)
    counted = columns_of(votes).where(keep)
    kept = [vote for vote, is_kept in zip(votes, keep.tolist(), strict=True) if is_kept]
    assert counted.n_votes == len(kept)
    assert b"".join(counted.lines()) == b"".join(map(line_of, kept))
    assert counted.count_pairs() == count_pairs(kept)
    assert same_tables(counted.table(["elk"]), table_of(kept, ["elk"]))
    among = [vote for vote in kept if {vote.side_a, vote.side_b} <= {"ant", "bee"}]
    assert b"".join(counted.among({"ant": 1, "bee": 1}).lines()) == b"".join(map(line_of, among))


@given(rows, st.lists(st.integers(0, 30), max_size=6))
def test_digest_of_more_votes_is_that_of_all_of_them(votes: list[VoteRow], ends: list[int]) -> None:
    """The hash goes on from the last one asked for only where the same votes come first."""
    counted = columns_of(votes)
    for end in ends:
        keep = np.arange(len(votes)) < end
        if end % 3 == 0:
            keep[: end // 3] = False
        lines = b"".join(line_of(vote) for vote, is_kept in zip(votes, keep.tolist(), strict=True) if is_kept)
        assert counted.where(keep).input_digest() == hashlib.sha256(lines).hexdigest()


@pytest.fixture
def simulated(db: None, checkpoint: Checkpoint) -> Season:
    season = seasons.open_season(
        slug="simulated", title="Simulation", is_simulated=True, rules=Rules(min_votes=1, draws_per_epoch=50)
    )
    provider = roster.add_provider(slug="program", name="A program")
    for number, expert in enumerate(EXPERTS[:3]):
        _enter(season, provider, f"without-{expert}", number)
    _enter(season, provider, "secret", 3, visibility="private")
    return season


def _enter(season: Season, provider: Provider, slug: str, number: int, visibility: str = "public") -> Contestant:
    return roster.add_contestant(
        season=season,
        provider=provider,
        slug=slug,
        title=slug,
        licence_group="open-source",
        checkpoint="tiny",
        max_tokens=4 + number,
        visibility=visibility,
    )


def _simulate(season: Season, n_votes: int, seed: int) -> None:
    strengths = {str(pk): 1000.0 for pk in season.contestants.values_list("pk", flat=True)}
    simulate_votes(season=season, simulation=Simulation(strengths=strengths, n_votes=n_votes, n_voters=5, seed=seed))


def _check(season: Season, size: int) -> None:
    """Hold every kind of slice at a tree size against the tables."""
    policy = seasons.current_policy(season)
    secret = str(season.contestants.get(slug="secret").pk)
    today = timezone.now().date()
    assert epochs.tallies_at(season, size) == epochs._tallies_from_tables(season, size)
    assert closed_at(season, size).tallies() == epochs._tallies_from_tables(season, size)
    chosen = [
        Slice(),
        Slice(both_bad=False),
        Slice(include_excluded=True),
        Slice(pre_release=(secret,)),
        Slice(filters=(("community", "bees"),)),
        Slice(filters=(("category", "code"),)),
        Slice(since=today, until=today + timedelta(days=1)),
        Slice(until=today - timedelta(days=1)),
    ]
    for one in chosen:
        counted, slow = counted_at(season, size, one), votes_at(season, size, one)
        assert counted.input_digest() == input_digest(slow)
        assert counted.count_pairs() == count_pairs(slow)
        names = boards.contestants_at(season, size, one)
        assert same_tables(counted.table(names), table_of(slow, names))
        shares = counted.shares(size, settings_digest(settings_of(policy)))
        known = shares_at(season, size, policy)
        assert counted.mean_shares(shares) == mean_shares(slow, known)
        by_vote = [known.get(row.battle, (None, None)) for row in slow]
        told = [(a, b) if a == a else (None, None) for a, b in zip(shares[0].tolist(), shares[1].tolist(), strict=True)]
        assert told == by_vote


def test_columns_follow_the_tables_through_votes_exclusions_and_time(simulated: Season) -> None:
    sizes = []
    for seed in range(3):
        _simulate(simulated, 35, seed)
        voter = Voter.objects.filter(battles__isnull=False).order_by("created_at").first()
        assert voter is not None
        Voter.objects.filter(pk=voter.pk).update(community="bees")
        by_voter = exclude_voter(season=simulated, voter=voter, rule="random", numbers={"odds": "12"})
        battle = Battle.objects.filter(close__kind="vote").order_by("-created_at")[5]
        exclude_battle(battle=battle, rule="random", numbers={"odds": "12"})
        sequence_entries()
        sizes.append(tree_size())
        _check(simulated, sizes[-1])
        include_again(exclusion=by_voter, numbers={"odds": "1"})
        sequence_entries()
        sizes.append(tree_size())
    for size in [0, 1, sizes[0] // 2, *sizes]:
        _check(simulated, size)
    assert columns_at(simulated, 0).size == sizes[-1], "it was made once, and extended"


def test_extended_columns_are_those_that_are_read_at_once(simulated: Season, data_dir: Path) -> None:
    _simulate(simulated, 30, 1)
    first = columns_at(simulated, tree_size())
    _simulate(simulated, 30, 2)
    extended = columns_at(simulated, tree_size())
    assert (extended.made, len(first.votes), len(extended.votes)) == (first.made, 30, 60)
    data_dir.joinpath("arena").rename(data_dir / "elsewhere")
    anew = columns_at(simulated, tree_size())
    assert anew.made != extended.made
    for name in ("votes", "voters", "overlaps"):
        assert np.array_equal(getattr(anew, name), getattr(extended, name))
    assert anew.words == extended.words


def test_columns_of_another_log_or_damaged_ones_are_made_anew(simulated: Season, data_dir: Path) -> None:
    _simulate(simulated, 20, 1)
    size = tree_size()
    folder = data_dir / "arena" / f"votes-{simulated.pk}"
    made = {columns_at(simulated, size).made}
    expected = boards.compute_board(simulated, Slice())
    head = folder / "head.json"

    def check(number: int) -> None:
        board = boards.compute_board(simulated, Slice())
        made.add(columns_at(simulated, size).made)
        assert (board.input_digest, board.result) == (expected.input_digest, expected.result)
        assert len(made) == number

    check(1)
    root = head.read_text().split('"root": "')[1][:64]
    head.write_text(head.read_text().replace(root, "0" * 64))
    check(2)
    head.write_text(head.read_text()[:-9])
    check(3)
    for number, name in itertools.product((0, 1), ("votes", "voters", "overlaps")):
        (path,) = folder.glob(f"*-{name}.bin")
        data = bytearray(path.read_bytes())
        if number:
            path.write_bytes(data[:-1])
        else:
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
            vote_columns._folder_at.cache_clear()  # another process
        before = len(made)
        check(before + 1)


def test_draws_go_on_where_the_data_folder_cannot_be_written(simulated: Season, data_dir: Path) -> None:
    _simulate(simulated, 20, 1)
    known = epochs.tallies_at(simulated, tree_size())
    (data_dir / "arena").rename(data_dir / "elsewhere")
    (data_dir / "arena").write_text("in the way")
    assert epochs.tallies_at(simulated, tree_size()) == known
    with pytest.raises(OSError):
        columns_at(simulated, tree_size())


def test_columns_that_are_far_behind_are_not_waited_for(simulated: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    _simulate(simulated, 20, 1)
    made = columns_at(simulated, tree_size())
    monkeypatch.setattr(vote_columns, "NEAR", 10)
    monkeypatch.setattr(epochs, "closed_at", pytest.fail)
    _simulate_without_board(simulated, monkeypatch)
    n_votes = epochs.tallies_at(simulated, tree_size())[1]
    assert n_votes == 40
    assert columns_at(simulated, made.size).size == made.size


def _simulate_without_board(season: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "publish_leaderboard", lambda season: None)
    monkeypatch.setattr(simulation, "publish_controlled", lambda season: None)
    _simulate(season, 20, 2)


def test_battles_load_no_table_of_weights_and_no_counts_of_pairs(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    """A table of 200 contestants has 150 kB, the counts of their pairs have two megabytes."""
    battled(season, voter)
    boards.publish_leaderboard(season)
    with CaptureQueriesContext(connection) as asked:
        battle = battled(season, voter, "b")
        present_battle(get_battle(battle.pk, voter=voter), voter)
    read = [query["sql"] for query in asked if query["sql"].startswith("SELECT")]
    assert any("arena_epoch" in sql for sql in read)
    assert any("arena_leaderboard" in sql for sql in read)
    assert not any('"arena_epoch"."table"' in sql or '"arena_leaderboard"."pairs"' in sql for sql in read)


def test_no_vote_changes_after_its_battle_closed(simulated: Season) -> None:
    """What columns rest on: the database itself refuses it."""
    _simulate(simulated, 5, 1)
    vote = Vote.objects.closed().first()
    assert vote is not None
    assert BattleClose.objects.filter(battle=vote.battle).exists()
    again = Vote(battle=vote.battle, voter=vote.voter, verdict="tie", supersedes=vote, entry=vote.battle.entry)
    with pytest.raises(IntegrityError, match="closed"), transaction.atomic():
        again.save(force_insert=True)


pytestmark = pytest.mark.django_db
