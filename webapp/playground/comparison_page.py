"""What a comparison shows of its sides: words, routing and corpora, each side against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracer.presentation import present_trace
from webapp.jobs import JobStatus
from webapp.ownership import Author
from webapp.playground.models import Comparison, Generation
from webapp.playground.text_diff import Difference, compare_texts


@dataclass(frozen=True)
class Side:
    """One answer with its name; `difference` is against the first side, where both are finished."""

    generation: Generation
    name: str
    difference: Difference | None

    @property
    def percent_shared(self) -> int | None:
        """Return how many of both texts' words are shared."""
        return None if self.difference is None else round(100 * self.difference.shared)


@dataclass(frozen=True)
class Row:
    """A line of a table: each side's percent, or None where it has none."""

    name: str
    percents: tuple[int | None, ...]


def comparison_context(comparison: Comparison, generations: Sequence[Generation], author: Author) -> dict[str, Any]:
    """Return what the page needs."""
    first = generations[0]
    titles = dict(first.checkpoint.experts.available().values_list("slug", "title"))
    everyone = list(dict.fromkeys(slug for made in generations for slug in made.experts))
    sides = [
        Side(made, _name(comparison, made, everyone, titles, number), _difference(first, made))
        for number, made in enumerate(generations)
    ]
    return {
        "comparison": comparison,
        "sides": sides,
        "first": first,
        "is_pair": len(sides) == 2,
        "left": sides[1].difference.left if len(sides) == 2 and sides[1].difference else None,
        "routing": routing_rows(generations, titles),
        "corpora": corpus_rows(generations, author),
        "n_traced": sum(made.trace is not None for made in generations),
    }


def _name(comparison: Comparison, made: Generation, everyone: list[str], titles: dict[str, str], number: int) -> str:
    left_out = [slug for slug in everyone if slug not in made.experts]
    if comparison.kind == Comparison.Kind.LEAVE_ONE_OUT:
        return f"Without {titles.get(left_out[0], left_out[0])}" if left_out else "All experts"
    return f"{'AB'[number] if number < 2 else number + 1}: {_mask_name(made, titles)}"


def _mask_name(made: Generation, titles: dict[str, str]) -> str:
    """Return a mask in words, the shorter way: what is on, or what is off."""
    off = [title for slug, title in titles.items() if slug not in made.experts]
    on = [titles.get(slug, slug) for slug in made.experts]
    if not off:
        return "all experts"
    return f"without {', '.join(off)}" if len(off) < len(on) else ", ".join(on)


def _difference(first: Generation, made: Generation) -> Difference | None:
    if made.pk == first.pk or made.status != JobStatus.DONE or first.status != JobStatus.DONE:
        return None
    return compare_texts(first.text, made.text)


def routing_rows(generations: Sequence[Generation], titles: dict[str, str]) -> list[Row]:
    """Return each expert's share of the routing in each side; None where it was off."""
    slugs = list(dict.fromkeys(slug for made in generations for slug in made.experts))
    rows = []
    for slug in slugs:
        shares = [made.routing_shares.get(slug) for made in generations]
        rows.append(Row(titles.get(slug, slug), tuple(None if s is None else round(100 * s) for s in shares)))
    return rows


def corpus_rows(generations: Sequence[Generation], author: Author) -> list[Row]:
    """Return which share of each side's text stands in each corpus; None for a side without a finished trace."""
    covered = [_coverage(made, author) for made in generations]
    slugs = list(dict.fromkeys(slug for one in covered if one for slug in one))
    return [
        Row(slug, tuple(None if one is None else round(100 * one.get(slug, 0.0)) for one in covered)) for slug in slugs
    ]


def _coverage(made: Generation, author: Author) -> dict[str, float] | None:
    trace = made.trace
    if trace is None or trace.result is None or not trace.is_readable_by(author):
        return None
    covered: dict[str, float] = present_trace(trace, author=author)["coverage_by_corpus"]
    return covered
