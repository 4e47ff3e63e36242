"""How uncertain strengths are: sandwich covariance H⁻¹ B H⁻¹, clustered by voter.

H is the second derivative of the weighted negative log-likelihood. B is the sum of outer products
of the gradient's parts: of single votes, or, as one voter's votes resemble each other, of all
votes of a voter together. It stays right when weights are unequal or the model does not hold.
"""

from __future__ import annotations

import numpy as np

from arena.rating.arrays import FloatArray, IntArray, sum_by
from arena.rating.counts import OUTCOME_POINTS, PairCounts
from arena.rating.newton import hessian, invert_centred, laplacian
from arena.rating.numerics import coo_array, expit

DENSE = 20  # a product of dense tables is quicker where one place in so many is filled
MAX_TABLE = 16_000_000  # clusters times contestants up to which sums are gathered in one table


def vote_covariance(counts: PairCounts, theta: FloatArray) -> FloatArray:
    """Return the (K, K) sandwich covariance of θ with each vote on its own, from counts alone."""
    p = expit(theta[counts.first] - theta[counts.second])
    spread = (counts.square * (OUTCOME_POINTS - p[:, None]) ** 2).sum(axis=1)
    middle = laplacian(counts.n_contestants, counts.first, counts.second, spread)
    inverse = invert_centred(hessian(counts, theta))
    return np.asarray(inverse @ middle @ inverse)


def cluster_sums(cluster: IntArray, rows: IntArray, values: FloatArray, n: int) -> FloatArray:
    """Return B (n, n): the sum over clusters g of s_g s_gᵀ · G/(G − 1), s_g the sum of the cluster's entries.

    cluster, rows, values: (M,) entries: the value is added to place `rows` of its cluster's vector.
    G is the number of clusters, at least 2.
    """
    number, n_clusters = renumber(cluster)
    if n_clusters * n <= MAX_TABLE:
        table = sum_by(number * n + rows, values, n_clusters * n)
        filled = np.flatnonzero(table)
        if DENSE * len(filled) > len(table):
            dense = table.reshape(n_clusters, n)
            return np.asarray(dense.T @ dense * n_clusters / (n_clusters - 1))
        values, number, rows = table[filled], filled // n, filled % n
    sums = coo_array((values, (number, rows)), shape=(n_clusters, n)).tocsr()
    return np.asarray((sums.T @ sums).toarray() * n_clusters / (n_clusters - 1))


def renumber(cluster: IntArray) -> tuple[IntArray, int]:
    """Return the clusters' numbers without gaps, (M,), and how many there are; numbers are not negative."""
    highest = int(cluster.max())
    if highest > 4 * len(cluster):
        names, number = np.unique(cluster, return_inverse=True)
        return number, len(names)
    seen = np.zeros(highest + 1, dtype=bool)
    seen[cluster] = True
    place = np.cumsum(seen) - 1
    return place[cluster], int(place[-1]) + 1
