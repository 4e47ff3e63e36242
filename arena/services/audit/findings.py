"""What one item of the audit says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from arena.quality import Outcome


@dataclass(frozen=True)
class Finding:
    """An outcome with its reason as a sentence. outcome None: no program can tell; numbers: what it rests on."""

    outcome: Outcome | None
    reason: str
    numbers: dict[str, Any]

    @classmethod
    def of(cls, holds: bool, reason: str, **numbers: Any) -> Finding:
        """Return a finding that could be decided."""
        return cls(Outcome.PASS if holds else Outcome.FAIL, reason, numbers)

    @classmethod
    def undecided(cls, reason: str, **numbers: Any) -> Finding:
        """Return a finding for which there is too little to look at."""
        return cls(Outcome.UNDECIDED, reason, numbers)

    @classmethod
    def told(cls, reason: str, **numbers: Any) -> Finding:
        """Return what only people can judge."""
        return cls(None, reason, numbers)


@dataclass(frozen=True)
class AuditRow:
    """An item of the checklist and what was found. is_evaluated: a check looked at the data."""

    item: str
    asks: str
    outcome: str
    is_evaluated: bool
    reason: str
    numbers: dict[str, Any]


NOT_TOLD = "no program can tell"
