"""The votes that a board counts, taken from the season's columns: what to leave out, their lines, pairs and table.

The same as `arena.services.vote_rows` gives vote by vote, to the last bit. What grows with all votes here are passes
over arrays; the lines of the input digest are hashed once, as long as the same votes come first.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import fsum
from typing import Any

import numpy as np

from arena.models import Battle, Season, Visibility, Voter
from arena.rating import VoteTable
from arena.rating.arrays import BoolArray, FloatArray, IntArray
from arena.rating.verdicts import VERDICTS, Verdict, verdict_code
from arena.sampling import PairTally
from arena.sampling.weights import Pair
from arena.services.exclusions import excluded_at
from arena.services.slices import Slice
from arena.services.vote_columns import VoteColumns, columns_at

LINES = 20_000
WON, LOST = verdict_code(Verdict.A), verdict_code(Verdict.B)
PLACES = np.array([{Verdict.A: 0, Verdict.B: 1, Verdict.TIE: 2, Verdict.BOTH_BAD: 3}[v] for v in VERDICTS])


@dataclass(frozen=True, eq=False)
class CountedVotes:
    """N votes in the order of their close entries. rows: (N,) their places among the season's closed votes."""

    columns: VoteColumns
    rows: IntArray

    @property
    def n_votes(self) -> int:
        """Number of votes."""
        return len(self.rows)

    def column(self, name: str) -> Any:
        """Return one value of each vote, (N,)."""
        return self.columns.votes[name][self.rows]

    def where(self, keep: BoolArray) -> CountedVotes:
        """Return the votes for which `keep` (N,) is true."""
        return replace(self, rows=self.rows[keep])

    def among(self, contestants: Mapping[str, Any]) -> CountedVotes:
        """Return the votes whose two contestants are both among these."""
        known = np.array([name in contestants for name in self.columns.words["contestant"]], dtype=bool)
        return self.where(known[self.column("side_a")] & known[self.column("side_b")])

    def lines(self, begin: int = 0) -> Iterator[bytes]:
        """Yield the votes' lines of the input digest from a place on (docs/log-format.md, Counting), many at once."""
        names = self.columns.words["contestant"]
        fields = ("leaf", "side_a", "side_b", "verdict", "numerator", "denominator", "voter")
        for first in range(begin, self.n_votes, LINES):
            votes = self.columns.votes[self.rows[first : first + LINES]]
            voters, places = np.unique(votes["voter"], return_inverse=True)
            digests = [bytes(digest).hex() for digest in self.columns.voters["digest"][voters]]
            rows = zip(*(votes[name].tolist() for name in fields[:-1]), places.tolist(), strict=True)
            yield "".join(
                f'[{leaf},"{names[a]}","{names[b]}","{VERDICTS[v].value}","{p + 1}/{q + 1}","{digests[k]}"]\n'
                for leaf, a, b, v, p, q, k in rows
            ).encode()

    def input_digest(self) -> str:
        """Return the digest of a board's input."""
        return _digests.of(self)

    def count_pairs(self) -> list[list[Any]]:
        """Return [first, second, first won, second won, tie, both bad] of each pair, smaller id first."""
        names, place = self._names()
        a, b = place[self.column("side_a")], place[self.column("side_b")]
        turned = a > b
        verdict = PLACES[self.column("verdict")]
        verdict = np.where(turned & (verdict < 2), 1 - verdict, verdict)
        key = np.where(turned, b * len(names) + a, a * len(names) + b)
        counts = np.bincount(key * 4 + verdict, minlength=4 * len(names) ** 2).reshape(-1, 4)
        used = np.flatnonzero(counts.any(axis=1))
        return [
            [names[pair // len(names)], names[pair % len(names)], *four]
            for pair, four in zip(used.tolist(), counts[used].tolist(), strict=True)
        ]

    def tallies(self) -> tuple[dict[Pair, PairTally], int]:
        """Return the tally of each pair that has votes, as weights are made from it, and the number of votes."""
        pairs = {(one, two): PairTally(won, lost, tie + bad) for one, two, won, lost, tie, bad in self.count_pairs()}
        return pairs, self.n_votes

    def table(self, contestants: list[str], covariates: Mapping[str, FloatArray] | None = None) -> VoteTable:
        """Return the votes to be rated; `contestants` are listed though they may have no vote."""
        names, place = self._names(contestants)
        return VoteTable(
            tuple(names),
            place[self.column("side_a")].astype(np.int32),
            place[self.column("side_b")].astype(np.int32),
            self.column("verdict"),
            self.column("p"),
            _in_order_of_coming(self.column("voter")),
            dict(covariates or {}),
        )

    def _names(self, more: list[str] | None = None) -> tuple[list[str], IntArray]:
        """Return the sorted ids of contestants with votes, and more; and by number of a contestant its place there."""
        words = self.columns.words["contestant"]
        sides = np.concatenate([self.column("side_a"), self.column("side_b")])
        n_sides = np.bincount(sides, minlength=len(words))
        names = sorted({word for word, n in zip(words, n_sides, strict=True) if n} | set(more or ()))
        places = {name: k for k, name in enumerate(names)}
        return names, np.array([places.get(word, -1) for word in words], dtype=np.int64)

    # --- verbatim overlap -----------------------------------------------------------------------

    def shares(self, size: int, settings: str) -> tuple[FloatArray, FloatArray]:
        """Return which shares of both answers are covered, (N,) each, NaN where that was not measured.

        Measured below a tree size with the settings of that digest.
        """
        overlaps, words = self.columns.overlaps, self.columns.words["settings"]
        number = words.index(settings) if settings in words else -1
        own = overlaps[(overlaps["settings"] == number) & (overlaps["leaf"] < size)]
        shares = np.full((len(self.columns.votes), 2), np.nan)
        characters = own["characters"]
        shares[own["place"]] = np.where(characters > 0, own["covered"] / np.maximum(characters, 1), 0.0)
        return shares[self.rows, 0], shares[self.rows, 1]

    def mean_shares(self, shares: tuple[FloatArray, FloatArray]) -> dict[str, Any]:
        """Return how many of the votes have no shares, and of each contestant in the others the mean and number."""
        known = ~np.isnan(shares[0])
        sides = np.concatenate([self.column(name)[known] for name in ("side_a", "side_b")])
        values = np.concatenate([share[known] for share in shares])
        order = np.argsort(sides, kind="stable")
        numbers, begins = np.unique(sides[order], return_index=True)
        groups = np.split(values[order], begins[1:]) if len(numbers) else []
        words = self.columns.words["contestant"]
        found = {words[k]: own.tolist() for k, own in zip(numbers.tolist(), groups, strict=True)}
        rows = {name: {"share": round(fsum(own) / len(own), 4), "n": len(own)} for name, own in sorted(found.items())}
        return {"n_without": int((~known).sum()), "contestants": rows}


def closed_at(season: Season, size: int) -> CountedVotes:
    """Return the closed votes at a tree size that are not set aside; those on private variants are among them."""
    columns, votes = _closed(season, size)
    return CountedVotes(columns, np.flatnonzero(~_is_excluded(season, size, columns, votes)))


def _closed(season: Season, size: int) -> tuple[VoteColumns, Any]:
    """Return the season's columns, and the records of votes that closed below a tree size."""
    columns = columns_at(season, size)
    return columns, columns.votes[: int(np.searchsorted(columns.votes["leaf"], size))]


def counted_at(season: Season, size: int, chosen: Slice) -> CountedVotes:
    """Return the votes of a slice at a tree size, which the log must have reached. Raises `OSError` as `columns_at`."""
    columns, votes = _closed(season, size)
    keep = np.ones(len(votes), dtype=bool)
    for name, value in chosen.filters:
        keep &= _has(season, columns, votes, name, value)
    if not chosen.include_excluded:
        keep &= ~_is_excluded(season, size, columns, votes)
    if not chosen.both_bad:
        keep &= votes["verdict"] != verdict_code(Verdict.BOTH_BAD)
    if chosen.since:
        keep &= votes["day"] >= chosen.since.toordinal()
    if chosen.until:
        keep &= votes["day"] < chosen.until.toordinal()
    if votes["is_early"].any():
        keep &= ~votes["is_early"] | _may_be_early(season, columns, votes, chosen)
    return CountedVotes(columns, np.flatnonzero(keep))


def _has(season: Season, columns: VoteColumns, votes: Any, name: str, value: str) -> BoolArray:
    if name == "community":
        ids = Voter.objects.filter(community=value).values_list("pk", flat=True)
        return np.asarray(_voters(columns, ids.iterator(chunk_size=5000))[votes["voter"]])
    words = columns.words[name]
    number = words.index(value) if value in words else -1
    return np.asarray(votes[name] == number)


def _is_excluded(season: Season, size: int, columns: VoteColumns, votes: Any) -> BoolArray:
    voters, battles = excluded_at(season, size)
    found = _voters(columns, voters)[votes["voter"]] if voters else np.zeros(len(votes), dtype=bool)
    if battles:
        closes = Battle.objects.filter(pk__in=battles).values_list("close__entry__index", flat=True)
        found |= np.isin(votes["leaf"], [leaf for leaf in closes if leaf is not None])
    return np.asarray(found)


def _may_be_early(season: Season, columns: VoteColumns, votes: Any, chosen: Slice) -> BoolArray:
    """Tell of each vote whether the private variants in it are all among those that the board is made for."""
    allowed = set(chosen.pre_release)
    hidden = {str(pk) for pk in season.contestants.filter(visibility=Visibility.PRIVATE).values_list("pk", flat=True)}
    may = np.array([bool(allowed) and word not in hidden - allowed for word in columns.words["contestant"]], dtype=bool)
    return np.asarray(may[votes["side_a"]] & may[votes["side_b"]])


def _voters(columns: VoteColumns, ids: Any) -> BoolArray:
    """Tell of each of the season's voters, (V,), whether it is among the ids."""
    wanted = {voter.bytes for voter in ids}
    return np.array([bytes(voter) in wanted for voter in columns.voters["id"]], dtype=bool)


def _in_order_of_coming(numbers: IntArray) -> IntArray:
    """Return the numbers replaced by 0, 1, … in the order in which they first come, (N,)."""
    n = len(numbers)
    if not n:
        return numbers.astype(np.int64)
    first = np.full(int(numbers.max()) + 1, n, dtype=np.int64)
    np.minimum.at(first, numbers, np.arange(n))
    used = np.flatnonzero(first < n)
    place = np.empty(len(first), dtype=np.int64)
    place[used[np.argsort(first[used])]] = np.arange(len(used))
    return np.asarray(place[numbers])


class _Digests:
    """The hash of a season's votes so far, to which only new lines are added while the same votes come first."""

    MAX_KEPT = 8

    def __init__(self) -> None:
        self._kept: dict[str, tuple[IntArray, Any]] = {}
        self._lock = threading.Lock()

    def of(self, votes: CountedVotes) -> str:
        made, rows = votes.columns.made, votes.rows
        with self._lock:
            before, digest = self._kept.get(made, (rows[:0], hashlib.sha256()))
        n = len(before)
        if not np.array_equal(before, rows[:n]):
            n, digest = 0, hashlib.sha256()
        digest = digest.copy()
        for lines in votes.lines(n):
            digest.update(lines)
        with self._lock:
            self._kept.pop(made, None)
            self._kept[made] = rows, digest
            for oldest in list(self._kept)[: -self.MAX_KEPT]:
                del self._kept[oldest]
        return str(digest.hexdigest())


_digests = _Digests()
