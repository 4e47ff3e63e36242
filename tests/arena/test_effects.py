"""The page and resource of experts' effects."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from arena.models import Contestant, Season
from arena.services import boards
from tests.arena.conftest import battled, eligible_voter
from tests.inference.tiny import EXPERTS
from webapp.playground.models import Expert
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    cache.clear()


def test_says_what_to_do_without_votes(client: Client, season: Season) -> None:
    assert "differ in their experts alone" in client.get("/arena/effects/").content.decode()
    assert client.get("/api/v1/arena/effects/").json() == {"board": None, "families": []}
    assert client.get("/arena/effects/?season=none").status_code == 404


def test_effects_have_a_table_and_a_json_twin(client: Client, season: Season, trio: list[Contestant]) -> None:
    for number in range(12):
        battled(season, eligible_voter(), ("a", "b", "tie", "both_bad")[number % 4])
    sequence_entries()
    board = boards.publish_leaderboard(season)
    twin = client.get("/api/v1/arena/effects/").json()
    assert twin["board"] == str(board.pk)
    family = twin["families"][0]
    assert family["n_contestants"] == 3
    assert family["categories"][0]["n_votes"] == board.n_votes
    page = client.get("/arena/effects/").content.decode()
    for expert in trio[0].checkpoint.experts.all():
        assert expert.title in page


def test_expert_whose_effect_cannot_be_told_is_called_by_its_title(
    client: Client, season: Season, trio: list[Contestant]
) -> None:
    expert = trio[0].checkpoint.experts.get(slug=EXPERTS[-1])  # switched on by all three
    Expert.objects.filter(pk=expert.pk).update(title="Written by the town")
    for number in range(12):
        battled(season, eligible_voter(), ("a", "b", "tie", "both_bad")[number % 4])
    sequence_entries()
    boards.publish_leaderboard(season)
    untold = client.get("/api/v1/arena/effects/").json()["families"][0]["categories"][0]["untold"]
    assert expert.slug in untold
    page = client.get("/arena/effects/").content.decode()
    assert f"Written by the town {untold[expert.slug]}, so its effect cannot be told." in page
