"""Which part of a season a report is about: log entries below a tree size, and days of the log's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.core.cache import cache

from arena.models import Season
from arena.services.epochs import tree_size
from webapp.errors import BadInputError

STEADY_S = 30
EARLIEST, LATEST = date(1970, 1, 1), date(2999, 12, 31)


@dataclass(frozen=True)
class Scope:
    """A season at a tree size, from one day to another (UTC), both included; None is without bound.

    Only entries with a leaf index below `tree_size` exist for a report, so it can be recomputed later.
    """

    season: Season
    tree_size: int
    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        if self.first and self.last and self.first > self.last:
            raise BadInputError("The period ends before it begins.", field="to")

    @property
    def begin(self) -> datetime | None:
        """Return the period's first moment."""
        return datetime.combine(self.first, time.min, UTC) if self.first else None

    @property
    def end(self) -> datetime | None:
        """Return the first moment after the period."""
        return datetime.combine(self.last + timedelta(days=1), time.min, UTC) if self.last else None

    def holds(self, at: datetime) -> bool:
        """Tell whether a moment lies within the period."""
        return (self.begin is None or at >= self.begin) and self.is_past(at)

    def is_past(self, at: datetime) -> bool:
        """Tell whether a moment lies before the period's end."""
        return self.end is None or at < self.end


def scope_of(season: Season, *, first: date | None = None, last: date | None = None, size: int | None = None) -> Scope:
    """Return a scope at a tree size; by default at one of the last half minute, so that reports are not made anew
    for every vote.

    Raises `BadInputError` for a size that the log has not reached, or a period that ends before it begins.
    """
    for name, day in (("from", first), ("to", last)):
        if day and not EARLIEST <= day <= LATEST:
            raise BadInputError(f"{name} must lie from {EARLIEST} to {LATEST}.", field=name)
    newest = tree_size()
    if size is None:
        key = f"arena:transparency:size:{season.pk}"
        size = min(int(cache.get(key) or newest), newest)
        cache.add(key, size, STEADY_S)
    if size > newest:
        raise BadInputError(f"The log has {newest} entries; there is no state at {size}.", field="tree_size")
    return Scope(season, size, first, last)
