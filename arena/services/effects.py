"""What each owner's expert adds to people's preference, by category.

Compared are contestants that differ in their experts alone: one checkpoint, template, decoding and
system prompt. The votes are those of a published leaderboard.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.core.cache import cache

from arena.models import Contestant, Leaderboard, PoolPrompt, Season
from arena.rating import FitError
from arena.rating.factorial import FactorEffect, FactorialResult, rate_factors
from arena.services.boards import latest_leaderboard
from arena.services.counted import CountedVotes, counted_at
from arena.services.seasons import rules_of
from arena.services.slices import Slice
from webapp.playground.availability import withdrawn_slugs
from webapp.playground.models import Checkpoint, Expert

KEPT_S = 24 * 3600
ALL = "all prompts"
MAX_CATEGORIES = 20


@dataclass(frozen=True)
class CategoryEffects:
    """Effects by expert's slug in one category, or why there are none."""

    category: str
    n_votes: int
    effects: dict[str, FactorEffect]
    untold: dict[str, str]
    fault: str = ""


@dataclass(frozen=True)
class FamilyEffects:
    """Effects among the contestants of one checkpoint that differ in experts alone."""

    checkpoint: Checkpoint
    experts: tuple[Expert, ...]
    n_contestants: int
    categories: tuple[CategoryEffects, ...]


@dataclass(frozen=True)
class EffectsReport:
    """All families of a season, at a leaderboard's state."""

    board: Leaderboard | None
    families: tuple[FamilyEffects, ...]


def expert_effects(season: Season) -> EffectsReport:
    """Return the effects at the newest leaderboard; they are computed once for each."""
    board = latest_leaderboard(season)
    if board is None:
        return EffectsReport(None, ())
    key = f"arena:effects:{board.pk}"
    kept: tuple[FamilyEffects, ...] | None = cache.get(key)
    if kept is None:
        kept = tuple(_families(season, board))
        cache.set(key, kept, KEPT_S)
    return EffectsReport(board, kept)


def _families(season: Season, board: Leaderboard) -> list[FamilyEffects]:
    groups: dict[tuple[str, ...], list[Contestant]] = defaultdict(list)
    listed = {row["contestant"] for part in ("ratings", "unrankable") for row in board.result[part]}
    for contestant in season.contestants.select_related("checkpoint"):
        if str(contestant.pk) in listed and contestant.experts:
            same = sorted((name, str(value)) for name, value in contestant.artifact.items() if name != "experts")
            groups[tuple(f"{name}={value}" for name, value in same)].append(contestant)
    families = [found for found in groups.values() if len(found) > 1]
    if not families:
        return []
    categories = PoolPrompt.objects.exclude(category="").order_by("category").values_list("category", flat=True)
    slices = {ALL: Slice()}
    slices |= {name: Slice(filters=(("category", name),)) for name in categories.distinct()[:MAX_CATEGORIES]}
    votes = {name: counted_at(season, board.tree_size, chosen) for name, chosen in slices.items()}
    level = float(rules_of(board.policy).level)
    return [_family(found, votes, level) for found in families]


def _family(found: list[Contestant], votes: dict[str, CountedVotes], level: float) -> FamilyEffects:
    checkpoint = found[0].checkpoint
    masks = {str(contestant.pk): contestant.experts for contestant in found}
    used = {slug for mask in masks.values() for slug in mask}
    withdrawn = withdrawn_slugs(checkpoint)
    return FamilyEffects(
        checkpoint,
        tuple(e for e in checkpoint.experts.all() if e.slug in used and e.slug not in withdrawn),
        len(found),
        tuple(_effects(name, rows, masks, level) for name, rows in votes.items()),
    )


def _effects(category: str, votes: CountedVotes, masks: dict[str, list[str]], level: float) -> CategoryEffects:
    own = votes.among(masks)
    if not own.n_votes:
        return CategoryEffects(category, 0, {}, {}, "no votes yet")
    try:
        result: FactorialResult = rate_factors(own.table([]), masks, level=level)
    except FitError as error:
        return CategoryEffects(category, own.n_votes, {}, {}, str(error))
    return CategoryEffects(
        category, own.n_votes, {effect.factor: effect for effect in result.effects}, dict(result.untold)
    )
