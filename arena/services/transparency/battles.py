"""Tallies of closed draws by epoch and by pair: what both sampling and shares of the data are told from.

A draw counts once it is closed: who takes part in an open one is nobody's business, and a count that
moves when a draw begins would tell it. What is below a tree size never changes, so a tally is kept and
brought to another tree size by the draws that were closed between the two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from django.core.cache import cache
from django.db.models import Count, Q

from arena.models import BattleClose, CloseKind
from arena.services.transparency.scope import Scope
from webapp.transparency.models import Entry

KEPT_S, KEPT_DAYS_S = 7 * 24 * 3600, 3600  # of all draws, and of those of chosen days
#: A battle's row is written within this time of its log entry; the row's time has an index, the entry's has none.
SLACK = timedelta(hours=1)


@dataclass
class DrawTally:
    """How many closed draws there are of each epoch, and of each pair of sides; votes: those that ended with one."""

    epochs: Counter[int] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    votes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: DrawTally, sign: int) -> None:
        """Add the draws of another tally, or take them away (sign −1); what comes to nothing is left out."""
        _add(self.epochs, other.epochs, sign)
        _add(self.pairs, other.pairs, sign)
        _add(self.votes, other.votes, sign)

    @property
    def n_draws(self) -> int:
        """All draws."""
        return self.epochs.total()

    @property
    def n_votes(self) -> int:
        """All draws that ended with a vote."""
        return self.votes.total()


Key = TypeVar("Key")


def _add(own: Counter[Key], more: Counter[Key], sign: int) -> None:
    for key, n in more.items():
        own[key] += sign * n
        if not own[key]:
            del own[key]


def tally_draws(scope: Scope) -> DrawTally:
    """Return the tally of all draws made within the scope's period and closed below its tree size."""
    key = f"arena:draw-tally:{scope.season.pk}:{scope.first}:{scope.last}"
    size, tally = cache.get(key) or (0, DrawTally())
    if size != scope.tree_size:
        low, high = sorted((size, scope.tree_size))
        tally.add(_between(scope, low, high), 1 if size == low else -1)
        if size == low:
            cache.set(key, (scope.tree_size, tally), kept_s(scope))
    return tally


def kept_s(scope: Scope) -> int:
    """Return how long sums over a scope's draws are kept."""
    return KEPT_DAYS_S if scope.first or scope.last else KEPT_S


def _between(scope: Scope, low: int, high: int) -> DrawTally:
    """Return the tally of the period's draws whose close has an index from `low` to below `high`."""
    closes = BattleClose.objects.order_by()
    if low:  # few: begin with their entries, whose kinds and indices stand in one index of the database
        closes = closes.filter(
            entry__in=Entry.objects.filter(kind="close", index__gte=low, index__lt=high).values("id")
        )
    closes = in_period(closes, scope, "battle__", high)
    sides = closes.values_list("battle__contestant_a_id", "battle__contestant_b_id")
    counted = sides.annotate(n=Count("pk"), n_votes=Count("pk", filter=Q(kind=CloseKind.VOTE)))
    tally = DrawTally(epochs=Counter(dict(closes.values_list("battle__epoch__number").annotate(n=Count("pk")))))
    for a, b, n, n_votes in counted:
        tally.pairs[str(a), str(b)] = n
        if n_votes:
            tally.votes[str(a), str(b)] = n_votes
    return tally


def in_period(rows: Any, scope: Scope, path: str = "", size: int | None = None) -> Any:
    """Keep rows whose battle was drawn within the scope's period and closed below its tree size, or another one.

    path: how the rows lead to their battle.
    """
    size = scope.tree_size if size is None else size
    found: dict[str, Any] = {f"{path}season": scope.season, f"{path}close__entry__index__lt": size}
    if scope.begin:
        found |= {f"{path}created_at__gte": scope.begin - SLACK, f"{path}entry__at__gte": scope.begin}
    if scope.end:
        found |= {f"{path}created_at__lt": scope.end + SLACK, f"{path}entry__at__lt": scope.end}
    return rows.filter(**found)
