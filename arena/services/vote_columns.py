"""The closed votes of a season as columns in the data folder, each read from the database once.

What is closed below a tree size never changes: the tables are written once, and the log's root at that size names
them. So the columns are of a state of the log, extended by what came after it, and made anew where this database's
log has another root there. What may change later (who is set aside, communities) is not in them.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import QuerySet

from arena.columns import ColumnFolder, Head, Records, Tables
from arena.models import Overlap, OverlapOutcome, Season, Vote, Voter
from arena.rating.verdicts import VERDICTS
from webapp.transparency.models import Checkpoint as LogCheckpoint

VERSION = 1
BATCH = 20_000
NEAR = 100_000  # entries that take about a second to look through
#: p = numerator / denominator; of those one less is kept, as a denominator may be 2**64. day: of the vote, from year 1.
VOTES = np.dtype(
    [
        ("leaf", "<i8"),
        ("p", "<f8"),
        ("numerator", "<u8"),
        ("denominator", "<u8"),
        ("side_a", "<i4"),
        ("side_b", "<i4"),
        ("voter", "<i4"),
        ("day", "<i4"),
        ("category", "<i4"),
        ("discipline", "<i4"),
        ("language", "<i4"),
        ("verdict", "i1"),
        ("is_early", "?"),
    ]
)
VOTERS = np.dtype([("id", "V16"), ("digest", "V32")])
OVERLAPS = np.dtype(
    [("leaf", "<i8"), ("place", "<i8"), ("settings", "<i4"), ("covered", "<i8", 2), ("characters", "<i8", 2)]
)
CODES = {verdict.value: code for code, verdict in enumerate(VERDICTS)}
LAYOUT = {"votes": VOTES, "voters": VOTERS, "overlaps": OVERLAPS}
WORDS = ("contestant", "category", "discipline", "language", "settings")
_reading = threading.Lock()


@dataclass(frozen=True, eq=False)
class VoteColumns:
    """Records of a season's closed votes in the order of their close entries, for all entries below `size`.

    votes (N,): numbers of contestants, categories, … are places in `words`. voters (V,): in the order of their
    first vote. overlaps (M,): measured ones in the order of their entries, `place` of the vote.
    """

    made: str
    size: int
    votes: Records
    voters: Records
    overlaps: Records
    words: dict[str, list[str]]


def columns_at(season: Season, size: int) -> VoteColumns:
    """Return the season's columns, for all entries below `size` at least; what is new is read from the database.

    The log must have that many entries. Raises `OSError` where the data folder cannot be written.
    """
    folder = _folder(season)
    found = _sound(folder)
    if found is None or found.head.size < size:
        with folder.locked():
            found = _extend(season, folder)
    head = found.head
    words = {name: head.words.get(name, []) for name in WORDS}
    records = found.records
    return VoteColumns(head.made, head.size, records["votes"], records["voters"], records["overlaps"], words)


def are_near(season: Season, size: int) -> bool:
    """Tell whether the columns are there and lack few entries at most, so that `columns_at` is quick."""
    found = _sound(_folder(season))
    return size - (found.head.size if found else 0) <= NEAR


def _folder(season: Season) -> ColumnFolder:
    return _folder_at(Path(settings.DATA_DIR) / "arena" / f"votes-{season.pk}")


@lru_cache(maxsize=64)
def _folder_at(path: Path) -> ColumnFolder:
    return ColumnFolder(path, LAYOUT, VERSION)


def _sound(folder: ColumnFolder) -> Tables | None:
    """Return what is kept, if it is whole and of this database's log."""
    with _reading:
        found = folder.read()
    if found is None:
        return None
    roots = LogCheckpoint.objects.filter(tree_size=found.head.size).values_list("root_hash", flat=True)
    return found if [bytes(root).hex() for root in roots] == [found.head.root] else None


def _extend(season: Season, folder: ColumnFolder) -> Tables:
    """Read what came after the kept state, up to the newest checkpoint. Only under the folder's lock."""
    found = _sound(folder) or folder.begin()
    newest = LogCheckpoint.objects.order_by("number").last()
    if newest is None or newest.tree_size <= found.head.size:
        return found
    head, words, voters = found.head, _Words(found.head), _Voters(season, found.records["voters"])
    leaves = [found.records["votes"]["leaf"]]
    for rows in _batches(_new_votes(season, head.size, newest.tree_size)):
        votes = _vote_records(rows, words, voters)
        leaves.append(votes["leaf"])
        head = folder.append(head, "votes", votes)
    head = folder.append(head, "voters", voters.new_records())
    closed = np.concatenate(leaves)
    for rows in _batches(_new_overlaps(season, head.size, newest.tree_size)):
        head = folder.append(head, "overlaps", _overlap_records(rows, words, closed))
    folder.put(Head(head.made, newest.tree_size, newest.root_hex, head.extents, words.found))
    extended = _sound(folder)
    if extended is None:
        raise OSError(f"what was just written to {folder.folder} does not read as it was written")
    return extended


def _batches(rows: QuerySet[Any]) -> Iterator[list[tuple[Any, ...]]]:
    found = iter(rows.iterator(chunk_size=5000))
    while batch := list(islice(found, BATCH)):
        yield batch


class _Words:
    """Numbers of words, in the order in which they came."""

    def __init__(self, head: Head) -> None:
        self.found = {name: list(head.words.get(name, [])) for name in WORDS}
        self._places = {name: {word: k for k, word in enumerate(found)} for name, found in self.found.items()}

    def place(self, name: str, word: str) -> int:
        """Return the number of a word, a new one if it was not there."""
        places = self._places[name]
        if word not in places:
            places[word] = len(places)
            self.found[name].append(word)
        return places[word]


class _Voters:
    """Numbers of a season's voters, in the order in which their first votes closed."""

    def __init__(self, season: Season, known: Records) -> None:
        self._season = season
        self._places = {bytes(voter): k for k, voter in enumerate(known["id"])}
        self._new: list[bytes] = []

    def places(self, ids: list[uuid.UUID]) -> list[int]:
        """Return the voters' numbers; those of new ones come with their digests from the database."""
        missing = {voter.bytes: voter for voter in ids if voter.bytes not in self._places}
        voters = Voter.objects.in_bulk(list(missing.values()))
        for key, voter_id in missing.items():
            self._places[key] = len(self._places)
            self._new.append(key + bytes.fromhex(voters[voter_id].digest(self._season)))
        return [self._places[voter.bytes] for voter in ids]

    def new_records(self) -> Records:
        """Return the records of those that were not known."""
        return np.frombuffer(b"".join(self._new), dtype=VOTERS)


def _new_votes(season: Season, begin: int, end: int) -> QuerySet[Any]:
    rows = Vote.objects.closed().filter(
        battle__season=season, battle__close__entry__index__gte=begin, battle__close__entry__index__lt=end
    )
    return rows.order_by("battle__close__entry__index").values_list(
        "battle__close__entry__index",
        "battle__contestant_a_id",
        "battle__contestant_b_id",
        "verdict",
        "battle__p_numerator",
        "battle__p_denominator",
        "voter_id",
        "battle__is_pre_release",
        "battle__category",
        "battle__discipline",
        "battle__language",
        "created_at",
    )


def _vote_records(rows: list[tuple[Any, ...]], words: _Words, voters: _Voters) -> Records:
    numbers = voters.places([row[6] for row in rows])
    records = [
        (
            leaf,
            int(p) / int(q),
            int(p) - 1,
            int(q) - 1,
            words.place("contestant", str(a)),
            words.place("contestant", str(b)),
            number,
            created_at.date().toordinal(),
            words.place("category", category),
            words.place("discipline", discipline),
            words.place("language", language),
            CODES[verdict],
            is_early,
        )
        for (leaf, a, b, verdict, p, q, _, is_early, category, discipline, language, created_at), number in zip(
            rows, numbers, strict=True
        )
    ]
    return np.array(records, dtype=VOTES)


def _new_overlaps(season: Season, begin: int, end: int) -> QuerySet[Any]:
    rows = Overlap.objects.filter(
        battle__season=season, outcome=OverlapOutcome.MEASURED, entry__index__gte=begin, entry__index__lt=end
    )
    return rows.order_by("entry__index").values_list(
        "entry__index",
        "battle__close__entry__index",
        "settings",
        "covered_a",
        "covered_b",
        "characters_a",
        "characters_b",
    )


def _overlap_records(rows: list[tuple[Any, ...]], words: _Words, closed: Records) -> Records:
    places = np.searchsorted(closed, [row[1] for row in rows])
    records = [
        (leaf, place, words.place("settings", settings_digest), (a, b), (n, m))
        for (leaf, _, settings_digest, a, b, n, m), place in zip(rows, places.tolist(), strict=True)
    ]
    return np.array(records, dtype=OVERLAPS)
