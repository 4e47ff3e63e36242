"""How much of some texts stands word for word in the corpora that are indexed on this site.

Remote indexes are not asked: nobody who votes has asked for the answers to be sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracer import registry
from tracer.engine import TraceParameters, covered_characters, preview_spans
from tracer.models import Corpus


@dataclass(frozen=True)
class MeasuredOverlap:
    """Covered and all characters (Unicode code points) of N texts. indexes: corpus and digest of each one searched."""

    covered: tuple[int, ...]
    characters: tuple[int, ...]
    indexes: tuple[tuple[str, str], ...]


def has_indexes() -> bool:
    """Tell whether any corpus has an enabled index here."""
    return bool(Corpus.objects.indexed_here().exists())


def measure_overlap(texts: Sequence[str], *, parameters: Mapping[str, Any]) -> MeasuredOverlap:
    """Return what a trace with these parameters over all corpora indexed here would cover, without its documents.

    A corpus counts as a whole, documents that were taken down included, until its index is built anew.
    `indexes` is empty when nothing is indexed here. Raises `IndexFileError` when an index is damaged: a part
    of the corpora would give too low a number. Raises `ParameterError`.
    """
    checked = TraceParameters.from_mapping(parameters)
    corpora = registry.searchable(list(Corpus.objects.indexed_here().order_by("slug").prefetch_related("indexes")))
    covered = [
        covered_characters(preview_spans(text, corpora, parameters=checked)) if corpora and text.strip() else 0
        for text in texts
    ]
    indexes = tuple((corpus.slug, reader.digest) for corpus in corpora for reader in corpus.readers)
    return MeasuredOverlap(tuple(covered), tuple(map(len, texts)), indexes)
