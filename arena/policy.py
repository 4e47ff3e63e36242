"""The arena's published rules as one value: what the code does, what the log says and what the pages show.

Pages about the method are made from this, so that they cannot say anything else than the code does.
Knows nothing of the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

from arena.rating import BothBad, RatingOptions
from arena.sampling import EPSILON, FORMAT, PRIOR

ROSTER_RULES = (
    "provider-launch",
    "provider-withdrawal",
    "variant-term",
    "retire-lowest",
    "unreachable",
    "reachable-again",
    "owner-opt-out",
    "owner-opt-in",
)
EXCLUSION_RULES = (
    "always-left",
    "always-right",
    "always-tie",
    "random",
    "favours-one",
    "punishes-one",
    "identity-leak",
    "passes-again",
)


MAX_OVERLAP_TOKENS = 1000
#: What of an overlap's settings no season can change: spans end with words, not with sentences, and all are kept.
OVERLAP = {"boundaries": "continuous", "max_frequency": 10**12, "density": None}


@dataclass(frozen=True)
class Rules:
    """Every parameter of the arena with its default; a change is a new version of the policy."""

    epsilon: Fraction = EPSILON
    prior: int = PRIOR
    draws_per_epoch: int = 500
    epoch_hours: int = 24
    variant_cap: int = 3
    variant_days: int = 30
    edit_window_s: int = 60
    abandon_after_s: int = 3600
    max_turns: int = 8
    allow_anonymous: bool = True
    require_onboarding: bool = True
    min_votes: int = 10
    level: Decimal = Decimal("0.95")
    retire_percentile: int = 30
    retire_min_votes: int = 300
    retire_max_width: int = 100
    quality_alarm: int = 1000
    quality_min_agreement: Decimal = Decimal("0.2")
    overlap_min_tokens: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon is {self.epsilon}; it must lie above 0 and not above 1")
        for name in ("draws_per_epoch", "variant_days", "min_votes", "max_turns", "abandon_after_s"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.overlap_min_tokens <= MAX_OVERLAP_TOKENS:
            raise ValueError(f"overlap_min_tokens must lie from 0, which measures nothing, to {MAX_OVERLAP_TOKENS}")
        if not 0 <= self.retire_percentile < 100:
            raise ValueError("retire_percentile must lie from 0 to below 100")

    def rating_options(self, *, both_bad: bool = True, covariates: tuple[str, ...] = ()) -> RatingOptions:
        """Return how votes are rated under these rules."""
        return RatingOptions(
            both_bad=BothBad.HALF if both_bad else BothBad.LEAVE_OUT,
            level=float(self.level),
            min_votes=self.min_votes,
            covariates=covariates,
            flips=not covariates,
        )

    def overlap_settings(self) -> dict[str, Any]:
        """Return a trace's parameters with which an answer's verbatim overlap is measured; empty: it isn't."""
        return {**OVERLAP, "min_length_tokens": self.overlap_min_tokens} if self.overlap_min_tokens else {}

    def to_json(self) -> dict[str, Any]:
        """Return the rules as plain values; fractions and decimals as strings."""
        return {name: value if isinstance(value, bool | int) else _text(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Rules:
        """Return the rules of `to_json`; raise `ValueError` for a name that does not exist."""
        known = {field.name: field.default for field in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown rules: {', '.join(unknown)}; known: {', '.join(known)}")
        read: dict[str, Callable[[Any], Any]] = {name: type(default) for name, default in known.items()}
        return cls(**{name: read[name](value) for name, value in values.items()})

    def log_fields(self, *, season: str, version: int, simulated: bool, document: str) -> dict[str, Any]:
        """Return the body of the policy's log entry."""
        return {
            "season": season,
            "version": version,
            "simulated": simulated,
            "sampling": {"format": FORMAT, "epsilon": _text(self.epsilon), "prior": self.prior},
            "rating": {"min_votes": self.min_votes, "level": str(self.level)},
            "exclusion_rules": list(EXCLUSION_RULES),
            "roster_rules": list(ROSTER_RULES),
            "variant_cap": self.variant_cap,
            "variant_days": self.variant_days,
            "edit_window_s": self.edit_window_s,
            "document": hashlib.sha256(document.encode()).hexdigest(),
            "retirement": {
                "percentile": self.retire_percentile,
                "min_votes": self.retire_min_votes,
                "max_width": self.retire_max_width,
            },
            "voting": {
                "anonymous": self.allow_anonymous,
                "onboarding": self.require_onboarding,
                "quality_alarm": self.quality_alarm,
                "quality_min_agreement": str(self.quality_min_agreement),
            },
            **({"overlap": self.overlap_settings()} if self.overlap_min_tokens else {}),
        }

    def document(self, *, title: str, version: int) -> str:
        """Return the rules as sentences, as they are published."""
        sentences = [text.format(**{**asdict(self), "epsilon": _text(self.epsilon)}) for _, text in SENTENCES]
        who = (
            "Anyone may vote, signed in or in an anonymous signed session."
            if self.allow_anonymous
            else ("Only people who are signed in may vote.")
        )
        checks = "Two short checks come before the first battle." if self.require_onboarding else ""
        overlap = OVERLAP_SENTENCE.format(n=self.overlap_min_tokens) if self.overlap_min_tokens else OVERLAP_OFF
        body = "\n".join(f"- {sentence}" for sentence in [*sentences, overlap, f"{who} {checks}".strip()])
        return f"# {title}: rules, version {version}\n\n{body}\n"


SENTENCES = (
    (
        "sampling",
        "Pairs are drawn by eq. 9 of Chiang et al. (arXiv 2403.04132) with a uniform share of {epsilon} and {prior} "
        "prior vote for either side; no pair has a hand-set weight.",
    ),
    (
        "epochs",
        "An epoch ends after {draws_per_epoch} draws, {epoch_hours} hours, or a change of roster or rules. Its seed "
        "is committed before its first draw and revealed when its last draw is closed.",
    ),
    (
        "variants",
        "A provider may test at most {variant_cap} private variants at once. A variant's rating is published when it "
        "is launched, withdrawn, or after {variant_days} days. Votes on a variant before its launch are published "
        "and never count in its public rating.",
    ),
    (
        "retirement",
        "Within each licence group, contestants with at least {retire_min_votes} votes whose intervals are at most "
        "{retire_max_width} points wide are retired when their whole interval lies below the rating at "
        "the group's percentile {retire_percentile}. They stay listed with their last rating.",
    ),
    (
        "opt-out",
        "A contestant that needs an expert whose owner has opted out is paused at once, and may be drawn again when "
        "the owner opts in. It keeps its rating.",
    ),
    (
        "votes",
        "A vote may be changed for {edit_window_s} seconds, and never after the reveal. A battle that is left for "
        "{abandon_after_s} seconds is closed: with its vote if it has one, else as abandoned.",
    ),
    (
        "rating",
        "Ratings are Bradley–Terry strengths weighted by the inverse of each draw's probability, with intervals "
        "at level {level} clustered by voter. A contestant needs {min_votes} votes and a connection to be ranked.",
    ),
    (
        "quality",
        "A voter's votes are set aside when the odds against an honest voter reach {quality_alarm} to 1 for one of "
        "the published patterns, and count again when they no longer do.",
    ),
)


OVERLAP_SENTENCE = (
    "After a battle closed with a vote, the share of each answer's characters that stand word for word in this site's "
    "own indexes is measured: spans of whole words of at least {n} tokens (in indexes of bytes {n} times four bytes), "
    "however often they occur, across sentences, all of them. Battles with a private variant are not measured. The "
    "board controlled for overlap leaves votes without a measurement out, and says how many."
)
OVERLAP_OFF = "The verbatim overlap of answers is not measured."


def _text(value: object) -> str:
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    return str(value)
