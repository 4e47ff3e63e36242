"""Voters take turns in the queue, though the arena owns all their answers."""

from __future__ import annotations

from arena.models import Contestant, Season, Voter
from arena.services import battles
from tests.arena.conftest import answered, eligible_voter
from webapp.playground import services
from webapp.playground.models import Generation
from webapp.playground.turns import client_of


def answers_of(voter: Voter) -> set[str]:
    turns = [turn for battle in voter.battles.all() for turn in battle.turns.all()]
    return {str(pk) for turn in turns for pk in (turn.generation_a_id, turn.generation_b_id)}


def test_voters_take_turns(season: Season, trio: list[Contestant], voter: Voter) -> None:
    voters = {"a": voter, "b": eligible_voter(), "c": eligible_voter()}
    for one in voters.values():
        battles.start_battle(season=season, voter=one, prompt="Return a")
    own = {name: answers_of(one) for name, one in voters.items()}
    for identifier in set().union(*own.values()):
        services.run_in_turn(identifier)
    order = [str(pk) for pk in Generation.objects.order_by("started_at").values_list("pk", flat=True)]
    assert "".join(name for pk in order for name, answers in own.items() if pk in answers) == "abcabc"


def test_engines_know_voters_apart_and_one_voters_questions_together(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    first = answered(battles.start_battle(season=season, voter=voter, prompt="Return a"))
    battles.add_turn(battle_id=first.id, voter=voter, prompt="And then")
    battles.start_battle(season=season, voter=eligible_voter(), prompt="Return the")
    clients = [client_of(made) for made in Generation.objects.order_by("created_at", "id")]
    assert len(set(clients[:4])) == len(set(clients[4:])) == 1
    assert clients[0] != clients[-1]
