"""Slow, obvious twins of what `arena.services.counted` takes from columns, and columns made from plain rows."""

from __future__ import annotations

import hashlib
import json
from math import fsum
from typing import Any

import numpy as np

from arena.models import Overlap, Policy, Season
from arena.rating import VoteTable
from arena.services.counted import CountedVotes
from arena.services.overlaps import settings_digest, settings_of, share
from arena.services.vote_columns import CODES, OVERLAPS, VOTERS, VOTES, WORDS, VoteColumns
from arena.services.vote_rows import VoteRow

Shares = dict[str, tuple[float, float]]


def columns_of(rows: list[VoteRow]) -> CountedVotes:
    """Return rows as counted votes; a voter is named by any text."""
    names = sorted({side for row in rows for side in (row.side_a, row.side_b)}, reverse=True)
    voters = sorted({row.voter for row in rows}, reverse=True)
    votes = np.zeros(len(rows), VOTES)
    for place, row in enumerate(rows):
        p, q = map(int, row.probability.split("/"))
        votes[place]["leaf"], votes[place]["verdict"] = row.leaf_index, CODES[row.verdict]
        votes[place]["p"], votes[place]["numerator"], votes[place]["denominator"] = p / q, p - 1, q - 1
        votes[place]["side_a"], votes[place]["side_b"] = names.index(row.side_a), names.index(row.side_b)
        votes[place]["voter"] = voters.index(row.voter)
    records = np.frombuffer(b"".join(bytes(16) + bytes.fromhex(digest_of(voter)) for voter in voters), VOTERS)
    words = {**{name: [] for name in WORDS}, "contestant": names}
    made = hashlib.sha256(repr(rows).encode()).hexdigest()
    columns = VoteColumns(made, len(rows), votes, records, np.zeros(0, OVERLAPS), words)
    return CountedVotes(columns, np.arange(len(rows)))


def digest_of(voter: str) -> str:
    """Return the digest that stands for a voter in columns of plain rows."""
    return hashlib.sha256(voter.encode()).hexdigest()


def table_of(rows: list[VoteRow], contestants: list[str]) -> VoteTable:
    """Return the table of votes by the general way over plain values."""
    return VoteTable.from_columns(
        [row.side_a for row in rows],
        [row.side_b for row in rows],
        [row.verdict for row in rows],
        p_pair=[int(p) / int(q) for p, q in (row.probability.split("/") for row in rows)],
        voter=[row.voter for row in rows],
        contestants=contestants,
    )


def same_tables(one: VoteTable, other: VoteTable) -> bool:
    """Tell whether two tables hold the same to the last bit, types of the columns included."""
    if one.contestants != other.contestants:
        return False
    columns = [(getattr(one, n), getattr(other, n)) for n in ("side_a", "side_b", "verdict", "p_pair", "voter")]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in columns)


def count_pairs(rows: list[VoteRow]) -> list[list[Any]]:
    """Return the board's counts of pairs."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        turned = row.side_a > row.side_b
        pair = (row.side_b, row.side_a) if turned else (row.side_a, row.side_b)
        place = {"a": int(turned), "b": 1 - int(turned), "tie": 2, "both_bad": 3}[row.verdict]
        counts.setdefault(pair, [0, 0, 0, 0])[place] += 1
    return [[*pair, *four] for pair, four in sorted(counts.items())]


def shares_at(season: Season, size: int, policy: Policy) -> Shares:
    """Return the shares of both answers by battle: measured below a tree size with the settings in force there."""
    rows = Overlap.objects.filter(
        battle__season=season,
        outcome="measured",
        entry__index__lt=size,
        settings=settings_digest(settings_of(policy)),
    )
    return {
        str(row.battle_id): (share(row.covered_a, row.characters_a), share(row.covered_b, row.characters_b))
        for row in rows
    }


def mean_shares(rows: list[VoteRow], shares: Shares) -> dict[str, Any]:
    """Return the overlap column of a board."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in zip((row.side_a, row.side_b), shares.get(row.battle, ()), strict=False):
            found.setdefault(name, []).append(value)
    means = {name: {"share": round(fsum(own) / len(own), 4), "n": len(own)} for name, own in sorted(found.items())}
    return {"n_without": sum(row.battle not in shares for row in rows), "contestants": means}


def line_of(row: VoteRow) -> bytes:
    """Return the line of a vote whose voter is named by any text."""
    parts = [row.leaf_index, row.side_a, row.side_b, row.verdict, row.probability, digest_of(row.voter)]
    return json.dumps(parts, separators=(",", ":")).encode() + b"\n"
