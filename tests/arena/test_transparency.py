"""The transparency report: every number follows from the exported log, for any days; nothing tells of open draws."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from arena.models import Battle, Contestant, RetirementRun, Season, Vote, Voter
from arena.policy import Rules
from arena.services import battles, boards, exclusions, roster, seasons, variants
from arena.services.roster import change_roster
from arena.services.simulation import Simulation, simulate_votes
from tests.arena.conftest import Enter, battled
from tests.arena.leaf_counts import Recount
from tests.inference.tiny import EXPERTS
from tests.transparency.forge import read_log
from webapp.playground.models import Checkpoint
from webapp.transparency import verify
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
URL = "/api/v1/arena/transparency/"
DAYS = [date(2026, 11, 2), date(2026, 11, 3), date(2026, 11, 4)]
Clock = Callable[[date, int], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set what the site takes for the time; it goes on by a millisecond at each look."""
    now = [datetime(2026, 11, 1, tzinfo=UTC)]

    def read() -> datetime:
        now[0] += timedelta(milliseconds=1)
        return now[0]

    def set_clock(day: date, hour: int = 12) -> None:
        now[0] = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)

    monkeypatch.setattr(timezone, "now", read)
    monkeypatch.setattr(Battle._meta.get_field("created_at"), "_get_default", read, raising=False)
    return set_clock


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    cache.clear()


def write_season(checkpoint: Checkpoint, clock: Clock) -> Season:
    """Three days with everything in it that the report counts."""
    clock(DAYS[0], 8)
    rules = Rules(min_votes=1, draws_per_epoch=40, variant_cap=2)
    season = seasons.open_season(slug="simulated", title="Simulation", is_simulated=True, rules=rules)
    groups = {"lab": "open-weight", "firm": "proprietary", "program": "open-source"}
    providers = {slug: roster.add_provider(slug=slug, name=slug.title()) for slug in groups}

    def enter(provider: str, number: int, visibility: str = "public") -> Contestant:
        return roster.add_contestant(
            season=season,
            provider=providers[provider],
            slug=f"{provider}-{number}",
            title=f"{provider} {number}",
            licence_group=groups[provider],
            experts=EXPERTS,
            max_tokens=number,
            visibility=visibility,
        )

    entered = [enter("lab", 1), enter("lab", 2), enter("firm", 3), enter("program", 4)]
    hidden = enter("firm", 5, "private")

    def vote(n: int, seed: int) -> None:
        simulate_votes(season=season, simulation=Simulation(strengths, n_votes=n, n_voters=6, seed=seed))

    strengths = {str(c.pk): 1000.0 + 60 * n for n, c in enumerate([*entered, hidden])}
    vote(70, 1)
    clock(DAYS[1], 9)
    seasons.change_policy(season=season, rules=Rules(min_votes=1, draws_per_epoch=30, variant_cap=3))
    enter("firm", 6, "private")
    variants.withdraw(hidden)
    vote(60, 2)
    busy = Voter.objects.filter(votes__isnull=False).distinct().order_by("pk")
    out = [
        exclusions.exclude_voter(season=season, voter=busy[k], rule=rule, numbers={})
        for k, rule in ((0, "random"), (1, "always-tie"), (1, "random"))
    ]
    late = Vote.objects.closed().exclude(voter__in=[busy[0], busy[1]]).last()
    assert late is not None
    exclusions.exclude_battle(battle=late.battle, rule="identity-leak", numbers={})
    clock(DAYS[2], 7)
    exclusions.include_again(exclusion=out[1], numbers={})
    board = boards.publish_leaderboard(season)
    run = RetirementRun.objects.create(policy=seasons.current_policy(season), leaderboard=board, outcome=[])
    change_roster(contestant=entered[1], kind="retired", rule="retire-lowest", numbers={"n": 3}, retirement_run=run)
    change_roster(contestant=entered[0], kind="paused", rule="unreachable", numbers={})
    change_roster(contestant=entered[0], kind="resumed", rule="reachable-again", numbers={})
    vote(50, 3)
    sequence_entries()
    return season


def exported(folder: Path) -> list[dict[str, Any]]:
    call_command("export_log", str(folder), stdout=io.StringIO())
    assert [str(w) for w in verify.verify(folder).findings] == []
    return read_log(folder)


def test_every_number_follows_from_the_exported_leaves_for_any_days(
    client: Client, checkpoint: Checkpoint, clock: Clock, tmp_path: Path
) -> None:
    write_season(checkpoint, clock)
    leaves = exported(tmp_path / "export")
    periods = [(None, None), *((day, day) for day in DAYS), (DAYS[1], None), (None, DAYS[1]), (date(2020, 1, 1),) * 2]
    for first, last in periods:
        query = {"season": "simulated", **({"from": first} if first else {}), **({"to": last} if last else {})}
        found = client.get(URL, query).json()
        assert found["tree_size"] == len(leaves)
        check(found, Recount(leaves, "simulated", first, last))
    assert found["n_draws"] == 0


def test_every_number_at_an_earlier_tree_follows_from_its_leaves(
    client: Client, checkpoint: Checkpoint, clock: Clock, tmp_path: Path
) -> None:
    write_season(checkpoint, clock)
    leaves = exported(tmp_path / "export")
    for size in (len(leaves) // 3, len(leaves) // 2, len(leaves) - 40):
        found = client.get(URL, {"season": "simulated", "tree_size": size}).json()
        check(found, Recount(leaves[:size], "simulated"))


def test_sums_that_are_kept_lead_to_the_same_report_at_any_other_tree(
    client: Client, checkpoint: Checkpoint, clock: Clock
) -> None:
    season = write_season(checkpoint, clock)
    newest = client.get(URL, {"season": "simulated"}).json()["tree_size"]
    closes = season.battles.values_list("close__entry__index", flat=True)
    sizes = [newest, *random.Random(5).sample(sorted(closes), 6), 3, newest, newest // 2, newest - 1]
    for days in ({}, {"from": DAYS[1]}, {"to": DAYS[1]}):
        queries = [{"season": "simulated", "tree_size": size, **days} for size in sizes]
        kept = [client.get(URL, query).json() for query in queries]
        for query, found in zip(queries, kept, strict=True):
            cache.clear()
            assert client.get(URL, query).json() == found, query


def check(found: dict[str, Any], recount: Recount) -> None:
    draws = recount.draws()
    assert (found["n_draws"], found["n_votes"]) == (len(draws), sum(d["outcome"] == "vote" for d in draws))
    own = {name: name for name in recount.groups("provider")}
    groupings = {"contestant": own, **{g: recount.groups(g) for g in ("provider", "licence_group")}}
    for grouping, group_of in groupings.items():
        expected = recount.sampling(group_of, found["level"])
        rows = {row["name"]: row for row in found["sampling"][grouping]}
        assert rows.keys() == expected.keys()
        for name, row in rows.items():
            assert {k: row[k] for k in expected[name]} == pytest.approx(expected[name], abs=1e-9), (grouping, name)
            assert row["planned_rate"] == pytest.approx(row["planned"] / len(draws))
            assert row["realised_rate"] == row["realised"] / len(draws)
            assert row["is_within"] is (row["lower"] <= row["realised"] <= row["upper"])
        if grouping != "contestant":
            shares = {row["name"]: (row["n_votes"], row["n_sides"]) for row in found["data_shares"][grouping]}
            assert shares == recount.shares(group_of)
            assert sum(row["share"] for row in found["data_shares"][grouping]) == pytest.approx(1 if shares else 0)
    rules, n_votes, n_out = recount.exclusions()
    names = ("n_entered", "n_ended", "n_voters", "n_battles", "n_votes")
    shown = found["exclusions"]
    assert {row["rule"]: tuple(row[n] for n in names) for row in shown["rules"]} == rules
    assert (shown["n_votes"], shown["n_set_aside"]) == (n_votes, n_out)
    counters = {
        row["provider"]: tuple(row[n] for n in ("n_active", "n_most", "n_entered", "n_ever"))
        for row in found["variants"]
        if row["n_ever"]
    }
    assert counters == recount.variants()
    assert [(row["contestant"], row["rule"]) for row in found["removals"]] == recount.removals()
    assert sum(row["n_removed"] for row in found["removals_by_group"]) == len(found["removals"])
    tested = [leaf["body"]["contestant"] for _, leaf in recount.of("contestant") if recount.is_past(leaf)]
    assert [row["contestant"] for row in found["contestants"]] == tested
    documents = [leaf["body"]["document"] for _, leaf in recount.of("policy")]
    assert [p["document_digest"] for p in found["policies"]] == documents[::-1]


def test_policy_history_says_what_changed_and_when_it_was_in_force(
    client: Client, checkpoint: Checkpoint, clock: Clock
) -> None:
    write_season(checkpoint, clock)
    whole = client.get(URL, {"season": "simulated"}).json()["policies"]
    changes = {c["name"]: (c["before"], c["after"]) for c in whole[0]["changes"]}
    assert changes == {"draws_per_epoch": (40, 30), "variant_cap": (2, 3)}
    for day, expected in zip(DAYS, ([False, True], [True, True], [True, False]), strict=True):
        found = client.get(URL, {"season": "simulated", "from": day, "to": day}).json()
        assert [p["was_in_force"] for p in found["policies"]] == expected
        assert {row["cap"] for row in found["variants"]} == {2 if day == DAYS[0] else 3}


def test_an_open_draw_moves_no_number(client: Client, season: Season, trio: list[Contestant], voter: Voter) -> None:
    battled(season, voter)
    sequence_entries()
    before = client.get(URL).json()
    assert (before["n_draws"], before["n_votes"]) == (1, 1)
    battle = battles.start_battle(season=season, voter=voter, prompt="Return a new")
    sequence_entries()
    cache.clear()
    during = client.get(URL).json()
    assert during.pop("tree_size") > before.pop("tree_size")
    assert during == before
    battles.skip_battle(battle_id=battle.pk, voter=voter)
    sequence_entries()
    cache.clear()
    after = client.get(URL).json()
    assert (after["n_draws"], after["n_votes"]) == (2, 1)


def test_page_shows_the_numbers_and_keeps_a_private_variant_unnamed(
    client: Client, season: Season, trio: list[Contestant], enter: Enter, voter: Voter
) -> None:
    hidden = enter("quiet", visibility="private")
    sequence_entries()
    for _ in range(4):
        battled(season, voter)
    sequence_entries()
    page = client.get("/arena/transparency/").content.decode()
    assert "4 closed draws, 4 of them with a vote" in page
    assert "a private variant of The Lab" in page
    assert hidden.title not in page
    assert hidden.title not in str(client.get(URL).json())
    for heading in ("Sampling, planned", "Shares of the data", "Exclusions by rule", "Removals", "Private variants"):
        assert heading in page
    again = client.get("/arena/transparency/?from=2020-01-01&to=2020-01-01").content.decode()
    assert "No draw of these days was closed" in again


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=2026-11-03&to=2026-11-02", 400),
        ("from=yesterday", 400),
        ("tree_size=999999", 400),
        ("season=none", 404),
        ("from=9999-12-31&to=9999-12-31", 400),
        ("from=0001-01-01&to=0001-01-01", 400),
        ("from=1970-01-01&to=2999-12-31", 200),
        ("to=9999-12-31", 400),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(
    client: Client, season: Season, query: str, status: int
) -> None:
    for path in (URL, "/arena/transparency/"):
        assert client.get(f"{path}?{query}").status_code == status
