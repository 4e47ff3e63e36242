"""Corpora are loaded anew exactly when something of theirs has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group
from pytest_django import DjangoAssertNumQueries

from tests.tracer.conftest import MakeCorpus
from tracer.loading import corpora_with_indexes
from tracer.models import Corpus, Index, RemoteIndex


def remote() -> RemoteIndex:
    return RemoteIndex.objects.create(
        corpus=Corpus.objects.get(), kind="fairground", url="https://example.org/", name="x"
    )


CHANGES: dict[str, Callable[[], object]] = {
    "disclosure": lambda: Corpus.objects.update(disclosure="counts"),
    "owners": lambda: Corpus.objects.update(owner_group=Group.objects.create(name="owners")),
    "index switched off": lambda: Index.objects.update(is_enabled=False),
    "index removed": lambda: Index.objects.all().delete(),
    "index moved": lambda: Index.objects.update(path="elsewhere"),
    "remote added": remote,
    "corpus removed": lambda: (Index.objects.all().delete(), Corpus.objects.all().delete()),
}


def as_loaded(slug: str) -> list[tuple[object, ...]]:
    return [
        (c.disclosure, c.owner_group_id, [(i.path, i.is_enabled) for i in c.indexes.all()], len(c.remotes.all()))
        for c in corpora_with_indexes([slug])
    ]


def as_stored() -> list[tuple[object, ...]]:
    found = Corpus.objects.prefetch_related("indexes", "remotes")
    return [
        (c.disclosure, c.owner_group_id, [(i.path, i.is_enabled) for i in c.indexes.all()], len(c.remotes.all()))
        for c in found
    ]


@pytest.mark.parametrize("change", CHANGES)
def test_shows_a_change_at_once(make_corpus: MakeCorpus, change: str) -> None:
    slug = make_corpus().slug
    before = as_loaded(slug)
    assert before == as_stored()
    CHANGES[change]()
    assert as_loaded(slug) == as_stored() != before


def test_compares_rows_and_makes_nothing_anew_when_nothing_changed(
    make_corpus: MakeCorpus, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    slug = make_corpus().slug
    first = corpora_with_indexes([slug])
    with django_assert_num_queries(3):
        again = corpora_with_indexes([slug])
        assert [i.digest for c in again for i in c.indexes.all()]
    assert all(one is other for one, other in zip(first, again, strict=True))
