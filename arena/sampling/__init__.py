"""Which pair battles next: integer weights, and draws that anybody can recompute.

Imports the standard library only, so that an offline verifier gets the same bits on any machine.
Knows nothing of the site, of ratings, or of who the contestants are. The byte layout and the
formulas stand in docs/arena-sampling.md; whatever changes here changes `FORMAT`.
"""

from arena.sampling.draws import Draw, commit_seed, draw_pair, new_seed, opens_commitment
from arena.sampling.errors import DrawError, SamplingError, WeightError
from arena.sampling.weights import (
    EPSILON,
    FORMAT,
    PRIOR,
    TOTAL,
    PairTally,
    WeightTable,
    pair_weights,
    uniform_weights,
)

__all__ = [
    "EPSILON",
    "FORMAT",
    "PRIOR",
    "TOTAL",
    "Draw",
    "DrawError",
    "PairTally",
    "SamplingError",
    "WeightError",
    "WeightTable",
    "commit_seed",
    "draw_pair",
    "new_seed",
    "opens_commitment",
    "pair_weights",
    "uniform_weights",
]
