"""Looks at the transparency log: its key, every leaf's hash, every checkpoint's root, and entries without a place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from webapp.operations.findings import Finding, fault, ok, warning
from webapp.transparency import keys, soundness
from webapp.transparency.merkle import Frontier, leaf_hash
from webapp.transparency.models import Checkpoint, Entry

MAX_WAIT = timedelta(minutes=1)
RESTORE = (
    "Rows were changed behind the site's back. Restore the database from a backup of before, and check it with "
    "manage.py export_log and the verifier."
)


def check_votes() -> Iterator[Finding]:
    """Tell whether this process refuses votes because it found the log damaged; it serves all else."""
    damage = soundness.known_damage()
    yield warning("log", f"votes are refused: {damage}", RESTORE) if damage else ok("log", "votes are taken")


def check_log() -> Iterator[Finding]:
    """Compute the whole tree again from the stored leaves."""
    roots = dict(Checkpoint.objects.values_list("tree_size", "root_hash"))
    if roots:
        try:
            keys.signer()
        except ImproperlyConfigured as error:
            yield fault("log", str(error), "Put the key back: nothing can be entered in the log without it.")
    wrong = _first_wrong({size: bytes(root) for size, root in roots.items()})
    yield fault("log", wrong, RESTORE) if wrong else ok("log", f"{max(roots, default=0):,} leaves, all as signed")
    oldest = Entry.objects.filter(index=None).order_by("at").values_list("at", flat=True).first()
    if oldest is not None and timezone.now() - oldest > MAX_WAIT:
        remedy = "Look at beat and at the worker of queue rank; then at their logs."
        yield warning("log", f"entries wait for their place since {oldest:%Y-%m-%d %H:%M} UTC", remedy)


def _first_wrong(roots: dict[int, bytes]) -> str:
    """Return what is wrong first, or nothing."""
    tree, left = Frontier(), dict(roots)
    rows = Entry.objects.filter(index__isnull=False).order_by("index").values_list("index", "leaf", "leaf_hash")
    for index, leaf, stored in rows.iterator(chunk_size=2000):
        if index != tree.size:
            return f"leaf {tree.size} is missing"
        if leaf_hash(leaf.encode()) != bytes(stored):
            return f"leaf {index} is not what was entered"
        list(tree.append(bytes(stored)))
        root = left.pop(tree.size, None)
        if root is not None and root != tree.root():
            return f"the tree of {tree.size} leaves does not have the root of its checkpoint"
    left.pop(0, None)
    return f"leaf {tree.size} is missing: checkpoints cover {max(left)}" if left else ""
