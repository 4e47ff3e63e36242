"""What the rank worker makes beforehand is what the page would make, and reports of a large season stand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from arena import kept_pages, tasks
from arena.models import Contestant, Season, Voter
from arena.services import boards, standing
from arena.services.audit.report import self_audit
from arena.services.epochs import tree_size
from arena.services.quality import quality_report
from arena.services.transparency.scope import scope_of
from arena.views import boards as views
from tests.arena.conftest import battled
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
PAGE = "/arena/leaderboard/"


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    cache.clear()


def vote_again(season: Season, voter: Voter) -> None:
    battled(season, voter)
    sequence_entries()


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> Season:
    for number in range(4):
        battled(season, voter, ("a", "b", "tie")[number % 3])
    sequence_entries()
    return season


def shown(client: Client) -> str:
    return re.sub(r'(name="csrfmiddlewaretoken" value|nonce)="[^"]*"', "", client.get(PAGE).content.decode())


@pytest.mark.parametrize("task", [lambda season: tasks.recompute(season.pk), lambda season: tasks.keep_house()])
def test_first_reader_of_a_new_board_finds_it_made(
    client: Client, voted: Season, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task(voted)
    with monkeypatch.context() as patch:
        patch.setattr(views, "_pieces", pytest.fail)
        found = shown(client)
    assert "Permalink" in found
    cache.clear()
    assert shown(client) == found


def test_a_page_that_cannot_be_made_stops_nothing(voted: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(season: Season) -> None:
        raise RuntimeError("no template")

    made: list[str] = []
    monkeypatch.setattr(kept_pages, "keep_board", fail)
    monkeypatch.setattr(kept_pages, "quality_report", lambda season, renew: made.append(season.slug))
    fail.__name__ = "keep_board"
    kept_pages.keep_pages()
    assert made == [voted.slug]


def test_small_season_has_the_report_of_its_newest_state(voted: Season, voter: Voter) -> None:
    assert quality_report(voted).n_votes == 4
    vote_again(voted, voter)
    assert quality_report(voted).n_votes == 5
    assert quality_report(voted).tree_size == tree_size()


def test_report_of_a_large_season_stands_until_it_is_renewed(
    voted: Season, voter: Voter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "LARGE", 3)
    boards.publish_leaderboard(voted)
    sequence_entries()
    first, audited = quality_report(voted), self_audit(scope_of(voted))
    size = tree_size()
    vote_again(voted, voter)
    cache.delete(f"arena:transparency:size:{voted.pk}")
    assert quality_report(voted) == first
    assert self_audit(scope_of(voted)) == audited
    assert (first.tree_size, audited.tree_size) == (size, size)
    kept_pages.keep_reports(voted)
    assert quality_report(voted).n_votes == first.n_votes + 1
    assert self_audit(scope_of(voted)).tree_size == tree_size()
    vote_again(voted, voter)
    kept_pages.keep_reports(voted)
    assert quality_report(voted).n_votes == first.n_votes + 1, "it was renewed a moment ago"
    cache.delete(f"arena:quality:{voted.pk}:renewed")
    kept_pages.keep_reports(voted)
    assert quality_report(voted).n_votes == first.n_votes + 2
