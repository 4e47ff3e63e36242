"""Votes set aside by a published rule, and counted again. Nothing is ever deleted."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction

from arena.models import Battle, Exclusion, ExclusionKind, Season, Voter
from arena.policy import EXCLUSION_RULES
from arena.services.seasons import current_policy, lock_season
from webapp.errors import BadInputError
from webapp.identifiers import uuid7
from webapp.transparency.services import append_entry


def exclude_voter(*, season: Season, voter: Voter, rule: str, numbers: dict[str, Any]) -> Exclusion:
    """Set a voter's votes of a season aside; one exclusion by the same rule stands once."""
    return _exclude(season, rule, numbers, "voter", voter.digest(season), voter=voter)


def exclude_battle(*, battle: Battle, rule: str, numbers: dict[str, Any]) -> Exclusion:
    """Set one battle aside."""
    return _exclude(battle.season, rule, numbers, "battle", str(battle.pk), battle=battle)


def _exclude(
    season: Season, rule: str, numbers: dict[str, Any], subject: str, target: str, **subject_field: Any
) -> Exclusion:
    _check_rule(rule)
    with transaction.atomic():
        lock_season(season)
        known = Exclusion.objects.in_force().filter(season=season, rule=rule, **subject_field).first()
        if known is not None:
            return known
        policy = current_policy(season)
        exclusion = Exclusion(
            id=uuid7(),
            season=season,
            kind=ExclusionKind.EXCLUDE,
            rule=rule,
            policy=policy,
            numbers=numbers,
            **subject_field,
        )
        exclusion.entry = append_entry(
            kind="exclude",
            body={
                "season": season.slug,
                "exclusion": str(exclusion.pk),
                "subject": subject,
                "target": target,
                "policy": policy.version,
                "rule": rule,
                "numbers": numbers,
            },
        )
        exclusion.save(force_insert=True)
    return exclusion


def include_again(*, exclusion: Exclusion, numbers: dict[str, Any], rule: str = "passes-again") -> Exclusion:
    """End an exclusion: what it set aside counts again."""
    _check_rule(rule)
    season = exclusion.season
    with transaction.atomic():
        lock_season(season)
        policy = current_policy(season)
        entry = append_entry(
            kind="include",
            body={
                "season": season.slug,
                "exclusion": str(exclusion.pk),
                "policy": policy.version,
                "rule": rule,
                "numbers": numbers,
            },
        )
        return Exclusion.objects.create(
            season=season,
            kind=ExclusionKind.INCLUDE,
            ends=exclusion,
            rule=rule,
            policy=policy,
            numbers=numbers,
            entry=entry,
        )


def _check_rule(rule: str) -> None:
    if rule not in EXCLUSION_RULES:
        raise BadInputError(f"There is no exclusion rule {rule!r}. Rules: {', '.join(EXCLUSION_RULES)}.", field="rule")


def excluded_at(season: Season, size: int) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Return the ids of voters and of battles whose exclusion is in force at a tree size."""
    rows = (
        Exclusion.objects.filter(season=season, kind="exclude", entry__index__lt=size)
        .exclude(ended_by__entry__index__lt=size)
        .values_list("voter_id", "battle_id")
    )
    return [voter for voter, _ in rows if voter], [battle for _, battle in rows if battle]
