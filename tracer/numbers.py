"""Numbers on a traced answer, from what its viewer may see. Knows nothing of the database and HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Spans = Sequence[Mapping[str, Any]]


def covered_share(spans: Iterable[Mapping[str, Any]], n_characters: int) -> float:
    """Return the share of characters inside at least one span."""
    covered = last = 0
    for start, end in sorted((span["start"], span["end"]) for span in spans):
        covered += max(0, end - max(start, last))
        last = max(last, end)
    return round(covered / n_characters, 6) if n_characters else 0.0


def coverage_of(spans: Spans, slug: str, n_characters: int) -> float:
    """Return the share of characters inside the spans that stand in a corpus."""
    return covered_share((span for span in spans if span["counts"].get(slug)), n_characters)


def summarize_spans(spans: Spans, n_characters: int, licences: Mapping[str, str]) -> dict[str, Any]:
    """Return coverage by licence, the longest and the rarest span, and how many spans have each length.

    `licences` maps a corpus's slug to its licence. Rarity is the mean log probability of a token; all spans
    are told in tokens of one kind (`engine.results.Span`).
    """
    by_licence: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        for licence in {licences[slug] for slug, count in span["counts"].items() if count and slug in licences}:
            by_licence.setdefault(licence, []).append(span)
    longest = max(range(len(spans)), key=lambda i: spans[i]["length_tokens"], default=None)
    rarest = min(range(len(spans)), key=lambda i: spans[i]["unigram_logprob"], default=None)
    n_tokens = sum(span["length_tokens"] for span in spans)
    mean = sum(span["unigram_logprob"] for span in spans) / n_tokens if n_tokens else None
    return {
        "coverage_by_licence": {name: covered_share(own, n_characters) for name, own in sorted(by_licence.items())},
        "longest_span": longest,
        "rarest_span": rarest,
        "mean_token_logprob": None if mean is None else round(mean, 4),
        "span_lengths": dict(sorted(Counter(span["length_tokens"] for span in spans).items())),
    }


@dataclass(frozen=True)
class Bar:
    """A bar of a plot: its label and value, and its place in the drawing's own units."""

    label: str
    value: str
    x: float
    y: float
    width: float
    height: float


def bars(values: Mapping[str, float], *, top: float, width: float = 320, height: float = 100) -> list[Bar]:
    """Return bars that fill `width` × `height`; `top` is the value that reaches the upper edge."""
    step = width / max(1, len(values))
    drawn = []
    for number, (label, value) in enumerate(values.items()):
        tall = round(height * value / top, 2) if top else 0.0
        text = f"{value:.3g}"
        drawn.append(Bar(label, text, round(number * step, 2), round(height - tall, 2), round(step * 0.8, 2), tall))
    return drawn
