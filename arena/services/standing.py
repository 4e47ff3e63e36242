"""Reports of a large season that stand for a while, since making one anew for every new vote takes seconds.

A small season's report is of its newest state. A large one's is renewed by the rank worker, and says of which
tree size it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.core.cache import cache

LARGE = 2_000  # votes
RENEWED_S, STANDS_S = 600, 1800
Report = TypeVar("Report")


def standing_report(
    key: str, size: int, make: Callable[[], Report], *, n_votes: Callable[[Report], int], kept_s: int, renew: bool
) -> Report:
    """Return the report of a tree size if it is kept, else the one that stands, else a new one.

    n_votes: of the season, given a new report. renew: make it anew when it has stood for ten minutes.
    """
    exact: Report | None = cache.get(f"{key}:{size}")
    if exact is not None:
        return exact
    standing: Report | None = cache.get(f"{key}:standing")
    if standing is not None and not (renew and cache.add(f"{key}:renewed", 1, RENEWED_S)):
        return standing
    report = make()
    cache.set(f"{key}:{size}", report, kept_s)
    if n_votes(report) > LARGE:
        cache.set(f"{key}:standing", report, STANDS_S)
    return report
