"""How uncertain strengths are: sandwich covariance H⁻¹ B H⁻¹, clustered by voter.

H is the second derivative of the weighted negative log-likelihood. B is the sum of outer products
of the gradient's parts: of single votes, or, as one voter's votes resemble each other, of all
votes of a voter together. It stays right when weights are unequal or the model does not hold.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.special import expit

from arena.rating.arrays import FloatArray, IntArray
from arena.rating.counts import OUTCOME_POINTS, PairCounts
from arena.rating.newton import hessian, invert_centred, laplacian


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
    _, number = np.unique(cluster, return_inverse=True)
    n_clusters = int(number.max()) + 1
    sums = coo_array((values, (number, rows)), shape=(n_clusters, n)).tocsr()
    return np.asarray((sums.T @ sums).toarray() * n_clusters / (n_clusters - 1))
