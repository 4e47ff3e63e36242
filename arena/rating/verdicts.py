"""The four verdicts, and how they are written in files of votes."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from arena.rating.arrays import FloatArray, IntArray


class Verdict(StrEnum):
    """What a voter said about one battle."""

    A = "a"
    B = "b"
    TIE = "tie"
    BOTH_BAD = "both_bad"


VERDICTS = tuple(Verdict)
POINTS: FloatArray = np.array([1.0, 0.0, 0.5, 0.5])  # of side a, in the order of VERDICTS

FILE_VERDICTS: dict[str, Verdict] = {
    "model_a": Verdict.A,
    "model_b": Verdict.B,
    "tie": Verdict.TIE,
    "tie (bothbad)": Verdict.BOTH_BAD,
    "both_bad": Verdict.BOTH_BAD,
}


def verdict_code(verdict: Verdict) -> int:
    """Return the place of a verdict in `VERDICTS`, which stands for it in arrays."""
    return VERDICTS.index(verdict)


def points_of(codes: IntArray) -> FloatArray:
    """Return side a's points for each verdict code: 1, 0 or ½."""
    return POINTS[codes]
