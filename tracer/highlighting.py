"""Cuts a text into pieces at the offsets of spans, never by searching for their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

ORDER = {"low": 0, "medium": 1, "high": 2}


@dataclass(frozen=True)
class Segment:
    """A piece of text with the numbers of the spans over it; `relevance` is the best of theirs."""

    text: str
    spans: tuple[int, ...]
    relevance: str
    is_selected: bool = False

    @property
    def is_blank(self) -> bool:
        """Tell whether there is nothing to read in it, so that a link of it would have no name."""
        return is_blank(self.text)


def is_blank(text: str) -> bool:
    """Tell whether a text shows no character: only white space and controls."""
    return not any(c.isprintable() and not c.isspace() for c in text)


def segments(text: str, spans: Sequence[dict[str, Any]], selected: frozenset[int] = frozenset()) -> list[Segment]:
    """Return pieces that join to `text`. `spans` have start, end (code points) and relevance."""
    cuts = {0, len(text)}
    for span in spans:
        cuts |= {span["start"], span["end"]}
    places = sorted(cut for cut in cuts if 0 <= cut <= len(text))
    pieces = []
    for start, end in pairwise(places):
        over = tuple(i for i, span in enumerate(spans) if span["start"] <= start and end <= span["end"])
        best = max((spans[i]["relevance"] for i in over), key=lambda level: ORDER[level], default="")
        pieces.append(Segment(text[start:end], over, best, bool(selected.intersection(over))))
    return pieces
