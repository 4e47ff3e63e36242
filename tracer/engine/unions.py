"""Joins the spans that indexes with different tokenizers found in one text.

An index of bytes finds what one of tokens does and more: the same span is told once, and a span inside a
longer one of the same corpora is left out, as within one index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tracer.engine.counting import larger_counts
from tracer.engine.relevance import Relevance
from tracer.engine.results import Match, Span

ORDER = {Relevance.LOW: 0, Relevance.MEDIUM: 1, Relevance.HIGH: 2}


def unite_spans(spans: Sequence[Span], max_documents: int) -> list[Span]:
    """Return the spans with equal ones joined and inner ones left out, in order of their start.

    Of equal spans the first one's length and probability stand; a count is the larger of those in one corpus.
    """
    united: dict[tuple[int, int], Span] = {}
    for span in spans:
        key = (span.start, span.end)
        united[key] = _joined(united[key], span, max_documents) if key in united else span
    kept: list[Span] = []
    reach: dict[frozenset[str], int] = {}  # corpora of the spans so far: their farthest end
    for span in sorted(united.values(), key=lambda span: (span.start, -span.end)):
        corpora = frozenset(slug for slug, count in span.counts.items() if count)
        if all(end < span.end or not corpora <= outer for outer, end in reach.items()):
            kept.append(span)
            reach[corpora] = max(reach.get(corpora, 0), span.end)
    return kept


def _joined(one: Span, two: Span, max_documents: int) -> Span:
    matches = sorted(_distinct([*one.matches, *two.matches]), key=lambda m: (-m.relevance_score, m.document))
    relevance = max(one.relevance, two.relevance, key=ORDER.__getitem__)
    return replace(
        one, counts=larger_counts(one.counts, two.counts), matches=tuple(matches[:max_documents]), relevance=relevance
    )


def _distinct(matches: Iterable[Match]) -> list[Match]:
    first: dict[str, Match] = {}
    for match in matches:
        first.setdefault(match.document, match)
    return list(first.values())
