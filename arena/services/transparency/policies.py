"""Every version of a season's rules, and what each changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arena.services.transparency.scope import Scope


@dataclass(frozen=True)
class Changed:
    """A parameter that a version of the policy set anew; `before` is None where there was none."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class PolicyVersion:
    """One version, with the SHA-256 of its words as the log has it. was_in_force: at some time of the period."""

    version: int
    at: datetime
    entry: str
    document: str
    document_digest: str
    rules: dict[str, Any]
    changes: list[Changed]
    was_in_force: bool


def policies_of(scope: Scope) -> list[PolicyVersion]:
    """Return the versions below the scope's tree size, newest first."""
    rows = scope.season.policies.filter(entry__index__lt=scope.tree_size).select_related("entry").order_by("version")
    versions: list[PolicyVersion] = []
    policies = list(rows)
    for number, policy in enumerate(policies):
        before = policies[number - 1].rules if number else {}
        ended = policies[number + 1].entry.at if number + 1 < len(policies) else None
        names = sorted(before.keys() | policy.rules.keys())
        changes = [
            Changed(n, before.get(n), policy.rules.get(n)) for n in names if before.get(n) != policy.rules.get(n)
        ]
        began = scope.is_past(policy.entry.at)
        goes_on = ended is None or scope.begin is None or ended > scope.begin
        versions.append(
            PolicyVersion(
                policy.version,
                policy.entry.at,
                str(policy.entry_id),
                policy.document,
                policy.entry.body["document"],
                policy.rules,
                changes if number else [],
                began and goes_on,
            )
        )
    return versions[::-1]
