"""What a rating gives back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from arena.rating.numerics import expit


@dataclass(frozen=True)
class Rating:
    """One ranked contestant. Ratings are rounded to 2 decimals; ranks start at 1, rank_low ≤ rank_high."""

    contestant: str
    rating: float
    lower: float
    upper: float
    n_votes: int
    rank_low: int
    rank_high: int


@dataclass(frozen=True)
class Unrankable:
    """A contestant without a rating, and why."""

    contestant: str
    reason: str


@dataclass(frozen=True)
class CovariateEffect:
    """What one more unit of a covariate on one's own side does, in natural log-odds, with its interval."""

    name: str
    effect: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Neighbours:
    """Two neighbours of the table and the further direct votes for the lower one that would reverse them."""

    upper: str
    lower: str
    votes_to_flip: int


@dataclass(frozen=True)
class RatingResult:
    """Ratings from the highest down, the contestants that have none, and how they were computed.

    strengths: natural-log strengths of the ranked, unrounded, mean 0 over all that were fitted.
    standard_errors: of the ratings, unrounded, in rating points.
    """

    ratings: tuple[Rating, ...]
    unrankable: tuple[Unrankable, ...]
    method: dict[str, Any]
    covariates: tuple[CovariateEffect, ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    strengths: dict[str, float] = field(default_factory=dict)
    standard_errors: dict[str, float] = field(default_factory=dict)

    def win_probability(self, contestant: str, opponent: str) -> float:
        """Return the expected points of a ranked contestant against another; raise KeyError for others."""
        return float(expit(self.strengths[contestant] - self.strengths[opponent]))

    def to_dict(self) -> dict[str, Any]:
        """Return {"ratings", "unrankable", "method"} as plain values for JSON.

        Effects of covariates and votes to flip stand under "method" where they were asked for.
        """
        method = dict(self.method)
        if self.covariates:
            method["covariate_effects"] = [asdict(effect) for effect in self.covariates]
        if self.neighbours:
            method["neighbours"] = [asdict(pair) for pair in self.neighbours]
        return {
            "ratings": [asdict(rating) for rating in self.ratings],
            "unrankable": [asdict(row) for row in self.unrankable],
            "method": method,
        }
