"""How an honest voter may vote: the crowd's ratings, read by people of different keenness.

The chance of a verdict is Davidson's (1970): Bradley–Terry with a share of verdicts without winner
that is largest between equals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

A, NEITHER, B = 0, 1, 2  # places of outcomes: side a won, no winner, side b won
MIN_NEUTRAL, MAX_NEUTRAL = 0.02, 0.8
KEENNESS = (0.5, 1.0, 1.5)
NEUTRAL_FACTORS = (2 / 3, 1.0, 1.5, 2.0)
LEANS = (-0.1, 0.0, 0.1)  # 2.5 percentage points to either side


@dataclass(frozen=True)
class OutcomeModel:
    """One way to vote: P(a wins), P(neither), P(b wins) from the difference of strengths.

    keenness: factor of the difference; 0 sees none. neutral: share of verdicts without winner
    between equals, above 0 and below 1. lean: log-odds in favour of side a.
    """

    keenness: float
    neutral: float
    lean: float = 0.0

    def log_probabilities(self, difference: FloatArray) -> FloatArray:
        """Return (N, 3) log-probabilities for (N,) differences θ_a − θ_b in natural logarithms."""
        d = self.keenness * difference + self.lean
        nu = 2 * self.neutral / (1 - self.neutral)
        rows = np.stack([d / 2, np.full_like(d, math.log(nu)), -d / 2], axis=1)
        return np.asarray(rows - np.logaddexp.reduce(rows, axis=1, keepdims=True))


def log_likelihoods(models: Iterable[OutcomeModel], difference: FloatArray, outcome: IntArray) -> FloatArray:
    """Return (M, N) log-probabilities of N outcomes under M models."""
    chosen = np.arange(len(outcome)), outcome
    return np.stack([model.log_probabilities(difference)[chosen] for model in models])


@dataclass(frozen=True)
class Crowd:
    """What all voters together say. strengths: natural logarithms by contestant. neutral: share without winner."""

    strengths: Mapping[str, float]
    neutral: float

    def __post_init__(self) -> None:
        if not 0 <= self.neutral <= 1:
            raise ValueError(f"neutral is {self.neutral}; it is a share from 0 to 1")

    @property
    def neutrals(self) -> list[float]:
        """Return shares without winner that count as honest: two thirds to twice the crowd's."""
        return sorted({min(max(self.neutral * f, MIN_NEUTRAL), MAX_NEUTRAL) for f in NEUTRAL_FACTORS})

    def honest_models(self) -> tuple[OutcomeModel, ...]:
        """Return the ways to vote that count as honest; the likeliest of them is held against each pattern."""
        return tuple(OutcomeModel(k, n, lean) for k in KEENNESS for n in self.neutrals for lean in LEANS)
