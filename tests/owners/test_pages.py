"""Pages of owners: plot and table say the same, contestants by what may be said of them, few queries."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from arena.services import roster
from arena.services.seasons import open_season
from tests.owners.conftest import API, PAGE, TODAY, add_day
from tests.tracer.conftest import MakeCorpus, make_corpus, tokenizer_path
from webapp.identifiers import slug_of_name
from webapp.owners.charts import BARS, HEIGHT, TOP, day_plot
from webapp.playground.expert_days import DayFigures
from webapp.playground.models import Checkpoint, Expert, ExpertDay

__all__ = ["make_corpus", "tokenizer_path"]  # fixtures
People = Callable[[str], Client]
FIRST = date(2026, 3, 1)

drawn_days = st.lists(
    st.tuples(st.integers(0, 89), st.integers(1, 500), st.floats(0, 1), st.floats(0, 1)),
    unique_by=lambda row: row[0],
    min_size=1,
)


@given(drawn_days)
def test_plot_has_every_day_of_the_table_at_its_height(drawn: list[tuple[int, int, float, float]]) -> None:
    days = [DayFigures(1, FIRST + timedelta(days=n), a, a, s, w) for n, a, s, w in sorted(drawn)]
    plot = day_plot(days, FIRST, FIRST + timedelta(days=89))
    assert plot is not None
    top = plot.top_percent / 100
    for line, values in (
        (plot.share, [d.share for d in days]),
        (plot.share_when_on, [d.share_when_on for d in days]),
    ):
        assert len(line.points) == len(days)
        for (_, y), value in zip(line.points, values, strict=True):
            assert top * (1 - (y - TOP) / HEIGHT) == pytest.approx(value, abs=0.01)
        gaps = sum((b.day - a.day).days > 1 for a, b in itertools.pairwise(days))
        assert line.path.count("M") == gaps + 1
    assert [round(plot.most_answers * height / BARS) for _, _, height in plot.bars] == pytest.approx(
        [d.n_answers for d in days], abs=1
    )
    places = [x for x, _, _ in plot.bars]
    assert places == sorted(places)


def test_no_days_no_plot() -> None:
    assert day_plot([], FIRST, FIRST) is None


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_names_have_slugs_of_their_own_that_fit_an_address(one: str, other: str) -> None:
    assert re.fullmatch(r"[-a-zA-Z0-9_]+", slug_of_name(one))
    assert (slug_of_name(one) == slug_of_name(other)) is (one == other)


def test_window_is_chosen_by_the_address(people: People, checkpoint: Checkpoint) -> None:
    add_day("web", TODAY - timedelta(days=40), 11, 20, 10.0)
    client = people("member")
    assert "On in 11 answers" in client.get(PAGE).content.decode()
    assert "On in 11 answers" in client.get(f"{PAGE}?days=365").content.decode()
    for days in ("30", "3\x00"):
        page = client.get(PAGE, {"days": days})
        assert page.status_code == 200
    assert "No answer had it on" in client.get(f"{PAGE}?days=30").content.decode()


def test_page_asks_few_queries_however_many_experts_and_days(
    people: People, checkpoint: Checkpoint, django_assert_max_num_queries: Any
) -> None:
    Expert.objects.update(owner="web owner")
    rows = [
        ExpertDay(expert=expert, day=TODAY - timedelta(days=n), n_answers=1, n_tokens=2, weight=1.0)
        for expert in Expert.objects.all()
        for n in range(1, 90)
    ]
    ExpertDay.objects.bulk_create(rows)
    for name in ("member", "curator", "anonymous"):
        client = people(name)
        client.get(PAGE)
        with django_assert_max_num_queries(14):
            assert client.get(PAGE).status_code == 200


def test_page_escapes_what_owners_declare(people: People, checkpoint: Checkpoint) -> None:
    expert = Expert.objects.get(slug="web")
    expert.contribution = {**expert.contribution, "licence": "<script>x</script>", "merged_by": "<b>"}
    expert.save()
    page = people("anonymous").get(PAGE).content.decode()
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    assert "&lt;b&gt;" in page


def test_contestants_of_the_expert_are_named_and_secret_ones_are_not(people: People, checkpoint: Checkpoint) -> None:
    season = open_season(slug="s", title="S")
    provider = roster.add_provider(slug="lab", name="Lab")
    options = {
        "season": season,
        "provider": provider,
        "licence_group": "open-weight",
        "checkpoint": "tiny",
    }
    for slug, experts, shown in (
        ("with-web", ["public", "web"], "public"),
        ("without", ["public"], "public"),
        ("hidden", ["web"], "private"),
    ):
        roster.add_contestant(
            slug=slug, title=f"The {slug}", experts=experts, visibility=shown, max_tokens=4, **options
        )
    for name, titles in (("member", {"The with-web"}), ("curator", {"The with-web", "The hidden"})):
        (expert,) = people(name).get(API).json()["experts"]
        assert {use["title"] for use in expert["contestants"]} == titles
        page = people(name).get(PAGE).content.decode()
        assert ("The hidden" in page) is (name == "curator")
        assert "these contestants are paused: The with-web" in page
        assert "The without" not in page


def test_corpora_and_documents_lead_to_their_owner(make_corpus: MakeCorpus, client: Client) -> None:
    corpus = make_corpus("prose")
    page = client.get(corpus.get_absolute_url()).content.decode()
    address = f"/owners/{slug_of_name(corpus.owner)}/"
    assert f'<a href="{address}">{corpus.owner}</a>' in page
    assert corpus.get_absolute_url() in client.get(address).content.decode()
    documents = re.findall(r'href="(/documents/[^"]+)"', page)
    assert documents
    assert address in client.get(documents[0]).content.decode()
