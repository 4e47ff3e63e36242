"""Queries with their SQL kept give the rows that Django gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db.models import Count, QuerySet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracer.models import Corpus
from webapp.prepared import prepared

NAMES = ["a", "b", "it's", "100%s", 'q"', "stand-in 0", "", "é"]
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def by_slug(slugs: Sequence[str]) -> QuerySet[Corpus, Any]:
    wanted = Corpus.objects.filter(slug__in=slugs, n_documents__gt=1).exclude(licence="none")
    return wanted.annotate(n=Count("indexes")).order_by("slug").values_list("slug", "owner", "n_documents", "n")


by_slug_prepared = prepared(by_slug)


@pytest.fixture
def corpora(db: None) -> None:
    for number, name in enumerate(NAMES):
        licence = "none" if number == 1 else "x"
        Corpus.objects.create(slug=name, owner=f"of {name}", licence=licence, file="f", n_documents=number)


@given(st.lists(st.sampled_from(NAMES) | storable, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_gives_djangos_rows_for_any_texts(corpora: None, slugs: list[str]) -> None:
    assert by_slug_prepared(slugs) == list(by_slug(slugs))


def test_sees_what_was_written_since(corpora: None) -> None:
    before = by_slug_prepared(["é"])
    Corpus.objects.filter(slug="é").update(owner="another")
    assert (before[0][1], by_slug_prepared(["é"])[0][1]) == ("of é", "another")
