"""A season with contestants of a tiny checkpoint, and voters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.cache import cache

from arena.models import Battle, Contestant, Provider, Season, Voter
from arena.onboarding import CHECKS
from arena.policy import Rules
from arena.services import battles, roster, seasons, voters, votes
from tests.inference.tiny import EXPERTS, make_checkpoint
from webapp.playground import services as playground
from webapp.playground.models import Checkpoint
from webapp.transparency.services import sequence_entries

RULES = Rules(min_votes=1, draws_per_epoch=5)


@pytest.fixture(autouse=True)
def forgetful_cache() -> None:
    """Let no test find what another noted of a season with the same key: what was published, counted or seen."""
    cache.clear()


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("arena") / "tiny")


@pytest.fixture
def checkpoint(db: None, tiny_path: Path) -> Checkpoint:
    return playground.add_checkpoint(slug="tiny", path=tiny_path)


@pytest.fixture
def season(db: None) -> Season:
    return seasons.open_season(slug="main", title="Arena", rules=RULES)


@pytest.fixture
def provider(db: None) -> Provider:
    return roster.add_provider(slug="lab", name="The Lab")


Enter = Callable[..., Contestant]


@pytest.fixture
def enter(season: Season, provider: Provider, checkpoint: Checkpoint) -> Enter:
    """Enter a contestant of the tiny checkpoint with some experts on."""

    def enter_contestant(slug: str, **changes: object) -> Contestant:
        values: dict[str, object] = {
            "season": season,
            "provider": provider,
            "slug": slug,
            "title": f"Contestant {slug}",
            "licence_group": "open-source",
            "max_tokens": 4,
            **changes,
        }
        return roster.add_contestant(**values)  # type: ignore[arg-type]

    return enter_contestant


@pytest.fixture
def trio(enter: Enter) -> list[Contestant]:
    """Three public contestants, each with one expert less."""
    entered = [enter(f"without-{e}", experts=[x for x in EXPERTS if x != e]) for e in EXPERTS[:3]]
    sequence_entries()
    return entered


def eligible_voter() -> Voter:
    """Return an anonymous voter who has passed the checks."""
    voter = Voter.objects.create()
    assert voters.answer_checks(voter=voter, answers={check.id: check.right for check in CHECKS}) == []
    return voter


@pytest.fixture
def voter(db: None) -> Voter:
    return eligible_voter()


def answered(battle: Battle) -> Battle:
    """Make both answers of the battle's last turn in this process."""
    turn = battle.turns.last()
    assert turn is not None
    for generation_id in (turn.generation_a_id, turn.generation_b_id):
        if generation_id is not None:
            playground.run_generation(generation_id)
    return battle


def battled(season: Season, voter: Voter, verdict: str = "a", prompt: str = "Return a new") -> Battle:
    """Battle, answer, vote, reveal."""
    battle = answered(battles.start_battle(season=season, voter=voter, prompt=prompt))
    votes.cast_vote(battle_id=battle.id, voter=voter, verdict=verdict)
    battles.reveal_battle(battle_id=battle.id, voter=voter)
    return battle
