"""What is kept of a leaderboard's page is what would be rendered anew, for every reader and after every change."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from arena.models import Contestant, Season, Voter
from arena.services import boards, variants
from arena.services.roster import change_roster
from tests.arena.conftest import Enter, battled
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
PAGE = "/arena/leaderboard/"
QUERIES = ("", "?both_bad=0", "?include_excluded=1", "?tree_size=3", "?category=none", "?season=main")


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    cache.clear()


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> Season:
    """Vote until all three are ranked, since who meets whom is drawn anew in each run."""
    for number in range(60):
        battled(season, voter, ("a", "b", "tie")[number % 3])
        sequence_entries()
        if number >= 5 and len(boards.publish_leaderboard(season).result["ratings"]) == len(trio):
            break
    sequence_entries()
    return season


def shown(client: Client, path: str) -> str:
    """Return a page without what differs at each request."""
    answer = client.get(path)
    assert answer.status_code == 200
    return re.sub(r'(name="csrfmiddlewaretoken" value|nonce)="[^"]*"', "", answer.content.decode())


def test_page_is_the_same_when_its_pieces_are_kept(client: Client, voted: Season) -> None:
    board = boards.latest_leaderboard(voted)
    assert board is not None
    for path in (*(PAGE + query for query in QUERIES), board.get_absolute_url()):
        cache.clear()
        first = shown(client, path)
        assert shown(client, path) == first, path


def test_nothing_of_a_reader_is_kept(client: Client, voted: Season) -> None:
    client.force_login(User.objects.create_user("someone_special"))
    assert "someone_special" in shown(client, PAGE)
    assert "both_bad=0" in shown(client, f"{PAGE}?both_bad=0")
    other = Client()
    assert "someone_special" not in shown(other, PAGE)
    assert "both_bad=0" not in shown(other, PAGE)


def test_change_of_the_roster_shows_at_once(client: Client, voted: Season, trio: list[Contestant]) -> None:
    assert "<td>paused</td>" not in shown(client, PAGE)
    change_roster(contestant=trio[0], kind="paused", rule="unreachable", numbers={})
    assert shown(client, PAGE).count("<td>paused</td>") == 1
    change_roster(contestant=trio[0], kind="resumed", rule="reachable-again", numbers={})
    assert "<td>paused</td>" not in shown(client, PAGE)


def test_name_of_a_variant_shows_once_it_is_launched(client: Client, voted: Season, enter: Enter, voter: Voter) -> None:
    hidden = enter("quiet", visibility="private")
    sequence_entries()
    board = variants.publish_variant_rating(hidden)
    path = board.get_absolute_url()
    assert hidden.title not in shown(client, path)
    variants.launch(hidden)
    assert hidden.title in shown(client, path)


def test_new_leaderboard_replaces_the_old_one(client: Client, voted: Season, voter: Voter) -> None:
    before = shown(client, PAGE)
    battled(voted, voter, "b")
    sequence_entries()
    board = boards.publish_leaderboard(voted)
    assert board.input_digest in shown(client, PAGE)
    assert board.input_digest not in before


def test_figures_are_not_loaded_when_the_pieces_are_kept(client: Client, voted: Season) -> None:
    with CaptureQueriesContext(
        connection,
    ) as first:
        shown(client, PAGE)
    with CaptureQueriesContext(connection) as again:
        shown(client, PAGE)
    assert any('"result"' in query["sql"] for query in first)
    assert not any('"arena_leaderboard"."result",' in query["sql"] for query in again)
    assert len(again) <= 8


def test_page_shows_the_board_of_the_longest_log_when_the_clock_stepped_back(
    client: Client, voted: Season, voter: Voter, monkeypatch: pytest.MonkeyPatch
) -> None:
    battled(voted, voter, "b")
    sequence_entries()
    earlier = timezone.now() - timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: earlier)
        board = boards.publish_leaderboard(voted)
    assert board.created_at == earlier
    assert board.get_absolute_url() in shown(client, PAGE)
