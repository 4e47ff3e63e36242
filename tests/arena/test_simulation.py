"""Simulated votes: planted strengths come back, and nothing mixes with what people said."""

from __future__ import annotations

import json
import random
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from arena.models import Battle, Contestant, Overlap, Season, Vote
from arena.policy import Rules
from arena.services import boards, roster, seasons
from arena.services.simulation import Simulation, Temper, honest_verdict, simulate_votes
from arena.services.slices import Slice
from tests.inference.tiny import EXPERTS
from webapp.errors import BadInputError
from webapp.playground.models import Checkpoint
from webapp.transparency.models import Entry


@pytest.fixture
def simulated(db: None, checkpoint: Checkpoint) -> Season:
    season = seasons.open_season(
        slug="simulated", title="Simulation", is_simulated=True, rules=Rules(min_votes=1, draws_per_epoch=100)
    )
    provider = roster.add_provider(slug="program", name="A program")
    for expert in EXPERTS[:3]:
        roster.add_contestant(
            season=season,
            provider=provider,
            slug=f"without-{expert}",
            title=f"Without {expert}",
            licence_group="open-source",
            experts=[e for e in EXPERTS if e != expert],
        )
    return season


def test_planted_order_comes_back_and_every_draw_is_in_the_log(simulated: Season) -> None:
    ids = [str(pk) for pk in Contestant.objects.order_by("created_at").values_list("pk", flat=True)]
    planted = dict(zip(ids, (1250.0, 1000.0, 750.0), strict=True))
    simulation = Simulation(strengths=planted, n_votes=150, shares={Temper.HONEST: 1}, seed=1)
    board = simulate_votes(season=simulated, simulation=simulation)
    assert [row["contestant"] for row in board.result["ratings"]] == ids
    assert board.n_votes == Vote.objects.closed().count() == 150
    kinds = ("draw", "vote", "close", "overlap", "epoch", "reveal")
    counts = {kind: Entry.objects.filter(kind=kind).count() for kind in kinds}
    assert counts == {"draw": 150, "vote": 150, "close": 150, "overlap": 150, "epoch": 2, "reveal": 1}
    assert Entry.objects.get(kind="policy").body["simulated"] is True


def test_planted_overlap_comes_back_and_controlling_for_it_gives_the_planted_order(simulated: Season) -> None:
    ids = [str(pk) for pk in Contestant.objects.order_by("created_at").values_list("pk", flat=True)]
    planted = dict(zip(ids, (1080.0, 1000.0, 920.0), strict=True))  # who is weaker copies more, and voters like that
    simulation = Simulation(
        strengths=planted, n_votes=600, n_voters=60, shares={Temper.HONEST: 1}, seed=4, overlap_effect=6.0
    )
    plain = simulate_votes(season=simulated, simulation=simulation)
    assert [row["contestant"] for row in plain.result["ratings"]] == ids[::-1]
    column = plain.result["overlap"]["contestants"]
    assert [column[name]["share"] for name in ids] == pytest.approx([simulation.overlaps[n] for n in ids], abs=0.05)
    controlled = boards.latest_leaderboard(simulated, Slice(overlap=True))
    assert controlled is not None
    assert [row["contestant"] for row in controlled.result["ratings"]] == ids
    effect = controlled.result["method"]["covariate_effects"][0]
    half = (effect["upper"] - effect["lower"]) / 2
    assert (
        abs(effect["effect"] - 6.0) < 2.5 * half
    )  # draws differ from run to run: the interval itself misses one in 20
    assert all(row.indexes == [] for row in Overlap.objects.all())
    plain_again = Simulation(strengths=planted, n_votes=600, seed=4)
    assert plain_again.overlaps == simulation.overlaps


@given(p_a=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_expected_points_are_the_win_probability(p_a: float, seed: int) -> None:
    source = random.Random(seed)
    points = {"a": 1.0, "tie": 0.5, "both_bad": 0.5, "b": 0.0}
    mean = sum(points[honest_verdict(p_a, source)] for _ in range(2000)) / 2000
    assert abs(mean - p_a) < 6 * 0.5 / 2000**0.5


def test_refuses_a_season_of_people(season: Season) -> None:
    with pytest.raises(BadInputError, match="for people"):
        simulate_votes(season=season, simulation=Simulation(strengths={"x": 1}, n_votes=1))


@pytest.mark.parametrize("changes", [{"n_votes": 0}, {"n_voters": 0}, {"shares": {Temper.HONEST: 0}}])
def test_refuses_a_simulation_of_nothing(changes: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        Simulation(**{"strengths": {}, "n_votes": 1, **changes})  # type: ignore[arg-type]


def test_commands_enter_simulate_and_print_what_was_planted(checkpoint: Checkpoint, tmp_path: object) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="fewer than two contestants"):
        call_command("simulate_votes", stdout=out, stderr=StringIO())
    for name, experts in (("one", None), ("two", "public")):
        call_command(
            "add_contestant",
            name,
            title=name,
            provider="lab",
            licence_group="open-source",
            experts=experts,
            season="simulated",
            stdout=out,
        )
    printed = StringIO()
    call_command("simulate_votes", votes=20, random=1.0, stdout=printed, stderr=StringIO())
    report = json.loads(printed.getvalue())
    assert report["simulated"] is True
    assert {row["planted"] for row in report["rows"]} <= {1030.0, 970.0}
    assert Vote.objects.count() == 20


def test_contestant_command_opens_the_arena_and_names_what_is_wrong(checkpoint: Checkpoint) -> None:
    out = StringIO()
    arguments = {"title": "One", "provider": "lab", "licence_group": "open-source", "stdout": out}
    call_command("add_contestant", "one", **arguments)
    assert out.getvalue().strip() == Contestant.objects.get().digest
    assert not Season.objects.get().is_simulated
    with pytest.raises(CommandError, match="exactly these weights"):
        call_command("add_contestant", "two", **arguments)


def test_reveal_of_a_simulated_battle_says_that_nothing_was_generated(client: Client, simulated: Season) -> None:
    strengths = {str(pk): 1000.0 for pk in Contestant.objects.values_list("pk", flat=True)}
    simulate_votes(season=simulated, simulation=Simulation(strengths=strengths, n_votes=3))
    battle = Battle.objects.first()
    assert battle is not None
    page = client.get(battle.get_absolute_url()).content.decode()
    assert page.count("No answer was generated: a program voted") == 2
    assert page.count("no routing shares") == 2
    assert "<meter" not in page
    assert "0\u00a0%" not in page.replace("&nbsp;", "\u00a0")
    assert "Show matches" not in page
    assert 'class="answer-text"' not in page
    shown = client.get(f"/api/v1/arena/battles/{battle.pk}/").json()
    assert shown["is_simulated"] is True
    assert [shown["turns"][0][f"answer_{side}"] for side in "ab"] == [None, None]
    for side in shown["reveal"]["sides"].values():
        assert (side["n_characters"], side["overlap"]) == (None, None)
        assert {row["share_percent"] for row in side["experts"]} == {None}
        assert sum(row["is_on"] for row in side["experts"]) == len(EXPERTS) - 1
