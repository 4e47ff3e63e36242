"""Gates with three outcomes. What cannot be decided is said, and never passes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 (an outcome, no secret)
    FAIL = "fail"
    UNDECIDED = "could not decide"


@dataclass(frozen=True)
class Gate:
    """One gate's outcome with the reason as a sentence."""

    name: str
    outcome: Outcome
    reason: str


def gate_above(
    name: str, *, what: str, bound: float, lower: float | None, upper: float | None, n: int, unit: str
) -> Gate:
    """Ask whether a value lies at or above a bound: only an interval wholly on one side decides."""
    if lower is None or upper is None:
        return Gate(name, Outcome.UNDECIDED, f"{what} cannot be told from {n} {unit}.")
    seen = f"{what} lies between {lower:z.2f} and {upper:z.2f} ({n} {unit})"
    if lower >= bound:
        return Gate(name, Outcome.PASS, f"{seen}, at least {bound:g}.")
    if upper < bound:
        return Gate(name, Outcome.FAIL, f"{seen}, below {bound:g}.")
    return Gate(name, Outcome.UNDECIDED, f"{seen}; {bound:g} lies within.")
