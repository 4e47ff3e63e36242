"""What a check finds: fine, or a fault with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

import structlog

log = structlog.get_logger(__name__)


class Level(StrEnum):
    """How bad it is. A warning does not make the doctor fail."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do where it is not fine."""

    check: str
    level: Level
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return {name: str(value) for name, value in asdict(self).items()}


Check = Callable[[], Iterator[Finding]]


def ok(check: str, detail: str) -> Finding:
    """Return that all is fine."""
    return Finding(check, Level.OK, detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    """Return what works still, but should not stay."""
    return Finding(check, Level.WARNING, detail, remedy)


def fault(check: str, detail: str, remedy: str) -> Finding:
    """Return what does not work."""
    return Finding(check, Level.FAULT, detail, remedy)


def run_checks(checks: dict[str, Check]) -> Iterator[Finding]:
    """Yield what each check finds; a check that itself breaks is a fault, and the next ones run."""
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:
            log.warning("check failed", check=name, exc_info=True)
            yield fault(name, f"{type(error).__name__}: {error}", "Mend what the message names, then look again.")
