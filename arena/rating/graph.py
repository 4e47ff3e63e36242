"""Who can be ranked against whom (Ford 1957).

Strengths are finite and unique only among contestants of which each scored, directly or through
others, against each other one: the strongly connected components of "scored against".
"""

from __future__ import annotations

import numpy as np

from arena.rating.arrays import BoolArray, IntArray, sum_by
from arena.rating.counts import PairCounts
from arena.rating.numerics import coo_array, strong_components


def component_labels(counts: PairCounts) -> IntArray:
    """Return the number of each contestant's strongly connected component, (K,)."""
    first_scored = counts.n[:, 0] + counts.n[:, 1] > 0
    second_scored = counts.n[:, 2] + counts.n[:, 1] > 0
    winner = np.concatenate([counts.first[first_scored], counts.second[second_scored]])
    loser = np.concatenate([counts.second[first_scored], counts.first[second_scored]])
    k = counts.n_contestants
    graph = coo_array((np.ones(len(winner)), (winner, loser)), shape=(k, k))
    labels: IntArray = strong_components(graph.tocsr())
    return labels


def largest_component(counts: PairCounts) -> BoolArray:
    """Return who belongs to the largest component, (K,); nobody when no component has two members.

    Of equally large ones the one with more votes among its members counts, then the one that
    holds the contestant who stands first.
    """
    if not counts.n_contestants:
        return np.zeros(0, dtype=bool)
    labels = component_labels(counts)
    sizes = np.bincount(labels, minlength=1)
    inside = labels[counts.first] == labels[counts.second]
    votes = sum_by(labels[counts.first[inside]], counts.n[inside].sum(axis=1), len(sizes))
    earliest = [int(np.argmax(labels == label)) for label in range(len(sizes))]
    best = max(range(len(sizes)), key=lambda label: (sizes[label], votes[label], -earliest[label]))
    return np.asarray((labels == best) & (sizes[best] > 1))
