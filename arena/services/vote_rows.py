"""The votes of a board one by one, read from the tables anew each time: slow and obvious.

Boards are counted from columns (`arena.services.counted`); what this module returns is what they are held against, by
the self-audit and by tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from arena.models import Battle, Season, Verdict, Visibility, Vote, Voter
from arena.services.exclusions import excluded_at
from arena.services.slices import Slice


@dataclass(frozen=True)
class VoteRow:
    """One vote as a board counts it."""

    leaf_index: int
    battle: str
    side_a: str
    side_b: str
    verdict: str
    probability: str
    voter: str

    def line(self) -> bytes:
        """Return the vote's line of the input digest (docs/log-format.md, Counting)."""
        parts = [self.leaf_index, self.side_a, self.side_b, self.verdict, self.probability, self.voter]
        return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def votes_at(season: Season, size: int, chosen: Slice) -> list[VoteRow]:
    """Return the votes of a slice at a tree size, in the order of their close entries."""
    return list(read_votes(season, size, chosen))


def read_votes(season: Season, size: int, chosen: Slice) -> Iterator[VoteRow]:
    """Yield what `votes_at` returns; only some thousand votes are held at a time."""
    rows = Vote.objects.closed().filter(battle__season=season, battle__close__entry__index__lt=size)
    for name, value in chosen.filters:
        rows = rows.filter(**({"voter__community": value} if name == "community" else {f"battle__{name}": value}))
    if not chosen.include_excluded:
        voters, battles = excluded_at(season, size)
        rows = rows.exclude(voter_id__in=voters) if voters else rows
        rows = rows.exclude(battle_id__in=battles) if battles else rows
    if not chosen.both_bad:
        rows = rows.exclude(verdict=Verdict.BOTH_BAD)
    if chosen.since:
        rows = rows.filter(created_at__date__gte=chosen.since)
    if chosen.until:
        rows = rows.filter(created_at__date__lt=chosen.until)
    return _rows(rows, season, chosen)


def _rows(rows: Any, season: Season, chosen: Slice) -> Iterator[VoteRow]:
    voters = Voter.objects.filter(pk__in=Battle.objects.filter(season=season).order_by().values("voter"))
    digests = {voter.pk: voter.digest(season) for voter in voters}
    allowed = set(chosen.pre_release)
    columns = (
        "battle__close__entry__index",
        "battle_id",
        "battle__contestant_a_id",
        "battle__contestant_b_id",
        "verdict",
        "battle__p_numerator",
        "battle__p_denominator",
        "voter_id",
        "battle__is_pre_release",
    )
    hidden = {str(pk) for pk in season.contestants.filter(visibility=Visibility.PRIVATE).values_list("pk", flat=True)}
    for index, battle, a, b, verdict, p, q, voter, early in (
        rows.order_by("battle__close__entry__index").values_list(*columns).iterator(chunk_size=5000)
    ):
        sides = str(a), str(b)
        if early and not (allowed and all(side in allowed for side in sides if side in hidden)):
            continue
        yield VoteRow(index, str(battle), *sides, verdict, f"{p}/{q}", digests[voter])


def input_digest(votes: Iterable[VoteRow]) -> str:
    """Return the digest of a board's input."""
    digest = hashlib.sha256()
    for vote in votes:
        digest.update(vote.line())
    return digest.hexdigest()
