"""The Merkle tree of RFC 6962, section 2: hashes, proofs, and their checks, over any store of nodes.

A complete subtree is named by (level, position): it covers the leaves from position · 2**level to
below (position + 1) · 2**level; level 0 are the leaves. Only complete subtrees are ever stored:
they don't change when the tree grows. Knows nothing of databases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Place = tuple[int, int]
Range = tuple[int, int]
Read = Callable[[Place], bytes]

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 ‖ leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def complete_subtrees(start: int, end: int) -> list[Place]:
    """Return the places of the largest complete subtrees of the leaves [start, end), left to right.

    The range must be one that RFC 6962 splits a tree into: `start` is a multiple of the largest
    power of two that is not above its length.
    """
    places = []
    while start < end:
        level = (end - start).bit_length() - 1
        places.append((level, start >> level))
        start += 1 << level
    return places


def range_hash(wanted: Range, read: Read) -> bytes:
    """Return the hash of the leaves of a range, joined from its complete subtrees."""
    hashes = [read(place) for place in complete_subtrees(*wanted)]
    return fold(hashes)


def fold(hashes: list[bytes]) -> bytes:
    """Join the hashes of complete subtrees, largest first, into that of the whole."""
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def inclusion_ranges(index: int, tree_size: int) -> list[Range]:
    """Return the ranges whose hashes prove leaf `index` in a tree of `tree_size`, from the leaf up (2.1.1)."""
    if not 0 <= index < tree_size:
        raise ValueError(f"leaf {index} is not in a tree of {tree_size}")
    path: list[Range] = []
    start, end = 0, tree_size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """Return the ranges whose hashes prove that the tree of `first` leaves begins that of `second` (2.1.2)."""
    if not 0 < first <= second:
        raise ValueError(f"a tree of {first} leaves cannot begin one of {second}")
    path: list[Range] = []
    start, end, is_whole = 0, second, True
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, is_whole = middle, False
    return ([] if is_whole else [(start, end)]) + path[::-1]


def _split(n: int) -> int:
    """Return the largest power of two below `n`, n ≥ 2."""
    return 1 << ((n - 1).bit_length() - 1)


@dataclass(frozen=True)
class Step:
    """One step of a check: two hashes joined into the next one; `proof_is_left` says where the proof's stood."""

    left: bytes
    right: bytes
    joined: bytes
    proof_is_left: bool


def inclusion_steps(leaf: bytes, index: int, tree_size: int, proof: list[bytes]) -> list[Step]:
    """Return the steps from a leaf hash to the root (RFC 9162, 2.1.3.2); the last `joined` is the root.

    Raise `ValueError` when the proof has another length than such a proof.
    """
    ranges = inclusion_ranges(index, tree_size)
    if len(ranges) != len(proof):
        raise ValueError(f"the proof has {len(proof)} hashes, not {len(ranges)}")
    steps, current = [], leaf
    for (start, _), sibling in zip(ranges, proof, strict=True):
        is_left = start < index
        left, right = (sibling, current) if is_left else (current, sibling)
        current = node_hash(left, right)
        steps.append(Step(left, right, current, is_left))
    return steps


def proves_inclusion(root: bytes, leaf: bytes, index: int, tree_size: int, proof: list[bytes]) -> bool:
    """Say whether `proof` shows that `leaf` (a hash) stands at `index` below `root`."""
    try:
        steps = inclusion_steps(leaf, index, tree_size, proof)
    except ValueError:
        return False
    return (steps[-1].joined if steps else leaf) == root


def consistency_roots(first: int, second: int, first_root: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """Return the roots of both trees as they follow from the proof (RFC 9162, 2.1.4.2).

    Raise `ValueError` when the proof has another length than such a proof.
    """
    ranges = consistency_ranges(first, second)
    if len(ranges) != len(proof):
        raise ValueError(f"the proof has {len(proof)} hashes, not {len(ranges)}")
    hashes = list(zip(ranges, proof, strict=True))
    if first == second or first & (first - 1) == 0:  # the first tree is on the path itself: its root is the start
        old = new = first_root
    else:
        old = new = hashes.pop(0)[1]
    for (start, _), sibling in hashes:
        if start < first:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return old, new


def proves_consistency(first: int, first_root: bytes, second: int, second_root: bytes, proof: list[bytes]) -> bool:
    """Say whether `proof` shows that the first tree is the beginning of the second."""
    try:
        return consistency_roots(first, second, first_root, proof) == (first_root, second_root)
    except ValueError:
        return False


@dataclass
class Frontier:
    """The right edge of a growing tree: hashes of its complete subtrees, largest first."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> Iterator[tuple[Place, bytes]]:
        """Add a leaf's hash; yield every inner node that it completes, lowest first."""
        index, level = self.size, 0
        self.hashes.append(leaf)
        self.size += 1
        while index >> level & 1:
            right, left = self.hashes.pop(), self.hashes.pop()
            self.hashes.append(node_hash(left, right))
            level += 1
            yield (level, index >> level), self.hashes[-1]

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        return fold(self.hashes)
