"""What a rating may be told: every option with default, bounds and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from arena.rating.errors import OptionError


class BothBad(StrEnum):
    """What a `both_bad` verdict counts for."""

    HALF = "half"  # half a point for each side, like a tie
    LEAVE_OUT = "leave_out"  # the vote is not counted


class Weighting(StrEnum):
    """How much a vote counts."""

    AUTO = "auto"  # inverse propensity where the votes carry p_pair, else equal
    INVERSE_PROPENSITY = "inverse_propensity"  # 1/p_pair
    EQUAL = "equal"


class IntervalMethod(StrEnum):
    """Where intervals come from."""

    SANDWICH = "sandwich"
    BOOTSTRAP = "bootstrap"  # Bayesian bootstrap


@dataclass(frozen=True)
class RatingOptions:
    """Options of one rating; part of a leaderboard's identity.

    level: of intervals. min_votes: with fewer votes a contestant is not ranked (its votes still
    count for its opponents). anchor: contestant that gets the rating 1000; without, the mean of the
    ranked ones is 1000. covariates: names of the votes' covariates to control for. position:
    control for which side an answer stood on. clusters: whether intervals take one voter's votes
    together, where voters are known. flips: count the votes that would reverse neighbours.
    n_rounds, seed: of the bootstrap.
    """

    both_bad: BothBad = BothBad.HALF
    weighting: Weighting = Weighting.AUTO
    interval: IntervalMethod = IntervalMethod.SANDWICH
    level: float = 0.95
    min_votes: int = 1
    anchor: str | None = None
    covariates: tuple[str, ...] = ()
    position: bool = False
    clusters: bool = True
    flips: bool = False
    n_rounds: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1:
            raise OptionError("level", f"{self.level!r} is not from 0.5 to below 1")
        if self.min_votes < 1:
            raise OptionError("min_votes", f"{self.min_votes!r} is below 1")
        if not 100 <= self.n_rounds <= 100_000:
            raise OptionError("n_rounds", f"{self.n_rounds!r} is not from 100 to 100000")
        if self.seed < 0:
            raise OptionError("seed", f"{self.seed!r} is below 0")
        if len(set(self.covariates)) < len(self.covariates) or "position" in self.covariates:
            raise OptionError("covariates", "a name stands twice, or is 'position', which is an option of its own")
        if self.interval is IntervalMethod.BOOTSTRAP and (self.covariates or self.position):
            raise OptionError("interval", "the bootstrap knows no covariates; use sandwich")
