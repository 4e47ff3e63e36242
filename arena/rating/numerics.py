"""What the fits need of scipy, imported at the first call: processes that show ratings never compute any."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def expit(x: Any) -> NDArray[np.float64]:
    """Return the logistic function, without overflow."""
    from scipy.special import expit as computed

    result: NDArray[np.float64] = computed(x)
    return result


def ndtri(p: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from scipy.special import ndtri as computed

    return float(computed(p))


def cho_factor(matrix: NDArray[np.float64], **options: Any) -> Any:
    """Return the Cholesky factor; raises `LinAlgError` where there is none."""
    from scipy.linalg import cho_factor as computed

    return computed(matrix, **options)


def cho_solve(factor: Any, right: NDArray[np.float64], **options: Any) -> NDArray[np.float64]:
    """Solve by a Cholesky factor."""
    from scipy.linalg import cho_solve as computed

    result: NDArray[np.float64] = computed(factor, right, **options)
    return result


def coo_array(values: Any, shape: tuple[int, int]) -> Any:
    """Return a sparse matrix from values, rows and columns; equal places are summed when it is converted."""
    from scipy.sparse import coo_array as made

    return made(values, shape=shape)


def strong_components(graph: Any) -> NDArray[np.intp]:
    """Return for each node of a directed graph the number of its strongly connected component."""
    from scipy.sparse.csgraph import connected_components

    labels = connected_components(graph, directed=True, connection="strong")[1]
    return np.asarray(labels, dtype=np.intp)
