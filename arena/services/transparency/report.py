"""The transparency report of a season for any period: requirement by requirement, with what it was computed from."""

from __future__ import annotations

from dataclasses import dataclass

from arena.services.transparency.battles import tally_draws
from arena.services.transparency.exclusions import Exclusions, exclusions_of
from arena.services.transparency.policies import PolicyVersion, policies_of
from arena.services.transparency.roster import Roster, roster_of
from arena.services.transparency.sampling import (
    GROUPINGS,
    LEVEL,
    DataShare,
    SampledRow,
    data_shares,
    sampled_rows,
)
from arena.services.transparency.scope import Scope


@dataclass(frozen=True)
class TransparencyReport:
    """All parts. n_draws: closed draws of the period; n_votes: those that ended with a vote."""

    scope: Scope
    level: float
    n_draws: int
    n_votes: int
    sampling: dict[str, list[SampledRow]]
    shares: dict[str, list[DataShare]]
    exclusions: Exclusions
    roster: Roster
    policies: list[PolicyVersion]


def transparency_report(scope: Scope) -> TransparencyReport:
    """Return the report; every number follows from log entries below the scope's tree size."""
    draws = tally_draws(scope)
    groups = groups_of(scope)
    policies = policies_of(scope)
    return TransparencyReport(
        scope,
        LEVEL,
        draws.n_draws,
        draws.n_votes,
        sampled_rows(scope, draws, groups),
        {grouping: data_shares(draws, groups[grouping]) for grouping in GROUPINGS[1:]},
        exclusions_of(scope, n_votes=draws.n_votes),
        roster_of(scope, policies),
        policies,
    )


def groups_of(scope: Scope) -> dict[str, dict[str, str]]:
    """Return provider and licence group of each contestant, and each contestant as a group of its own."""
    rows = list(scope.season.contestants.values_list("pk", "provider__slug", "licence_group"))
    return {
        "contestant": {str(pk): str(pk) for pk, _, _ in rows},
        "provider": {str(pk): slug for pk, slug, _ in rows},
        "licence_group": {str(pk): group for pk, _, group in rows},
    }
