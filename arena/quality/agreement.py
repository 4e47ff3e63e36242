"""Agreement beyond chance, with intervals: Cohen's κ of paired verdicts, Krippendorff's α of overlapping ones.

Verdicts are nominal. Intervals are percentiles of a bootstrap over whole items or voters, since
verdicts on one item resemble each other; its seed is fixed so that anybody gets the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

N_ROUNDS = 2000
SEED = 20261127
MIN_DEFINED = 0.9  # share of bootstrap rounds in which the value must exist


@dataclass(frozen=True)
class Agreement:
    """A coefficient with its interval; None where there is too little to say. n_items: items or pairs; n_verdicts."""

    value: float | None
    lower: float | None
    upper: float | None
    n_items: int
    n_verdicts: int


def cohen_kappa(pairs: Mapping[Hashable, Sequence[tuple[str, str]]], *, level: float = 0.95) -> Agreement:
    """Return Cohen's (1960) κ of pairs of verdicts (first, second), given by cluster: the voter of the pairs."""
    flat = [verdict for rows in pairs.values() for pair in rows for verdict in pair]
    place = {verdict: k for k, verdict in enumerate(sorted(set(flat)))}
    tables = np.zeros((len(pairs), len(place), len(place)))
    for table, rows in zip(tables, pairs.values(), strict=True):
        for first, second in rows:
            table[place[first], place[second]] += 1
    return bootstrap_interval(tables, _kappa, level, len(flat) // 2, len(flat))


def krippendorff_alpha(items: Mapping[Hashable, Sequence[str]], *, level: float = 0.95) -> Agreement:
    """Return Krippendorff's (2011) nominal α of the verdicts on each item; items with one verdict say nothing."""
    several = [verdicts for verdicts in items.values() if len(verdicts) > 1]
    place = {verdict: k for k, verdict in enumerate(sorted({v for verdicts in several for v in verdicts}))}
    tables = np.zeros((len(several), len(place), len(place)))
    for table, verdicts in zip(tables, several, strict=True):
        n = np.bincount([place[v] for v in verdicts], minlength=len(place)).astype(np.float64)
        table += (np.outer(n, n) - np.diag(n)) / (len(verdicts) - 1)
    return bootstrap_interval(tables, _alpha, level, len(several), sum(map(len, several)))


def _kappa(table: FloatArray) -> FloatArray:
    """Return κ of (…, C, C) contingency tables; NaN where chance alone explains everything."""
    n = table.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.trace(table, axis1=-2, axis2=-1) / n
        chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / n**2
        return np.asarray(np.where(chance < 1, (seen - chance) / (1 - chance), np.nan))


def _alpha(table: FloatArray) -> FloatArray:
    """Return α of (…, C, C) coincidence matrices; NaN where all verdicts are the same."""
    n = table.sum(axis=(-2, -1))
    expected = n**2 - (table.sum(axis=-1) ** 2).sum(axis=-1)
    observed = n - np.trace(table, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 1e-12, 1 - (n - 1) * observed / expected, np.nan))


def bootstrap_interval(
    tables: FloatArray, statistic: Callable[[FloatArray], FloatArray], level: float, n_items: int, n_verdicts: int
) -> Agreement:
    """Return a statistic of summed tables (K clusters, …) with its bootstrap interval over clusters."""
    nothing = Agreement(None, None, None, n_items, n_verdicts)
    if not len(tables):
        return nothing
    value = float(statistic(tables.sum(axis=0)))
    if not np.isfinite(value):
        return nothing
    k = len(tables)
    drawn = np.random.default_rng(SEED).multinomial(k, np.full(k, 1 / k), size=N_ROUNDS).astype(np.float64)
    rounds = statistic(np.tensordot(drawn, tables, axes=1))
    rounds = rounds[np.isfinite(rounds)]
    if k < 2 or len(rounds) < MIN_DEFINED * N_ROUNDS:
        return Agreement(value, None, None, n_items, n_verdicts)
    tail = (1 - level) / 2
    lower, upper = np.quantile(rounds, [tail, 1 - tail])
    return Agreement(value, float(lower), float(upper), n_items, n_verdicts)
