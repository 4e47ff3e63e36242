"""Patterns of voting that no reader would follow, with evidence that is valid at any time.

The evidence for a pattern is the likelihood of a voter's verdicts under the pattern over their
likelihood under the likeliest honest voter (universal inference: Wasserman, Ramdas, Balakrishnan
2020). For whichever of the honest voters it really is, that never exceeds a martingale that starts
at 1, so by Ville's inequality it ever reaches x with chance 1/x at most, however often one looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from arena.quality.crowd import NEITHER, A, B, Crowd, FloatArray, IntArray, OutcomeModel, log_likelihoods

FIRM = 0.97  # how often a voter of a pattern follows it
FAN_SHIFT = math.log(10) / 4  # 100 rating points: how far an honest voter may differ from the crowd about one


class Pattern(StrEnum):
    """The published patterns; each is the name of an exclusion rule."""

    ALWAYS_LEFT = "always-left"
    ALWAYS_RIGHT = "always-right"
    ALWAYS_TIE = "always-tie"
    RANDOM = "random"
    FAVOURS_ONE = "favours-one"
    PUNISHES_ONE = "punishes-one"


@dataclass(frozen=True)
class Ballot:
    """One vote as the evidence sees it. outcome: 0 side a won, 1 no winner (tie or both bad), 2 side b won."""

    side_a: str
    side_b: str
    outcome: int


@dataclass(frozen=True)
class Evidence:
    """The evidence for one pattern. log_odds: natural logarithm. contestant: of the last two patterns."""

    pattern: Pattern
    log_odds: float
    n_votes: int
    contestant: str = ""

    def exceeds(self, odds: float) -> bool:
        """Tell whether the odds against an honest voter reach `odds` to 1."""
        return self.log_odds >= math.log(odds)


def judge_voter(ballots: Sequence[Ballot], crowd: Crowd) -> tuple[Evidence, ...]:
    """Return the evidence for each pattern from one voter's votes, in any order; the strongest first.

    Votes between contestants that the crowd does not rate say nothing and are left out.
    """
    rated = [b for b in ballots if b.side_a in crowd.strengths and b.side_b in crowd.strengths]
    if not rated:
        return tuple(Evidence(pattern, 0.0, 0) for pattern in Pattern)
    difference = np.array([crowd.strengths[b.side_a] - crowd.strengths[b.side_b] for b in rated])
    outcome = np.array([b.outcome for b in rated], dtype=np.int64)
    n = len(rated)
    honest = float(log_likelihoods(crowd.honest_models(), difference, outcome).sum(axis=1).max())
    firm = ((Pattern.ALWAYS_LEFT, A), (Pattern.ALWAYS_RIGHT, B), (Pattern.ALWAYS_TIE, NEITHER))
    found = [Evidence(p, float(_firm(outcome == place).sum()) - honest, n) for p, place in firm]
    found.append(Evidence(Pattern.RANDOM, _blind(difference, outcome, crowd, honest), n))
    found += _partisan(rated, difference, outcome, crowd)
    return tuple(sorted(found, key=lambda e: -e.log_odds))


def _firm(followed: np.typing.NDArray[np.bool_]) -> FloatArray:
    """Return the log-probabilities of votes under a pattern, by whether each follows it."""
    return np.where(followed, math.log(FIRM), math.log((1 - FIRM) / 2))


def _blind(difference: FloatArray, outcome: IntArray, crowd: Crowd, honest: float) -> float:
    """Return the log-odds that verdicts have nothing to do with who answered.

    Who consistently prefers the opposite of the crowd reads too, so such voters count as honest here.
    """
    contrary = [OutcomeModel(-m.keenness, m.neutral, m.lean) for m in crowd.honest_models()]
    against = float(log_likelihoods(contrary, difference, outcome).sum(axis=1).max())
    blind = log_likelihoods([OutcomeModel(0.0, n) for n in crowd.neutrals], difference, outcome).sum(axis=1)
    return float(np.logaddexp.reduce(blind)) - math.log(len(blind)) - max(honest, against)


def _partisan(ballots: Sequence[Ballot], difference: FloatArray, outcome: IntArray, crowd: Crowd) -> list[Evidence]:
    """Return the evidence for always, and for never, preferring one contestant: the likeliest of them.

    Each contestant is judged on its own battles alone, against honest voters who may like it more,
    or less, than the crowd by `FAN_SHIFT`; the bet is spread evenly over the crowd's contestants.
    """
    names = sorted({name for b in ballots for name in (b.side_a, b.side_b)})
    on_a = np.array([[b.side_a == name for name in names] for b in ballots], dtype=np.float64)
    on_b = np.array([[b.side_b == name for name in names] for b in ballots], dtype=np.float64)
    models = crowd.honest_models()
    level, up, down = (log_likelihoods(models, difference + shift, outcome) for shift in (0.0, FAN_SHIFT, -FAN_SHIFT))
    plain = level @ (on_a + on_b)  # (M, names)
    bet = math.log(len(crowd.strengths))
    won_a, won_b = _firm(outcome == A), _firm(outcome == B)
    found = []
    for pattern, partisan, shifted in (
        (Pattern.FAVOURS_ONE, won_a @ on_a + won_b @ on_b, up @ on_a + down @ on_b),
        (Pattern.PUNISHES_ONE, won_b @ on_a + won_a @ on_b, down @ on_a + up @ on_b),
    ):
        log_odds = partisan - np.maximum(plain, shifted).max(axis=0) - bet
        best = int(np.argmax(log_odds))
        n_votes = int((on_a[:, best] + on_b[:, best]).sum())
        found.append(Evidence(pattern, float(log_odds[best]), n_votes, names[best]))
    return found
