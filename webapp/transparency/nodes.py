"""Reads hashes of complete subtrees from the database."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from webapp.transparency.merkle import Place
from webapp.transparency.models import Entry, Node

_CHUNK = 200


def read_nodes(places: Iterable[Place]) -> dict[Place, bytes]:
    """Return the hashes at the places that exist."""
    known: dict[Place, bytes] = {}
    leaves = [position for level, position in places if level == 0]
    inner = iter([place for place in places if place[0] > 0])
    for index, value in Entry.objects.filter(index__in=leaves).values_list("index", "leaf_hash"):
        assert index is not None
        known[0, index] = bytes(value)
    while chunk := list(islice(inner, _CHUNK)):
        rows = Node.objects.filter(pk__in=chunk).values_list("level", "position", "hash")
        known.update({(level, position): bytes(value) for level, position, value in rows})
    return known
