"""The rules that the database keeps: raw SQL cannot get around them, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from arena.guards import GUARDS, WRITTEN_ONCE
from arena.models import Contestant, Provider, RosterChange, Season, Vote, Voter
from arena.services import battles, boards, roster, seasons, variants, votes
from arena.services.slices import Slice
from tests.arena.conftest import RULES, Enter, answered, battled, eligible_voter
from webapp.errors import ConflictError
from webapp.playground.models import Generation
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db


def refused(sql: str, parameters: list[Any] | None = None) -> str:
    """Run a statement that must fail; return the database's reason."""
    with pytest.raises(DatabaseError) as raised, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
    return str(raised.value)


def columns_of(model: type[models.Model]) -> str:
    return ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields)


def copied(model: type[models.Model], **changes: str) -> str:
    """Return an INSERT that copies the first row, with some columns given as SQL."""
    fields = [field.column for field in model._meta.concrete_fields if field.column != "id" or "id" in changes]
    values = ", ".join(changes.get(column, f'"{column}"') for column in fields)
    names = ", ".join(f'"{column}"' for column in fields)
    table = model._meta.db_table
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} ORDER BY id LIMIT 1"


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> Vote:
    """A revealed battle with a corrected, described vote, a board and a retirement."""
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    votes.cast_vote(battle_id=battle.id, voter=voter, verdict="a")
    votes.cast_vote(battle_id=battle.id, voter=voter, verdict="b")
    votes.describe_vote(battle_id=battle.id, voter=voter, strength=3)
    battles.reveal_battle(battle_id=battle.id, voter=voter)
    sequence_entries()
    boards.publish_leaderboard(season)
    return Vote.objects.current().get()


def test_nothing_written_is_changed_or_deleted_when_asked_by_raw_sql(voted: Vote) -> None:
    filled = ["provider", "contestant", "policy", "season", "epoch", "battle", "battleturn", "battleclose", "vote"]
    for table in [*filled, "votedetail", "leaderboard", "onboardinganswer"]:
        column = apps.get_model("arena", table)._meta.pk.column
        assert "written once" in refused(f"UPDATE arena_{table} SET {column} = {column}")
        assert "written once" in refused(f"DELETE FROM arena_{table}")
    assert "erased, not rewritten" in refused("UPDATE arena_turntext SET prompt = 'x'")
    assert "Voters stay" in refused("DELETE FROM arena_voter")
    assert "keeps its id" in refused("UPDATE arena_voter SET salt = 'x'")


def test_rows_are_not_replaced_nor_tables_emptied(voted: Vote) -> None:
    connection.check_constraints()
    for table in ("contestant", "battle", "vote", "battleclose", "policy", "leaderboard"):
        if connection.vendor == "sqlite":
            names = columns_of(apps.get_model("arena", table))
            sql = f"INSERT OR REPLACE INTO arena_{table} ({names}) SELECT {names} FROM arena_{table}"
            assert refused(sql)
        else:
            assert "written once" in refused(f"TRUNCATE arena_{table} CASCADE")


def test_every_guard_is_in_place(db: None) -> None:
    table = "sqlite_master" if connection.vendor == "sqlite" else "pg_trigger"
    column = "name" if connection.vendor == "sqlite" else "tgname"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table}")
        found = {row[0] for row in cursor.fetchall()}
    wanted = {guard.name for guard in GUARDS if guard.vendor in ("", connection.vendor)}
    assert wanted <= found
    assert all(len(name) <= 63 for name in wanted), "PostgreSQL cuts longer names"


def test_guards_know_every_unique_column() -> None:
    for table, keys in WRITTEN_ONCE.items():
        model = apps.get_model("arena", table)
        known = {frozenset(c for c in key if " " not in c and c != "FIRST") for key in keys}
        single = {frozenset({f.column}) for f in model._meta.concrete_fields if f.unique and not f.primary_key}
        several = {
            frozenset(model._meta.get_field(name).column for name in constraint.fields)
            for constraint in model._meta.constraints
            if isinstance(constraint, models.UniqueConstraint)
        }
        assert single | several == known, table


@pytest.mark.skipif(connection.vendor == "sqlite", reason="the guard is PostgreSQL's; on SQLite nothing crosses a vote")
@pytest.mark.parametrize("side", ["a", "b"])
def test_vote_waits_for_both_answers(season: Season, trio: list[Contestant], voter: Voter, side: str) -> None:
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    late = Generation.objects.filter(pk=getattr(battle.turns.get(), f"generation_{side}_id"))
    late.update(status="running")
    values = {"battle": battle, "voter": voter, "verdict": "b", "entry_id": battle.entry_id}
    with pytest.raises(IntegrityError, match="every answer is there"), transaction.atomic():
        Vote.objects.create(**values)
    late.update(status="done")
    Vote.objects.create(**values)


def test_one_vote_per_battle_and_voter(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    vote = votes.cast_vote(battle_id=battle.id, voter=voter, verdict="a")
    other = eligible_voter()
    for changes in ({}, {"voter": other}, {"supersedes": vote, "created_at": vote.created_at.replace(year=2030)}):
        values = {"battle": battle, "voter": voter, "verdict": "b", "entry_id": battle.entry_id, **changes}
        with pytest.raises(IntegrityError), transaction.atomic():
            Vote.objects.create(**values)
    assert Vote.objects.get() == vote


def test_no_vote_follows_the_close(voted: Vote) -> None:
    sql = copied(Vote, id="'00000000-0000-7000-8000-000000000001'", entry_id="battle_id", supersedes_id="NULL")
    assert "closed" in refused(sql)


def test_draw_indices_have_no_gap(voted: Vote) -> None:
    for index in ("7", "draw_index"):
        sql = copied(
            apps.get_model("arena", "battle"),
            id="'00000000-0000-7000-8000-000000000001'",
            entry_id="'00000000-0000-7000-8000-000000000002'",
            draw_index=index,
        )
        refused(sql)


def test_simulated_voters_stay_in_simulated_seasons(season: Season, trio: list[Contestant]) -> None:
    robot = Voter.objects.create(is_simulated=True)
    with pytest.raises(IntegrityError, match="Simulated voters"), transaction.atomic():
        battles.start_battle(season=season, voter=robot, prompt="Return")


def test_private_variants_stay_within_the_cap(enter: Enter, season: Season, provider: Provider) -> None:
    for number in range(RULES.variant_cap):
        enter(f"test-{number}", visibility="private", temperature=0.1 * (number + 1))
    with pytest.raises(ConflictError, match="as many private variants"):
        enter("one-more", visibility="private", temperature=1.5)
    sql = copied(
        Contestant,
        id="'00000000-0000-7000-8000-000000000001'",
        entry_id="'00000000-0000-7000-8000-000000000002'",
        slug="'x'",
        digest="'x'",
    )
    assert "private variants" in refused(sql)
    enter("public", temperature=1.5)
    variants.withdraw(Contestant.objects.get(slug="test-0"))
    enter("one-more", visibility="private", temperature=1.6)


def test_public_contestants_are_never_withdrawn(trio: list[Contestant]) -> None:
    with pytest.raises(ConflictError):
        variants.withdraw(trio[0])
    for kind in ("withdrawn", "launched", "expired"):
        with pytest.raises(ConflictError, match="never withdrawn"):
            roster.change_roster(contestant=trio[0], kind=kind, rule="provider-withdrawal", numbers={})


def test_retired_needs_a_run_of_the_rule(trio: list[Contestant]) -> None:
    with pytest.raises(ConflictError):
        roster.change_roster(contestant=trio[0], kind="retired", rule="retire-lowest", numbers={})
    assert not RosterChange.objects.exists()


def test_private_rating_stands_before_a_variant_leaves(
    season: Season, trio: list[Contestant], enter: Enter, voter: Voter
) -> None:
    variant = enter("secret", visibility="private", experts=["public"])
    sequence_entries()
    for _ in range(12):
        battled(season, voter)
    sequence_entries()
    public = boards.compute_board(season, Slice())
    assert str(variant.pk) not in str(public.result)
    change = variants.launch(variant)
    assert change.board is not None
    assert str(variant.pk) in str(change.board.result)
    assert change.board.result_digest
    after = boards.compute_board(season, Slice())
    assert after.n_votes == public.n_votes, "early votes never count"
    assert {"contestant": str(variant.pk), "reason": "no votes"} in after.result["unrankable"]
    with pytest.raises(ConflictError):
        variants.withdraw(variant)


def test_versions_of_a_policy_have_no_gap(season: Season) -> None:
    seasons.change_policy(season=season, rules=type(RULES)())
    refused(copied(apps.get_model("arena", "policy"), version="9", entry_id="'00000000-0000-7000-8000-000000000002'"))
