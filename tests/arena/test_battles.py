"""From the draw to the close: receipts, sealed answers, votes, corrections, reveals, epochs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from arena.models import Battle, BattleClose, Contestant, Epoch, EpochReveal, Season, Vote, Voter
from arena.sampling import draw_pair
from arena.services import battles, reveal, seasons, votes
from arena.services.epochs import reveal_finished_epochs, table_of
from tests.arena.conftest import RULES, Enter, answered, battled, eligible_voter
from webapp.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from webapp.playground.models import Generation
from webapp.transparency.models import Entry
from webapp.transparency.services import public_key, sequence_entries

pytestmark = pytest.mark.django_db


def bodies(kind: str) -> list[dict[str, object]]:
    return [entry.body for entry in Entry.objects.filter(kind=kind).order_by("serial")]


def test_draw_recomputes_when_the_seed_is_known(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="Return", nonce="ab" * 16)
    epoch = battle.epoch
    again = draw_pair(table_of(epoch), seed=bytes.fromhex(epoch.seed), draw_index=battle.draw_index, nonce=b"\xab" * 16)
    assert (str(battle.contestant_a_id), str(battle.contestant_b_id)) == (again.side_a, again.side_b)
    assert f"{battle.p_numerator}/{battle.p_denominator}" == str(again.probability)
    assert battle.is_swapped == again.swap


def test_receipt_is_signed_and_names_no_contestant(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="Return", nonce="cd" * 20)
    text = public_key().open(battle.receipt)
    receipt = json.loads(text.splitlines()[1])
    assert receipt["battle"] == str(battle.id)
    assert receipt["nonce"] == "cd" * 20
    assert receipt["seed_commitment"] == battle.epoch.commitment
    for contestant in trio:
        assert str(contestant.pk) not in battle.receipt + json.dumps(bodies("draw"))


def test_answers_are_sealed_until_the_reveal(
    client: Client, season: Season, trio: list[Contestant], voter: Voter
) -> None:
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    paths = [f"/api/v1/generations/{g.pk}/" for g in Generation.objects.all()]
    assert [client.get(path).status_code for path in paths] == [404, 404]
    votes.cast_vote(battle_id=battle.id, voter=voter, verdict="tie")
    assert [client.get(path).status_code for path in paths] == [404, 404]
    battles.reveal_battle(battle_id=battle.id, voter=voter)
    assert [client.get(path).status_code for path in paths] == [200, 200]


def test_vote_is_superseded_when_changed_in_time_and_never_after_the_reveal(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    first = votes.cast_vote(battle_id=battle.id, voter=voter, verdict="a")
    assert votes.cast_vote(battle_id=battle.id, voter=voter, verdict="a") == first
    second = votes.cast_vote(battle_id=battle.id, voter=voter, verdict="b")
    assert second.supersedes == first
    assert bodies("vote")[1]["supersedes"] == str(first.entry_id)
    battles.reveal_battle(battle_id=battle.id, voter=voter)
    assert bodies("close")[0]["vote"] == str(second.entry_id)
    with pytest.raises(ConflictError, match="closed"):
        votes.cast_vote(battle_id=battle.id, voter=voter, verdict="tie")
    assert list(Vote.objects.closed()) == [second]


def test_vote_stays_when_the_window_is_over(season: Season, trio: list[Contestant], voter: Voter) -> None:
    seasons.change_policy(season=season, rules=type(RULES)(**{**RULES.__dict__, "edit_window_s": 0}))
    sequence_entries()
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    votes.cast_vote(battle_id=battle.id, voter=voter, verdict="a")
    with pytest.raises(ConflictError, match="0 seconds"):
        votes.cast_vote(battle_id=battle.id, voter=voter, verdict="b")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"prompt": "  "}, "prompt"), ({"prompt": "x" * 20_001}, "prompt"), ({"prompt": "x", "nonce": "zz"}, "nonce")],
)
def test_names_the_field_when_a_battle_cannot_start(
    season: Season, trio: list[Contestant], voter: Voter, arguments: dict[str, str], field: str
) -> None:
    with pytest.raises(BadInputError) as raised:
        battles.start_battle(season=season, voter=voter, **arguments)
    assert raised.value.field == field
    assert not Battle.objects.exists()


def test_draw_closes_as_error_when_the_prompt_does_not_fit(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="word " * 300)
    assert battle.close.kind == "error"
    assert bodies("close")[0]["outcome"] == "error"
    assert not Generation.objects.exists()


def test_battle_closes_uncounted_when_an_answer_fails(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="Return")
    Generation.objects.filter(pk=battle.turns.get().generation_a_id).update(status="failed")
    assert battles.settle_battle(battle)
    assert BattleClose.objects.get().kind == "error"
    assert not Vote.objects.exists()


def test_only_its_voter_reads_an_open_battle(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    for other in (eligible_voter(), None):
        with pytest.raises(NotFoundError):
            battles.get_battle(battle.id, voter=other)
        with pytest.raises(NotFoundError):
            votes.cast_vote(battle_id=battle.id, voter=other, verdict="a")
    battles.skip_battle(battle_id=battle.id, voter=voter)
    assert battles.get_battle(battle.id, voter=None) == battle


def test_one_battle_at_a_time(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="Return")
    with pytest.raises(ConflictError, match="open battle"):
        battles.start_battle(season=season, voter=voter, prompt="Return")
    battles.skip_battle(battle_id=battle.id, voter=voter)
    assert Generation.objects.exclude(status="cancelled").count() == 0
    battles.start_battle(season=season, voter=voter, prompt="Return")


def test_checks_come_first_when_the_policy_says_so(season: Season, trio: list[Contestant]) -> None:
    with pytest.raises(ForbiddenError, match="checks"):
        battles.start_battle(season=season, voter=Voter.objects.create(), prompt="Return")


def test_both_sides_go_on_from_their_own_answers(season: Season, trio: list[Contestant], voter: Voter) -> None:
    battle = battles.start_battle(season=season, voter=voter, prompt="Return")
    with pytest.raises(ConflictError, match="still being made"):
        battles.add_turn(battle_id=battle.id, voter=voter, prompt="And then?")
    answered(battle)
    battles.add_turn(battle_id=battle.id, voter=voter, prompt="And then?")
    first, second = battle.turns.all()
    for side in ("a", "b"):
        earlier, now = getattr(first, f"generation_{side}"), getattr(second, f"generation_{side}")
        assert [m["content"] for m in now.messages] == ["Return", Generation.objects.get(pk=earlier.pk).text]


def test_epoch_ends_after_its_draws_and_is_revealed_when_all_are_closed(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    for _ in range(RULES.draws_per_epoch):
        battled(season, voter)
    sequence_entries()
    late = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    assert [epoch.number for epoch in Epoch.objects.all()] == [0, 1]
    assert late.draw_index == 0
    assert late.epoch.n_votes == RULES.draws_per_epoch
    assert reveal_finished_epochs(season) == 1
    assert reveal_finished_epochs(season) == 0
    reveal = EpochReveal.objects.get()
    assert (reveal.epoch.number, reveal.seed, reveal.n_draws) == (0, reveal.epoch.seed, RULES.draws_per_epoch)
    assert bodies("reveal") == [{"season": "main", "epoch": 0, "seed": reveal.seed, "n_draws": 5}]


def test_new_epoch_begins_when_the_roster_changes(
    season: Season, trio: list[Contestant], voter: Voter, enter: Enter
) -> None:
    battled(season, voter)
    enter("late", experts=["public"])
    sequence_entries()
    battled(season, voter)
    assert [len(body["roster"]) for body in bodies("epoch")] == [3, 4]  # type: ignore[arg-type]


def test_what_is_left_is_closed(season: Season, trio: list[Contestant], voter: Voter) -> None:
    rules = type(RULES)(**{**RULES.__dict__, "edit_window_s": 0, "abandon_after_s": 1})
    seasons.change_policy(season=season, rules=rules)
    sequence_entries()
    voted = answered(battles.start_battle(season=season, voter=voter, prompt="Return"))
    votes.cast_vote(battle_id=voted.id, voter=voter, verdict="a")
    left = battles.start_battle(season=season, voter=eligible_voter(), prompt="Return")
    later = timezone.now() + timedelta(seconds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: later)
        assert battles.close_left_battles(season) == 2
    assert Battle.objects.get(pk=voted.pk).close.kind == "vote"
    assert Battle.objects.get(pk=left.pk).close.kind == "abandoned"


def test_salt_of_the_answers_is_forgotten_with_them_and_nothing_else_changes(
    season: Season, trio: list[Contestant], voter: Voter
) -> None:
    first, second = battled(season, voter), battled(season, voter)
    before = {close.battle_id: close for close in BattleClose.objects.all()}
    assert all(len(close.salt) == 64 for close in before.values())
    reveal.erase_texts(first)
    after = {close.battle_id: close for close in BattleClose.objects.all()}
    assert (after[first.pk].salt, after[second.pk].salt) == ("", before[second.pk].salt)
    reveal.erase_texts(first)
    rows = BattleClose.objects.filter(battle=second)
    for change in ({"salt": "ab" * 32}, {"kind": "skip", "salt": ""}, {"reason": "x", "salt": ""}, {"kind": "vote"}):
        with pytest.raises(IntegrityError, match="written once"), transaction.atomic():
            rows.update(**change)
    with pytest.raises(IntegrityError, match="written once"), transaction.atomic():
        BattleClose.objects.filter(battle=first).update(salt="ab" * 32)
    assert BattleClose.objects.get(battle=second).salt == before[second.pk].salt
