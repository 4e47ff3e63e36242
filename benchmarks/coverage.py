"""Do the intervals hold what they say, do planted strengths come back, how fast is a newcomer placed?

    python -m benchmarks.coverage [--rounds 300] [--votes 50000] [--newcomers 15]

Coverage: 20 contestants, pairs drawn with skewed probabilities, two thousand voters of whom a tenth
give most votes, each with tastes of their own, and pairs that deviate from Bradley–Terry. The truth is the
Bradley–Terry fit to the exact mean preferences of all pairs alike. Two peers see the same votes:
equal weights, and votes taken one by one. Newcomer: 19 settled contestants of 500 votes a pair and one
without any; votes of the whole arena until its interval is within 15 points either way, under eq. 9
and uniformly.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded

import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from arena.rating import SCALE, PairCounts, RatingOptions, VoteTable, Weighting, rate
from arena.rating.newton import fit_strengths
from arena.sampling import PairTally, pair_weights
from arena.sampling.weights import uniform_weights

K = 20
NAMES = tuple(f"c{k:02d}" for k in range(K))
FIRST, SECOND = np.triu_indices(K, 1)
LOW, HIGH, NEWCOMER_VOTES, REACH = 0.94, 0.96, 5000, 15.0
TASTE, DEVIATION = 0.5, 0.15  # log-odds
FloatArray = npt.NDArray[np.float64]


def sigmoid(values: FloatArray) -> FloatArray:
    """Return 1 / (1 + e^-x)."""
    return np.asarray(1 / (1 + np.exp(-values)))


def true_ratings(difference: FloatArray) -> FloatArray:
    """Return what infinitely many votes would say: the fit to each pair's preference, averaged over tastes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    spread = TASTE * np.sqrt(2) * nodes
    p = (sigmoid(difference[:, None] + spread[None, :]) * weights).sum(axis=1) / weights.sum()
    outcomes = np.stack([p, np.zeros_like(p), 1 - p], axis=1)
    theta = fit_strengths(PairCounts(K, FIRST, SECOND, outcomes, outcomes, outcomes))
    return np.asarray(1000 + SCALE * theta)


def one_round(source: np.random.Generator, n_votes: int) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return by method whether each interval holds the truth, and the errors in points."""
    theta = source.normal(0, 0.6, K)
    deviation = source.normal(0, DEVIATION, len(FIRST))
    difference = theta[FIRST] - theta[SECOND] + deviation
    truth = true_ratings(difference)
    shares = source.pareto(1.2, len(FIRST)) + 0.05
    p_pair = 0.9 * shares / shares.sum() + 0.1 / len(FIRST)
    n_voters = 2000
    activity = source.lognormal(0, 1.5, n_voters)  # a tenth of the voters give more than half of the votes
    voter = source.choice(n_voters, n_votes, p=activity / activity.sum())
    taste = source.normal(0, TASTE, (n_voters, K))
    pair = source.choice(len(FIRST), n_votes, p=p_pair)
    a, b = FIRST[pair], SECOND[pair]
    p = sigmoid(difference[pair] + taste[voter, a] - taste[voter, b])
    tie = source.random(n_votes) < 0.5 * np.minimum(p, 1 - p)
    win = source.random(n_votes) < (p - 0.25 * np.minimum(p, 1 - p)) / (1 - 0.5 * np.minimum(p, 1 - p))
    verdict = np.where(tie, 1, np.where(win, 0, 3)).astype(np.int8)
    table = VoteTable(NAMES, a, b, _codes(verdict), p_pair[pair], voter)
    options = RatingOptions()
    found = {}
    for name, chosen in (
        ("inverse propensity, by voter", options),
        ("inverse propensity, by vote", replace(options, clusters=False)),
        ("equal weights, by voter", replace(options, weighting=Weighting.EQUAL)),
    ):
        rows = {row.contestant: row for row in rate(table, chosen).ratings}
        holds = [rows[n].lower <= t <= rows[n].upper for n, t in zip(NAMES, truth, strict=True)]
        errors = [rows[n].rating - t for n, t in zip(NAMES, truth, strict=True)]
        found[name] = (np.array(holds, dtype=np.float64), np.array(errors))
    return found


def _codes(verdict: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    from arena.rating.verdicts import Verdict, verdict_code

    codes = [verdict_code(v) for v in (Verdict.A, Verdict.TIE, Verdict.BOTH_BAD, Verdict.B)]
    return np.array(codes, dtype=np.int8)[verdict]


def coverage(n_rounds: int, n_votes: int) -> dict[str, Any]:
    """Return coverage and bias of the three methods."""
    source = np.random.default_rng(20261127)
    holds: dict[str, list[FloatArray]] = {}
    errors: dict[str, list[FloatArray]] = {}
    for _ in range(n_rounds):
        for name, (held, error) in one_round(source, n_votes).items():
            holds.setdefault(name, []).append(held)
            errors.setdefault(name, []).append(error)
    return {
        name: {
            "coverage": round(float(np.mean(rows)), 4),
            "standard_error": round(float(np.std(np.mean(rows, axis=1)) / n_rounds**0.5), 4),
            "rms_error_points": round(float(np.sqrt(np.mean(np.square(errors[name])))), 1),
        }
        for name, rows in holds.items()
    }


def newcomer(seed: int, *, uniform: bool) -> int:
    """Return how many votes of the arena it takes until the newcomer's interval is within 15 points either way."""
    source = np.random.default_rng(seed)
    theta = source.normal(0, 0.5, K)
    columns: list[tuple[npt.NDArray[np.int64], FloatArray]] = []
    settled = np.repeat(np.flatnonzero(SECOND != K - 1), 500)
    columns.append((settled, np.full(len(settled), 1 / np.sum(SECOND != K - 1))))
    verdicts = [_vote(settled, theta, source)]
    n_new = 0
    while n_new < 40_000:
        pairs, verdict = np.concatenate([c[0] for c in columns]), np.concatenate(verdicts)
        won = np.bincount(pairs, verdict == 0, len(FIRST)).astype(int)
        lost = np.bincount(pairs, verdict == 2, len(FIRST)).astype(int)
        tied = np.bincount(pairs, verdict == 1, len(FIRST)).astype(int)
        tallies = {
            (NAMES[i], NAMES[j]): PairTally(int(w), int(v), int(t))
            for i, j, w, v, t in zip(FIRST, SECOND, won, lost, tied, strict=True)
        }
        table = uniform_weights(NAMES) if uniform else pair_weights(NAMES, tallies)
        p = np.array(table.weights, dtype=np.float64) / table.total
        drawn = source.choice(len(FIRST), 250, p=p)
        columns.append((drawn, p[drawn]))
        verdicts.append(_vote(drawn, theta, source))
        n_new += 250
        pairs, chances = (np.concatenate(c) for c in zip(*columns, strict=True))
        codes = _codes(np.array([0, 1, 3], dtype=np.int8)[np.concatenate(verdicts)])
        votes = VoteTable(NAMES, FIRST[pairs], SECOND[pairs], codes, chances)
        rows = {r.contestant: r for r in rate(votes).ratings}
        row = rows.get(NAMES[-1])
        if row is not None and (row.upper - row.lower) / 2 <= REACH:
            return n_new
    return n_new


def _vote(pair: npt.NDArray[np.int64], theta: FloatArray, source: np.random.Generator) -> npt.NDArray[np.int64]:
    p = sigmoid(theta[FIRST[pair]] - theta[SECOND[pair]])
    drawn, tie = source.random(len(pair)), 0.5 * np.minimum(p, 1 - p)
    return np.asarray(np.where(drawn < tie, 1, np.where(drawn < tie + p - tie / 2, 0, 2)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--votes", type=int, default=50_000)
    parser.add_argument("--newcomers", type=int, default=15)
    given = parser.parse_args()
    answer = {
        "coverage": coverage(given.rounds, given.votes),
        "coverage_limits": [LOW, HIGH],
        "newcomer_votes": {
            "eq_9": statistics.median(newcomer(s, uniform=False) for s in range(given.newcomers)),
            "uniform": statistics.median(newcomer(s, uniform=True) for s in range(max(1, given.newcomers // 5))),
            "limit": NEWCOMER_VOTES,
        },
    }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
