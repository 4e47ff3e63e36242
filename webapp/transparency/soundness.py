"""Holds the stored log against its own last checkpoint when a process starts, and finds the first wrong leaf.

At start the newest leaves are hashed anew and joined to the stored nodes of all before them: what comes
out must be the signed root. That costs the same for a log of any length. Only when it fails, or when
asked to, every leaf, node and checkpoint is computed again. A process that found damage takes no votes
until the log is mended, since nobody could tell later what such a vote was entered in; all else goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from webapp.transparency.errors import LogDamagedError, LogUnsoundError
from webapp.transparency.keys import verifier
from webapp.transparency.merkle import Frontier, Place, complete_subtrees, leaf_hash
from webapp.transparency.models import Checkpoint, Entry, Node
from webapp.transparency.nodes import read_nodes
from webapp.transparency.notes import NoteError, parse_checkpoint
from webapp.transparency.proofs import newest_checkpoint

TAIL = 2_000
_BATCH = 2_000
LOOK_AGAIN_S = 60
log = structlog.get_logger(__name__)


@dataclass
class _Found:
    """What this process knows. damage: empty while the log is sound; looked_at: by the monotonic clock."""

    damage: str = ""
    looked_at: float = 0.0


_found = _Found()


def check_at_start() -> None:
    """Warn as loudly as a log can when the stored log is damaged, and refuse votes from then on; pages stay up.

    The sequencer by itself refuses to sign only where the tree's right edge is wrong.
    """
    _found.damage, _found.looked_at = "", time.monotonic()
    try:
        check_log()
    except LogDamagedError as error:
        _found.damage = str(error)
        log.critical("THE TRANSPARENCY LOG IS DAMAGED; restore it from a backup", reason=str(error))
    except ImproperlyConfigured as error:
        log.critical("the transparency log has another key than this host", reason=str(error))
    except DatabaseError as error:
        log.warning("the transparency log could not be checked at start", reason=str(error))


def known_damage() -> str:
    """Return what is wrong with the log as far as this process knows; empty for nothing."""
    return _found.damage


def require_sound() -> None:
    """Raise `LogUnsoundError` in a process that found the log damaged; it looks again once a minute at most."""
    if not _found.damage:
        return
    if time.monotonic() - _found.looked_at >= LOOK_AGAIN_S:
        _found.looked_at = time.monotonic()
        last = newest_checkpoint()
        if last is None or _tail_is_right(last):
            _found.damage = ""
            return
    raise LogUnsoundError(
        f"The arena's log is damaged, so no vote can be entered in it; nothing of this was stored. {_found.damage} "
        "The operator has to restore it from a backup.",
        retry_after_s=LOOK_AGAIN_S,
    )


def check_log(*, whole: bool = False) -> int:
    """Return the number of leaves that the last checkpoint covers, 0 for an empty log.

    Raise `LogDamagedError`, which names the first wrong leaf, when the stored tree is not the one that
    was signed. whole: compute everything again, rather than the newest leaves.
    """
    last = newest_checkpoint()
    if last is None:
        return 0
    if whole or not _tail_is_right(last):
        wrong = next(_wrong_leaves(last.tree_size), None)
        if wrong is not None:
            raise LogDamagedError(f"Leaf {wrong[0]}: {wrong[1]}.")
        if not _tail_is_right(last):
            raise LogDamagedError(f"Checkpoint {last.number} does not say what its own note says.")
    return last.tree_size


def _tail_is_right(last: Checkpoint) -> bool:
    """Tell whether stored nodes and newly hashed newest leaves give the root that the last note signed."""
    try:
        _, size, root = parse_checkpoint(verifier().open(last.note))
    except NoteError:
        return False
    if (size, root) != (last.tree_size, bytes(last.root_hash)):
        return False
    start = max(0, size - TAIL)
    places = complete_subtrees(0, start)
    known = read_nodes(places)
    leaves = list(
        Entry.objects.filter(index__gte=start, index__lt=size).order_by("index").values_list("leaf", flat=True)
    )
    if len(known) != len(places) or len(leaves) != size - start:
        return False
    frontier = Frontier(start, [known[place] for place in places])
    for leaf in leaves:
        for _ in frontier.append(leaf_hash(leaf.encode())):
            pass
    return frontier.root() == root


def _wrong_leaves(size: int) -> Iterator[tuple[int, str]]:
    """Yield index and fault of what is wrong among the first `size` leaves, in their order."""
    roots = {c.tree_size: c for c in Checkpoint.objects.all().iterator()}
    frontier, sound = Frontier(), 0
    for start in range(0, size, _BATCH):
        rows = Entry.objects.filter(index__gte=start, index__lt=min(start + _BATCH, size)).order_by("index")
        found = {index: (leaf, bytes(stored)) for index, leaf, stored in rows.values_list("index", "leaf", "leaf_hash")}
        produced: dict[Place, bytes] = {}
        for index in range(start, min(start + _BATCH, size)):
            if index not in found:
                yield index, "is missing"
                return
            leaf, stored = found[index]
            if leaf_hash(leaf.encode()) != stored:
                yield index, "does not have its hash"
                return
            produced.update(frontier.append(stored))
            checkpoint = roots.get(index + 1)
            if checkpoint is not None and frontier.root() != bytes(checkpoint.root_hash):
                yield from _wrong_nodes(produced)  # they tell more exactly where
                yield sound, f"this or one up to {index} is not what checkpoint {checkpoint.number} signed"
                return
            sound = index + 1 if checkpoint is not None else sound
        yield from _wrong_nodes(produced)


def _wrong_nodes(produced: Mapping[Place, bytes]) -> Iterator[tuple[int, str]]:
    """Yield the first leaf of every stored node that is missing or another than its leaves give, in order."""
    stored: dict[Place, bytes] = {}
    for level in sorted({level for level, _ in produced}):
        positions = [position for at, position in produced if at == level]
        rows = Node.objects.filter(level=level, position__gte=min(positions), position__lte=max(positions))
        stored |= {(level, position): bytes(value) for position, value in rows.values_list("position", "hash")}
    for (level, position), value in sorted(
        produced.items(), key=lambda item: ((item[0][1] + 1) << item[0][0], item[0])
    ):
        if stored.get((level, position)) != value:
            first, last = position << level, ((position + 1) << level) - 1
            fault = "another" if (level, position) in stored else "no"
            yield first, f"it and those up to {last} have {fault} stored node {level}/{position} above them"
