"""Reads the log: its newest checkpoint, entries by address, proofs of inclusion and of consistency.

Every proof comes from the stored nodes of complete subtrees in a few queries, whatever the log's size.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.errors import BadInputError, NotFoundError
from webapp.transparency.merkle import (
    Range,
    Step,
    complete_subtrees,
    consistency_ranges,
    consistency_roots,
    fold,
    inclusion_ranges,
    inclusion_steps,
)
from webapp.transparency.models import Checkpoint, Entry
from webapp.transparency.nodes import read_nodes


@dataclass(frozen=True)
class InclusionProof:
    """That a leaf stands at `index` in the tree of `tree_size` leaves with `root` (RFC 6962, 2.1.1).

    hashes: from the leaf up. checkpoint: the signed one of this tree size, where there is one.
    """

    index: int
    tree_size: int
    leaf: bytes
    root: bytes
    hashes: list[bytes]
    checkpoint: Checkpoint | None

    def steps(self) -> list[Step]:
        """Return what a checker computes, from the leaf to the root."""
        return inclusion_steps(self.leaf, self.index, self.tree_size, self.hashes)

    @property
    def holds(self) -> bool:
        """Whether the steps end at the root of the checkpoint."""
        steps = self.steps()
        return self.checkpoint is not None and (steps[-1].joined if steps else self.leaf) == self.root


@dataclass(frozen=True)
class ConsistencyProof:
    """That the tree of `first` leaves is the beginning of the tree of `second` leaves (RFC 6962, 2.1.2)."""

    first: int
    second: int
    first_root: bytes
    second_root: bytes
    hashes: list[bytes]

    @property
    def holds(self) -> bool:
        """Whether both roots follow from the proof."""
        roots = consistency_roots(self.first, self.second, self.first_root, self.hashes)
        return roots == (self.first_root, self.second_root)


def newest_checkpoint() -> Checkpoint | None:
    """Return the checkpoint of the whole log, or None while it has no leaf."""
    return Checkpoint.objects.order_by("number").last()


def require_checkpoint(tree_size: int | None = None) -> Checkpoint:
    """Return the checkpoint of a tree size, the newest by default; raise `NotFoundError`."""
    found = newest_checkpoint() if tree_size is None else Checkpoint.objects.filter(tree_size=tree_size).first()
    if found is None:
        what = (
            "The log is empty: it has no checkpoint yet."
            if tree_size is None
            else (f"No checkpoint was signed at {tree_size} leaves. The list of checkpoints names those that were.")
        )
        raise NotFoundError(what)
    return found


def find_entry(name: str) -> Entry:
    """Return an entry by its id or by its leaf index; raise `NotFoundError`."""
    found = None
    if name.isascii() and name.isdecimal() and len(name) < 19:
        found = Entry.objects.filter(index=int(name)).first()
    else:
        try:
            found = Entry.objects.filter(id=uuid.UUID(name)).first()
        except ValueError:
            found = None
    if found is None:
        raise NotFoundError(f"The log has no entry {name[:40]}.")
    return found


def prove_inclusion(entry: Entry, tree_size: int | None = None) -> InclusionProof:
    """Return the proof that an entry stands in the tree of `tree_size` leaves.

    By default that is the tree of the newest checkpoint. Raise `NotFoundError` while the entry has
    no place yet, `BadInputError` for a tree that does not hold it.
    """
    checkpoint = newest_checkpoint()
    if entry.index is None or checkpoint is None:
        raise NotFoundError("The entry is written and gets its place in the log within seconds. Ask again then.")
    size = checkpoint.tree_size if tree_size is None else tree_size
    if not entry.index < size <= checkpoint.tree_size:
        raise BadInputError(
            f"tree_size must lie from {entry.index + 1} to {checkpoint.tree_size}: the tree must hold the entry.",
            field="tree_size",
        )
    ranges = inclusion_ranges(entry.index, size)
    root, *hashes = _range_hashes([(0, size), *ranges])
    signed = Checkpoint.objects.filter(tree_size=size).first()
    return InclusionProof(entry.index, size, bytes(entry.leaf_hash), root, hashes, signed)


def prove_consistency(first: int, second: int | None = None) -> ConsistencyProof:
    """Return the proof that the tree of `first` leaves begins that of `second`, by default the newest checkpoint's.

    Raise `BadInputError` unless 0 < first ≤ second ≤ the newest tree size.
    """
    newest = require_checkpoint().tree_size
    second = newest if second is None else second
    if not 0 < first <= newest:
        raise BadInputError(f"first must lie from 1 to {newest}.", field="first")
    if not first <= second <= newest:
        raise BadInputError(f"second must lie from {first} to {newest}.", field="second")
    one, two, *hashes = _range_hashes([(0, first), (0, second), *consistency_ranges(first, second)])
    return ConsistencyProof(first, second, one, two, hashes)


def _range_hashes(ranges: Sequence[Range]) -> list[bytes]:
    places = [complete_subtrees(*wanted) for wanted in ranges]
    known = read_nodes({place for group in places for place in group})
    return [fold([known[place] for place in group]) for group in places]
