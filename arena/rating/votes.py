"""Votes as columns, checked once, so that everything after may trust them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from arena.rating.arrays import BoolArray, FloatArray, IntArray
from arena.rating.errors import VoteError
from arena.rating.verdicts import VERDICTS, Verdict, verdict_code


@dataclass(frozen=True, eq=False)
class VoteTable:
    """N votes among K contestants.

    contestants: K ids, sorted, each once; may hold some without votes. side_a, side_b: (N,) places
    in `contestants`. verdict: (N,) places in `VERDICTS`. p_pair: (N,) chance with which the vote's
    unordered pair was drawn, or None when unknown. voter: (N,) voter numbers from 0, or None.
    covariates: name to (N,) values, each of side a minus side b. Raise `VoteError` naming the
    first bad row.
    """

    contestants: tuple[str, ...]
    side_a: IntArray
    side_b: IntArray
    verdict: IntArray
    p_pair: FloatArray | None = None
    voter: IntArray | None = None
    covariates: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if list(self.contestants) != sorted(set(self.contestants)):
            raise VoteError("contestants must be sorted and each named once")
        columns = {"side_b": self.side_b, "verdict": self.verdict, "p_pair": self.p_pair, "voter": self.voter}
        for name, values in {**columns, **self.covariates}.items():
            if values is not None and values.shape != (self.n_votes,):
                raise VoteError(f"column {name} has shape {values.shape}; {self.n_votes} votes need one value each")
        for side in (self.side_a, self.side_b):
            _refuse((side < 0) | (side >= len(self.contestants)), "a side names no contestant")
        _refuse((self.verdict < 0) | (self.verdict >= len(VERDICTS)), "unknown verdict")
        _refuse(self.side_a == self.side_b, "a contestant battles itself")
        if self.p_pair is not None:
            _refuse(~((self.p_pair > 0) & (self.p_pair <= 1)), "p_pair must be a number above 0 and up to 1")
        if self.voter is not None:
            _refuse(self.voter < 0, "voter numbers start at 0")
        for name, values in self.covariates.items():
            _refuse(~np.isfinite(values), f"covariate {name} is not a finite number")

    @property
    def n_votes(self) -> int:
        """Number of votes."""
        return len(self.side_a)

    @property
    def n_voters(self) -> int | None:
        """Number of voters who cast at least one of the votes, None when voters are unknown."""
        return None if self.voter is None else len(np.unique(self.voter))

    def select(self, rows: BoolArray) -> VoteTable:
        """Return the votes where `rows` (N,) is true, of the same contestants."""
        return VoteTable(
            self.contestants,
            self.side_a[rows],
            self.side_b[rows],
            self.verdict[rows],
            None if self.p_pair is None else self.p_pair[rows],
            None if self.voter is None else self.voter[rows],
            {name: values[rows] for name, values in self.covariates.items()},
        )

    @classmethod
    def from_columns(
        cls,
        side_a: Sequence[str],
        side_b: Sequence[str],
        verdict: Iterable[Verdict | str],
        *,
        p_pair: Iterable[Fraction | float] | None = None,
        voter: Iterable[str] | None = None,
        covariates: Mapping[str, Iterable[float]] | None = None,
        contestants: Iterable[str] = (),
    ) -> VoteTable:
        """Return the table of columns of plain values, N each.

        verdict: `Verdict` or its value. p_pair: exact fractions or floats. voter: any id. contestants:
        ids that shall be listed though they may have no vote.
        """
        names = tuple(sorted({*side_a, *side_b, *contestants}))
        place = {name: k for k, name in enumerate(names)}
        return cls(
            names,
            np.array([place[name] for name in side_a], dtype=np.int32),
            np.array([place[name] for name in side_b], dtype=np.int32),
            np.array([_code(word, row) for row, word in enumerate(verdict)], dtype=np.int8),
            None if p_pair is None else np.array([float(p) for p in p_pair], dtype=np.float64),
            None if voter is None else _numbers(voter),
            {name: np.array(list(values), dtype=np.float64) for name, values in (covariates or {}).items()},
        )


def _code(word: Verdict | str, row: int) -> int:
    try:
        return verdict_code(Verdict(word))
    except ValueError:
        raise VoteError(f"unknown verdict {word!r}; known: {', '.join(Verdict)}", row) from None


def _numbers(ids: Iterable[str]) -> IntArray:
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in ids], dtype=np.int64)


def _refuse(bad: BoolArray, reason: str) -> None:
    if bad.any():
        raise VoteError(reason, int(np.argmax(bad)))
