"""Slow, obvious ways to the same numbers: raw votes, loops, a general optimiser."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize

from arena.rating import VoteTable
from arena.rating.arrays import FloatArray

POINTS = {0: 1.0, 1: 0.0, 2: 0.5, 3: 0.5}


def weights_of(votes: VoteTable) -> list[float]:
    """Return 1/p_pair of each vote, or 1."""
    return [1.0] * votes.n_votes if votes.p_pair is None else [1 / float(p) for p in votes.p_pair]


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^−x)."""
    return 1 / (1 + math.exp(-x))


def slow_strengths(votes: VoteTable) -> FloatArray:
    """Maximise the likelihood of raw votes with a general optimiser; strengths add up to 0."""
    k = len(votes.contestants)
    weights = np.array(weights_of(votes))
    weights /= weights.sum()
    points = np.array([POINTS[int(code)] for code in votes.verdict])
    one_hot = np.eye(k)[votes.side_a] - np.eye(k)[votes.side_b]

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        d = one_hot @ theta
        p = 1 / (1 + np.exp(-d))
        return float(weights @ (np.logaddexp(0, d) - points * d)), one_hot.T @ (weights * (p - points))

    found = minimize(loss, np.zeros(k), jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    return np.asarray(found.x - found.x.mean())


def slow_covariance(votes: VoteTable, theta: FloatArray) -> FloatArray:
    """Return the sandwich covariance vote by vote, clustered by voter where voters are known."""
    k = len(votes.contestants)
    bread = np.zeros((k, k))
    scores: dict[int, FloatArray] = {}
    for row, weight in enumerate(weights_of(votes)):
        a, b = int(votes.side_a[row]), int(votes.side_b[row])
        p = sigmoid(theta[a] - theta[b])
        c = np.zeros(k)
        c[a], c[b] = 1, -1
        bread += weight * p * (1 - p) * np.outer(c, c)
        who = row if votes.voter is None else int(votes.voter[row])
        scores[who] = scores.get(who, np.zeros(k)) + weight * (POINTS[int(votes.verdict[row])] - p) * c
    middle = sum((np.outer(score, score) for score in scores.values()), np.zeros((k, k)))
    if votes.voter is not None:
        middle = middle * len(scores) / (len(scores) - 1)
    inverse = np.linalg.pinv(bread)
    return np.asarray(inverse @ middle @ inverse)


def reaches(votes: VoteTable, start: int) -> set[int]:
    """Return whom `start` scored against, directly or through others."""
    found, queue = {start}, [start]
    while queue:
        one = queue.pop()
        for row in range(votes.n_votes):
            sides = int(votes.side_a[row]), int(votes.side_b[row])
            points = POINTS[int(votes.verdict[row])]
            for me, other, mine in ((*sides, points), (*sides[::-1], 1 - points)):
                if me == one and mine > 0 and other not in found:
                    found.add(other)
                    queue.append(other)
    return found


def components(votes: VoteTable) -> list[set[int]]:
    """Return the sets of contestants who reach each other."""
    k = len(votes.contestants)
    reach = [reaches(votes, one) for one in range(k)]
    return [{other for other in range(k) if other in reach[one] and one in reach[other]} for one in range(k)]
