"""Gives committed entries their leaf index, extends the tree and signs a checkpoint.

All of it is one transaction under one lock, so a process killed at any point leaves the log as it
was. Writers of entries never take this lock. Nothing is signed that does not extend the last
checkpoint: its root is recomputed from the stored nodes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.db import connection, transaction
from django.db.models import Max

from webapp.transparency.errors import LogDamagedError
from webapp.transparency.keys import signer
from webapp.transparency.merkle import Frontier, complete_subtrees
from webapp.transparency.models import Checkpoint, Entry, Node
from webapp.transparency.nodes import read_nodes
from webapp.transparency.notes import checkpoint_text

MAX_BATCH = 5_000
LOCK_ID = 0x6661697267726E64  # "fairgrnd": no other advisory lock of the site has this number
log = structlog.get_logger(__name__)


def sequence_entries() -> Checkpoint | None:
    """Sequence all entries committed by now; return the newest checkpoint that this call signed, or None.

    Must not run inside a transaction. Raise `LogDamagedError` when the stored tree contradicts its
    last checkpoint, `ImproperlyConfigured` when this host's key is not the log's.
    """
    newest = None
    while Entry.objects.filter(index__isnull=True).exists():
        checkpoint = _sequence_batch()
        if checkpoint is None:
            break
        newest = checkpoint
    return newest


def _sequence_batch() -> Checkpoint | None:
    with _locked():
        pending = list(
            Entry.objects.filter(index__isnull=True).order_by("serial").values_list("serial", "leaf_hash")[:MAX_BATCH]
        )
        if not pending:
            return None
        last = Checkpoint.objects.order_by("number").last()
        frontier = load_frontier(last)
        first_index = frontier.size
        nodes = [
            Node(level=level, position=position, hash=value)
            for _, leaf in pending
            for (level, position), value in frontier.append(bytes(leaf))
        ]
        _assign([(first_index + i, serial) for i, (serial, _) in enumerate(pending)])
        Node.objects.bulk_create(nodes, batch_size=1_000)
        return _sign(frontier, number=last.number + 1 if last else 0)


@contextmanager
def _locked() -> Iterator[None]:
    """Hold the one lock of the log for a transaction. SQLite's IMMEDIATE transaction is that lock."""
    with transaction.atomic(durable=True):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_ID])
        yield


def load_frontier(last: Checkpoint | None) -> Frontier:
    """Return the tree's right edge; raise `LogDamagedError` unless it has the last checkpoint's root."""
    size = last.tree_size if last else 0
    highest = Entry.objects.aggregate(highest=Max("index"))["highest"]
    n_leaves = 0 if highest is None else highest + 1
    if n_leaves != size:
        raise LogDamagedError(f"The log has leaves up to {n_leaves}, its last checkpoint covers {size}.")
    places = complete_subtrees(0, size)
    known = read_nodes(places)
    if len(known) != len(places):
        missing = next(place for place in places if place not in known)
        raise LogDamagedError(f"The log's tree lacks node {missing[0]}/{missing[1]}.")
    frontier = Frontier(size, [known[place] for place in places])
    if last is not None and frontier.root() != bytes(last.root_hash):
        raise LogDamagedError(f"The stored tree of {size} leaves does not have the root of checkpoint {last.number}.")
    return frontier


def _assign(rows: list[tuple[int, int]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany('UPDATE transparency_entry SET "index" = %s WHERE serial = %s AND "index" IS NULL', rows)


def _sign(frontier: Frontier, *, number: int) -> Checkpoint:
    key = signer()
    root = frontier.root()
    note = key.sign(checkpoint_text(key.verifier.name, frontier.size, root))
    return Checkpoint.objects.create(number=number, tree_size=frontier.size, root_hash=root, note=note)


def sequence_quietly() -> None:
    """Sequence after a commit in the embedded mode; a failure is logged, the entries wait for the next call."""
    try:
        sequence_entries()
    except Exception:
        log.exception("entries could not be sequenced; they wait")
