"""Names of the array types that pass between the modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


def sum_by(place: IntArray, values: FloatArray, n: int) -> FloatArray:
    """Return the sums of the values that share a place, (n,)."""
    return np.asarray(np.bincount(place, values, n), dtype=np.float64)
