"""How likely each pair of contestants is to battle, as integers.

Active rule of Chiang et al. (arXiv 2403.04132), eq. 9: a pair's weight is the amount by which one
more vote would shorten its interval,

    sqrt(S / n) − sqrt(S / (n + 1)),

with S the variance of a vote on the pair and n its number of votes. Prior counts make n positive
for a pair without votes and S positive for a pair that always ends the same way. A share ε of all
draws is uniform, so that no pair falls below ε / number of pairs. There are no hand weights.

Only integers are used: square roots are `math.isqrt` of scaled numbers, shares are rounded by
largest remainder. The same counts give the same table on any machine and in any language.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, combinations

from arena.sampling.errors import WeightError

Pair = tuple[str, str]

FORMAT = "fairground-weights-1"
TOTAL = 2**32  # a power of two: every probability is also exact as a double
EPSILON = Fraction(1, 10)
PRIOR = 1
_ROOT_BITS = 64  # square roots are cut off after this many binary digits


@dataclass(frozen=True)
class PairTally:
    """Counted votes of one pair: the first contestant in sort order won, the second won, neither.

    `n_ties` holds both verdicts without a winner, `tie` and `both_bad`.
    """

    n_first: int = 0
    n_second: int = 0
    n_ties: int = 0

    def __post_init__(self) -> None:
        for name in ("n_first", "n_second", "n_ties"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise WeightError(f"{name} is {value!r}; a tally holds whole numbers from 0")

    @property
    def n_votes(self) -> int:
        """All votes of the pair."""
        return self.n_first + self.n_second + self.n_ties


@dataclass(frozen=True)
class WeightTable:
    """The chance of every pair of a roster as integer weights.

    contestants: sorted, unique (by code point). weights: one positive integer for each pair in the
    order of `pairs`: (0, 1), (0, 2), …, (1, 2), … The total is at most 2**64, so that 64 bits
    can choose a pair.
    """

    contestants: tuple[str, ...]
    weights: tuple[int, ...]

    def __post_init__(self) -> None:
        n = len(self.contestants)
        if n < 2 or any(one >= two for one, two in zip(self.contestants, self.contestants[1:], strict=False)):
            raise WeightError("contestants must be at least two, sorted and each named once")
        if len(self.weights) != n * (n - 1) // 2:
            raise WeightError(f"{n} contestants have {n * (n - 1) // 2} pairs, not {len(self.weights)}")
        if any(isinstance(weight, bool) or not isinstance(weight, int) or weight < 1 for weight in self.weights):
            raise WeightError("every pair needs a positive whole weight")
        if self.total > 2**64:
            raise WeightError("the weights add up to more than 2**64")

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs in the order of `weights`; in each the smaller id stands first."""
        return tuple(combinations(self.contestants, 2))

    @cached_property
    def cumulative(self) -> tuple[int, ...]:
        """Running sums of the weights; pair k owns the numbers from the sum before it to below its own."""
        return tuple(accumulate(self.weights))

    @cached_property
    def total(self) -> int:
        """Sum of all weights."""
        return sum(self.weights)

    def probability(self, pair: Pair) -> Fraction:
        """Return the exact chance of an unordered pair; raise `WeightError` for one that is not in the table."""
        first, second = min(pair), max(pair)
        n = len(self.contestants)
        i, j = (bisect_left(self.contestants, name) for name in (first, second))
        if first == second or j == n or self.contestants[i] != first or self.contestants[j] != second:
            raise WeightError(f"the pair {first!r}, {second!r} is not in the table")
        return Fraction(self.weights[i * n - i * (i + 1) // 2 + j - i - 1], self.total)

    def pair_at(self, number: int) -> Pair:
        """Return the pair that owns `number`, 0 ≤ number < total."""
        return self.pairs[bisect_right(self.cumulative, number)]

    def to_json(self) -> str:
        """Return the canonical JSON text (RFC 8785) of the table."""
        content = {"contestants": self.contestants, "format": FORMAT, "weights": self.weights}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> WeightTable:
        """Return the table of `to_json`; raise `WeightError` when the text is not one."""
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise WeightError(f"format {content['format']!r} is unknown; this code reads {FORMAT!r}")
            return cls(tuple(content["contestants"]), tuple(content["weights"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise WeightError(f"not a weight table: {error}") from error

    def digest(self) -> str:
        """Return SHA-256 of `to_json` in UTF-8 as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def pair_weights(
    contestants: Iterable[str],
    tallies: Mapping[Pair, PairTally],
    *,
    epsilon: Fraction = EPSILON,
    prior: int = PRIOR,
) -> WeightTable:
    """Return the table of eq. 9 for a roster, given the counted votes of its pairs.

    contestants: at least two ids in any order. tallies: by pair, smaller id first; pairs without a
    tally have no votes, pairs outside the roster don't matter. epsilon: share of uniform draws,
    0 < ε ≤ 1. prior: votes for either side that every pair is started with, at least 1.
    Raise `WeightError` when one of them is unfit.
    """
    names = tuple(sorted(contestants))
    if not 0 < epsilon <= 1:
        raise WeightError(f"epsilon is {epsilon}; it must lie above 0 and not above 1")
    if isinstance(prior, bool) or not isinstance(prior, int) or prior < 1:
        raise WeightError(f"prior is {prior!r}; it must be a whole number from 1")
    for first, second in tallies:
        if first >= second:
            raise WeightError(f"tally of {first!r}, {second!r}: the smaller id of a pair stands first")
    nothing = PairTally()
    gains = [_gain(tallies.get(pair, nothing), prior) for pair in combinations(names, 2)]
    if not gains:
        raise WeightError("a battle needs at least two contestants")
    floor = min(math.ceil(epsilon * TOTAL / len(gains)), TOTAL // len(gains))
    rest = TOTAL - floor * len(gains)
    return WeightTable(names, tuple(floor + share for share in _shares(gains, rest)))


def uniform_weights(contestants: Iterable[str]) -> WeightTable:
    """Return a table in which all pairs are equally likely."""
    return pair_weights(contestants, {}, epsilon=Fraction(1))


def _gain(tally: PairTally, prior: int) -> int:
    """Return floor(2**64 sqrt(S/n)) − floor(2**64 sqrt(S/(n+1))), prior counts included.

    With h half points of the first contestant, S = (h/2n)(1 − h/2n) = h (2n − h) / 4n².
    """
    n = tally.n_votes + 2 * prior
    half_points = 2 * (tally.n_first + prior) + tally.n_ties
    numerator = half_points * (2 * n - half_points) << 2 * _ROOT_BITS
    return math.isqrt(numerator // (4 * n**3)) - math.isqrt(numerator // (4 * n * n * (n + 1)))


def _shares(gains: list[int], units: int) -> list[int]:
    """Split `units` in proportion to the gains; what is left goes to the largest remainders, first pair first."""
    whole = sum(gains)
    if not whole:
        gains, whole = [1] * len(gains), len(gains)
    shares, remainders = zip(*(divmod(units * gain, whole) for gain in gains), strict=True)
    result = list(shares)
    order = sorted(range(len(gains)), key=lambda k: (-remainders[k], k))
    for k in order[: units - sum(result)]:
        result[k] += 1
    return result
