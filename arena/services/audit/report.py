"""Runs the audit."""

from __future__ import annotations

from dataclasses import dataclass

from arena.quality import Outcome
from arena.services.audit.findings import NOT_TOLD, AuditRow, Finding
from arena.services.audit.items import ITEMS, NOT_APPLICABLE, Item
from arena.services.audit.limits import Limit, limits_of
from arena.services.standing import standing_report
from arena.services.transparency.battles import tally_draws
from arena.services.transparency.scope import Scope

KEPT_S = 60


@dataclass(frozen=True)
class Audit:
    """All items, those that don't apply with the reason, and what cannot be proven."""

    tree_size: int
    rows: list[AuditRow]
    not_applicable: list[tuple[str, str]]
    limits: list[Limit]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of items by outcome."""
        outcomes = [*(str(o.value) for o in Outcome), NOT_TOLD]
        return {outcome: sum(row.outcome == outcome for row in self.rows) for outcome in outcomes}


def self_audit(scope: Scope, *, renew: bool = False) -> Audit:
    """Return the audit of a season as it is now, kept for a minute; a large season's stands until it is renewed."""
    return standing_report(
        f"arena:audit:{scope.season.pk}",
        scope.tree_size,
        lambda: _audit(scope),
        n_votes=lambda _: tally_draws(scope).n_votes,
        kept_s=KEPT_S,
        renew=renew,
    )


def _audit(scope: Scope) -> Audit:
    rows = [_row(item, scope) for item in ITEMS]
    return Audit(scope.tree_size, rows, list(NOT_APPLICABLE), limits_of(scope.season))


def _row(item: Item, scope: Scope) -> AuditRow:
    if item.check is None:
        found = Finding(Outcome.FAIL if item.lacks else None, item.statement, {})
    else:
        found = item.check(scope)
    outcome = NOT_TOLD if found.outcome is None else found.outcome.value
    return AuditRow(item.item, item.asks, outcome, item.check is not None, found.reason, found.numbers)
