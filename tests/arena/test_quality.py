"""Judged voters: set aside by rule, counted publicly, counted again, and never deleted."""

from __future__ import annotations

import json

import pytest
from django.core.cache import cache
from django.test import Client

from arena.models import Battle, Contestant, Exclusion, Season, Vote, Voter
from arena.policy import EXCLUSION_RULES, Rules
from arena.quality import Outcome, Pattern
from arena.services import boards, quality, roster, seasons
from arena.services.housekeeping import judge_and_publish, keep_house
from arena.services.simulation import Simulation, Temper, simulate_votes
from tests.arena.conftest import answered, battled, eligible_voter
from tests.inference.tiny import EXPERTS
from webapp.playground.models import Checkpoint
from webapp.transparency.models import Entry
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def simulated(checkpoint: Checkpoint) -> Season:
    """A season with 300 simulated votes, a fifth of them by voters who always choose left."""
    season = seasons.open_season(
        slug="simulated", title="Simulation", is_simulated=True, rules=Rules(min_votes=1, draws_per_epoch=500)
    )
    provider = roster.add_provider(slug="program", name="A program")
    for expert in EXPERTS[:3]:
        experts = [e for e in EXPERTS if e != expert]
        roster.add_contestant(
            season=season, provider=provider, slug=expert, title=expert, licence_group="open-source", experts=experts
        )
    ids = [str(pk) for pk in season.contestants.values_list("pk", flat=True)]
    simulate_votes(
        season=season,
        simulation=Simulation(
            strengths=dict(zip(ids, (1100.0, 1000.0, 900.0), strict=True)),
            n_votes=300,
            n_voters=10,
            shares={Temper.HONEST: 0.8, Temper.ALWAYS_LEFT: 0.2},
            seed=4,
        ),
    )
    return season


def test_every_pattern_is_a_published_rule() -> None:
    assert {*Pattern, quality.LEAK, "passes-again"} == set(EXCLUSION_RULES)


def test_always_left_is_set_aside_with_its_numbers_and_nothing_is_deleted(simulated: Season) -> None:
    found = list(Exclusion.objects.filter(season=simulated))
    assert found
    assert {e.rule for e in found} == {"always-left"}
    for exclusion in found:
        assert float(exclusion.numbers["log10_odds"]) >= 3
        assert Entry.objects.get(id=exclusion.entry_id).body["numbers"] == exclusion.numbers
        assert exclusion.voter is not None
        verdicts = set(Vote.objects.filter(voter=exclusion.voter).values_list("verdict", flat=True))
        assert verdicts == {"a"}
    assert Vote.objects.count() == 300
    board = boards.latest_leaderboard(simulated)
    n_aside = Vote.objects.filter(voter__in=[e.voter for e in found]).count()
    assert board is not None
    assert board.n_votes == 300 - n_aside


def test_report_counts_voters_rules_and_votes(simulated: Season, client: Client) -> None:
    report = quality.quality_report(simulated)
    n_voters = Voter.objects.filter(votes__isnull=False).distinct().count()
    assert sum(report.voters.values()) == n_voters
    assert report.voters[Outcome.FAIL.value] == report.exclusions[0].n_voters > 0
    assert report.n_votes == 300
    gates = {gate.name: gate.outcome for gate in report.gates}
    assert gates["connection"] is Outcome.PASS
    assert gates["agreement"] is Outcome.UNDECIDED  # no prompt of the pool was used
    page = client.get("/arena/quality/?season=simulated").content.decode()
    assert "could not decide" in page
    assert "always-left" in page
    twin = client.get("/api/v1/arena/quality/?season=simulated").json()
    assert twin["exclusions"][0]["n_votes"] == report.exclusions[0].n_votes
    for digest in [v.digest(simulated) for v in Voter.objects.all()]:
        assert digest not in page + json.dumps(twin)


def test_judging_again_without_new_votes_says_nothing_new(simulated: Season) -> None:
    before = Exclusion.objects.count()
    cache.clear()
    assert quality.judge_season(simulated) == 0
    assert Exclusion.objects.count() == before


def test_votes_count_again_when_the_evidence_is_gone(season: Season, trio: list[Contestant], voter: Voter) -> None:
    """A voter excluded wrongly by an operator's run comes back with the next vote."""
    from arena.services.exclusions import exclude_voter

    battled(season, voter, "a")
    sequence_entries()
    boards.publish_leaderboard(season)
    exclusion = exclude_voter(season=season, voter=voter, rule="always-left", numbers={"n_votes": 1})
    sequence_entries()
    assert judge_and_publish(season) == 0  # nothing newer than the exclusion
    battled(season, voter, "b")
    sequence_entries()
    assert judge_and_publish(season) == 1
    assert Exclusion.objects.get(ends=exclusion).rule == "passes-again"
    board = boards.latest_leaderboard(season)
    assert board is not None
    assert board.n_votes == 2


def test_answer_that_names_its_contestant_is_set_aside(season: Season, trio: list[Contestant], voter: Voter) -> None:
    clean = battled(season, voter)
    from arena.services import battles, votes

    leaky = answered(battles.start_battle(season=season, voter=voter, prompt="Who are you, Contestant without-public?"))
    turn = leaky.turns.get()
    assert turn.generation_b is not None
    turn.generation_b.text = f"I am {leaky.contestant_b.title.upper()}, at your service."
    turn.generation_b.save()
    votes.cast_vote(battle_id=leaky.pk, voter=voter, verdict="b")
    battles.reveal_battle(battle_id=leaky.pk, voter=voter)
    sequence_entries()
    boards.publish_leaderboard(season)
    keep_house()
    assert list(Exclusion.objects.values_list("rule", "battle")) == [("identity-leak", leaky.pk)]
    assert Exclusion.objects.get().numbers == {"sides": ["b"]}
    board = boards.latest_leaderboard(season)
    assert board is not None
    assert board.n_votes == 1
    assert Battle.objects.filter(pk__in=[clean.pk, leaky.pk]).count() == 2
    keep_house()
    assert Exclusion.objects.count() == 1


@pytest.mark.parametrize(
    ("answer", "is_named"),
    [
        ("As a model of The Lab I cannot say.", True),
        ("the lab", True),
        ("the label", False),
        ("tiny", False),
        ("A prompt asked for others.", False),
    ],
)
def test_names_are_whole_words_of_some_length(trio: list[Contestant], answer: str, is_named: bool) -> None:
    assert quality.names_itself(answer, trio[0]) is is_named


def test_overlap_and_repetition_are_measured(season: Season, trio: list[Contestant]) -> None:
    from arena.services import battles, pool, votes

    pool.import_prompts([json.dumps({"id": "one", "text": "Return a new"})])
    for name in range(3):
        voter = eligible_voter()
        for _ in range(4):
            battle = answered(
                battles.start_battle(season=season, voter=voter, prompt="", pool_prompt=pool.take_prompt())
            )
            votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a" if name else "tie")
            battles.reveal_battle(battle_id=battle.pk, voter=voter)
    sequence_entries()
    report = quality.quality_report(season)
    assert report.overlap.n_verdicts + report.consistency.n_verdicts > 0


def test_removal_rule_runs_once_a_day_on_new_votes(season: Season, trio: list[Contestant], voter: Voter) -> None:
    from arena.models import RetirementRun

    battled(season, voter)
    sequence_entries()
    keep_house()
    keep_house()
    assert RetirementRun.objects.count() == 1
