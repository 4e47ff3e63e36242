"""Errors of pair sampling.

SamplingError
├── WeightError   contestants, tallies or parameters from which no table can be made
└── DrawError     a seed, index or nonce of the wrong form
"""

from __future__ import annotations


class SamplingError(ValueError):
    """Root of the errors of sampling; `str(error)` says what is wrong and what is expected."""


class WeightError(SamplingError):
    """Contestants, tallies or parameters from which no table of weights can be made."""


class DrawError(SamplingError):
    """A seed, draw index or nonce of the wrong form."""
