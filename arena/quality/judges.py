"""How an automatic judge agrees with people: accuracy, Cohen's κ, consistency over both orders, by category.

As SciArena-Eval does (Zhao et al. 2025, arXiv 2507.01001), with intervals: percentiles of a bootstrap
over whole voters. A judge's verdict on a battle is what it says in both orders; where these
differ it has no preference. Tie and both bad are one outcome.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arena.quality.agreement import Agreement, FloatArray, bootstrap_interval, cohen_kappa

NEITHER = "neither"


@dataclass(frozen=True)
class Judged:
    """A battle with a person's verdict and a judge's in each order of the answers, None where it gave none.

    first: with side a shown first. second: with side b shown first. Verdicts name the battle's sides.
    """

    voter: str
    human: str
    first: str | None
    second: str | None = None
    category: str = ""

    def __post_init__(self) -> None:
        if self.first is None and self.second is None:
            raise ValueError("the judge gave no verdict in either order")

    @property
    def judge(self) -> str:
        """Return the judge's outcome."""
        said = {outcome_of(v) for v in (self.first, self.second) if v is not None}
        return said.pop() if len(said) == 1 else NEITHER

    @property
    def is_consistent(self) -> bool | None:
        """Tell whether both orders gave the same outcome; None where only one was judged."""
        if self.first is None or self.second is None:
            return None
        return outcome_of(self.first) == outcome_of(self.second)


@dataclass(frozen=True)
class JudgeAgreement:
    """Agreement over some battles.

    accuracy: share of battles with a human winner in which the judge names the same; no preference
    counts half, as a coin would. consistency: of battles judged in both orders. first_shown: of
    the inconsistent ones in which each order has a winner, those that favour what is shown first.
    """

    n_battles: int
    accuracy: Agreement
    kappa: Agreement
    consistency: Agreement
    first_shown: Agreement


def outcome_of(verdict: str) -> str:
    """Return a, b, or neither. Raises `ValueError` for what is no verdict."""
    if verdict in ("a", "b"):
        return verdict
    if verdict in ("tie", "both_bad"):
        return NEITHER
    raise ValueError(f"{verdict!r} is no verdict")


def judge_agreement(rows: Sequence[Judged], *, level: float = 0.95) -> JudgeAgreement:
    """Return how a judge agrees with people over some battles."""
    pairs: dict[Hashable, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        pairs[row.voter].append((outcome_of(row.human), row.judge))
    points = {"right": 1.0, NEITHER: 0.5, "wrong": 0.0}

    def scored(row: Judged) -> float:
        return points["right" if row.judge == row.human else NEITHER if row.judge == NEITHER else "wrong"]

    decided = [(row.voter, scored(row)) for row in rows if outcome_of(row.human) != NEITHER]
    both = [row for row in rows if row.is_consistent is not None]
    turned = [row for row in both if {row.first, row.second} == {"a", "b"}]
    return JudgeAgreement(
        n_battles=len(rows),
        accuracy=share(decided, level=level),
        kappa=cohen_kappa(pairs, level=level),
        consistency=share([(row.voter, float(bool(row.is_consistent))) for row in both], level=level),
        first_shown=share([(row.voter, float(row.first == "a")) for row in turned], level=level),
    )


def by_category(rows: Iterable[Judged], *, level: float = 0.95) -> Mapping[str, JudgeAgreement]:
    """Return the agreement in each category that has a name, in their order."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        if row.category:
            groups[row.category].append(row)
    return {name: judge_agreement(groups[name], level=level) for name in sorted(groups)}


def share(points: Sequence[tuple[str, float]], *, level: float = 0.95) -> Agreement:
    """Return the mean of points from 0 to 1, given with the voter of each, and its interval by voter."""
    place = {voter: k for k, voter in enumerate(sorted({voter for voter, _ in points}))}
    sums = np.zeros((len(place), 2))
    for voter, value in points:
        sums[place[voter]] += (value, 1.0)
    return bootstrap_interval(sums, _ratio, level, len(points), len(points))


def _ratio(sums: FloatArray) -> FloatArray:
    """Return points over number of (…, 2) sums."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])
