"""Corpora with their indexes and remotes, made anew only when a row of theirs has changed.

Each trace needs them. Django takes more time to make these objects than a short answer takes to be traced; to
compare the rows with those of the last time takes a tenth of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model, QuerySet

from tracer.models import Corpus, Index, RemoteIndex
from webapp.prepared import Rows, prepared

MAX_KEPT = 64
_kept: dict[tuple[str, ...], tuple[list[Rows], list[Corpus]]] = {}


def corpora_with_indexes(slugs: Sequence[str]) -> list[Corpus]:
    """Return the corpora in order of their slugs, for reading only: other threads have the same objects."""
    rows = [read(slugs) for read in (_corpora, _indexes, _remotes)]
    key = tuple(slugs)
    known = _kept.get(key)
    if known is None or known[0] != rows:
        found = Corpus.objects.filter(slug__in=slugs).defer(*UNREAD).order_by("slug")
        known = rows, list(found.prefetch_related("indexes", "remotes"))
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        _kept[key] = known
    return known[1]


#: Long, and of no use to a trace.
UNREAD = ("files", "provenance")


def _fields(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields if field.name not in UNREAD]


@prepared
def _corpora(slugs: Sequence[str]) -> QuerySet[Corpus, Any]:
    return Corpus.objects.filter(slug__in=slugs).order_by("pk").values_list(*_fields(Corpus))


@prepared
def _indexes(slugs: Sequence[str]) -> QuerySet[Index, Any]:
    return Index.objects.filter(corpus__slug__in=slugs).order_by("pk").values_list(*_fields(Index))


@prepared
def _remotes(slugs: Sequence[str]) -> QuerySet[RemoteIndex, Any]:
    return RemoteIndex.objects.filter(corpus__slug__in=slugs).order_by("pk").values_list(*_fields(RemoteIndex))
