"""A trace's counts as tables: all spans by all corpora, and one span's corpora with owner, licence and index.

Made of what its viewer may see. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracer.highlighting import is_blank
from tracer.models import Corpus, Index

Count = int | str | None


@dataclass(frozen=True)
class CountRow:
    """How often a span stands in a corpus; None where the corpus did not tell. `counted_by` are its indexes."""

    slug: str
    title: str
    owner: str
    licence: str
    count: Count
    counted_by: tuple[str, ...]


def count_tables(shown: Mapping[str, Any], selected: int | None) -> dict[str, Any]:
    """Return `count_columns` (slugs), `spans` each with `label` and `cells`, and `count_rows` of the selected."""
    slugs = list(dict.fromkeys(entry["slug"] for entry in shown["corpora"]))
    spans = [
        {
            **span,
            "label": "white space" if is_blank(span["text"]) else span["text"],
            "cells": [span["counts"].get(slug) for slug in slugs],
        }
        for span in shown.get("spans", [])
    ]
    rows = [] if selected is None else _rows(shown, spans[selected]["counts"])
    return {"count_columns": slugs, "spans": spans, "count_rows": rows}


def _rows(shown: Mapping[str, Any], counts: Mapping[str, Count]) -> list[CountRow]:
    digests = {entry["slug"]: entry["indexes"] for entry in shown["corpora"]}
    corpora = {corpus.slug: corpus for corpus in Corpus.objects.filter(slug__in=digests)}
    every = [digest for own in digests.values() for digest in own]
    units = {index.digest: index.unit for index in Index.objects.filter(digest__in=every)}
    rows = []
    for slug, own in digests.items():
        corpus = corpora.get(slug)
        title, owner, licence = (corpus.title, corpus.owner, corpus.licence) if corpus else (slug, "", "")
        counted_by = tuple(f"{digest[:12]} ({units[digest]})" if digest in units else digest[:12] for digest in own)
        rows.append(CountRow(slug, title, owner, licence, counts.get(slug), counted_by))
    return rows
