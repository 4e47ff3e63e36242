"""Ratings from blind votes: Bradley–Terry with honest intervals.

Knows nothing of Django, of the site's tables or of how votes were gathered; may be used from a
notebook. The method is told in docs/arena-rating.md.
"""

from arena.rating.counts import PairCounts, count_pairs, vote_weights
from arena.rating.errors import FitError, OptionError, RatingError, VoteError, VoteFileError
from arena.rating.options import BothBad, IntervalMethod, RatingOptions, Weighting
from arena.rating.rate import rate, rate_counts
from arena.rating.results import CovariateEffect, Neighbours, Rating, RatingResult, Unrankable
from arena.rating.scale import CENTRE, DECIMALS, SCALE
from arena.rating.verdicts import FILE_VERDICTS, Verdict
from arena.rating.votes import VoteTable

__all__ = [
    "CENTRE",
    "DECIMALS",
    "FILE_VERDICTS",
    "SCALE",
    "BothBad",
    "CovariateEffect",
    "FitError",
    "IntervalMethod",
    "Neighbours",
    "OptionError",
    "PairCounts",
    "Rating",
    "RatingError",
    "RatingOptions",
    "RatingResult",
    "Unrankable",
    "Verdict",
    "VoteError",
    "VoteFileError",
    "VoteTable",
    "Weighting",
    "count_pairs",
    "rate",
    "rate_counts",
    "vote_weights",
]
