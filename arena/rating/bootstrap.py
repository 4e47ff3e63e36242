"""Bayesian bootstrap: refit with random weights of the voters instead of drawing votes anew.

Every voter (every vote, where voters are unknown) gets a weight from the exponential distribution,
so that no contestant ever drops out of a round. Rubin 1981.
"""

from __future__ import annotations

import numpy as np

from arena.rating.arrays import FloatArray, IntArray
from arena.rating.counts import OUTCOME_POINTS, PairCounts
from arena.rating.newton import fit_strengths
from arena.rating.numerics import coo_array


def bootstrap_strengths(
    counts: PairCounts,
    vote_pair: IntArray,
    vote_outcome: IntArray,
    weights: FloatArray,
    cluster: IntArray,
    *,
    theta: FloatArray,
    n_rounds: int,
    seed: int,
) -> FloatArray:
    """Return the strengths of each round, (n_rounds, K).

    vote_pair: (N,) each vote's place in `counts`. vote_outcome: (N,) its column there. weights: (N,).
    cluster: (N,) voter numbers. theta: (K,) strengths to start from.
    """
    _, number = np.unique(cluster, return_inverse=True)
    n_pairs, n_clusters = len(counts.first), int(number.max()) + 1
    cell = vote_pair * 3 + vote_outcome
    by_cluster = coo_array((weights, (cell, number)), shape=(3 * n_pairs, n_clusters)).tocsr()
    random = np.random.default_rng(seed)
    rounds = np.empty((n_rounds, len(theta)))
    for k in range(n_rounds):
        drawn = (by_cluster @ random.standard_exponential(n_clusters)).reshape(n_pairs, 3)
        perturbed = PairCounts(counts.n_contestants, counts.first, counts.second, counts.n, drawn, drawn)
        rounds[k] = fit_strengths(perturbed, theta)
    return rounds


def outcome_column(points_of_first: FloatArray) -> IntArray:
    """Return each vote's column in `PairCounts` from the points of the pair's first contestant."""
    return np.asarray(np.searchsorted(-OUTCOME_POINTS, -points_of_first))
