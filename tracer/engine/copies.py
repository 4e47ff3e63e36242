"""Which documents of a trace have the same text, without reading more than where it may be so."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from tracer.engine.reader import IndexReader

HEAD_TOKENS, HEAD_BYTES = 48, 48


class DocumentPlace(NamedTuple):
    """A document in an index: its number within the shard."""

    reader: IndexReader
    shard: int
    document: int

    @property
    def n_tokens(self) -> int:
        """Return its length."""
        begin, end = self._range
        return end - begin

    def content(self, n_tokens: int | None = None) -> bytes:
        """Return the UTF-8 of its first `n_tokens` tokens, or of all."""
        begin, end = self._range
        end = end if n_tokens is None else min(end, begin + n_tokens)
        return self.reader.tokenizer.to_bytes(self.reader.shards[self.shard].tokens[begin:end])

    @property
    def _range(self) -> tuple[int, int]:
        return self.reader.shards[self.shard].token_range(self.document)


def number_copies(places: Mapping[str, DocumentPlace]) -> dict[str, int]:
    """Return a number for each document whose text another one has: equal numbers, equal texts.

    Texts are compared where lengths are equal in tokens, or, across tokenizers, where their beginnings are.
    """
    if len({place.reader.tokenizer.digest for place in places.values()}) > 1:
        alike = _repeated(places, lambda place: place.content(HEAD_TOKENS)[:HEAD_BYTES])
    else:
        alike = _repeated(places, lambda place: place.n_tokens)
    numbers: dict[str, int] = {}
    for group in alike:
        same = _repeated({id: places[id] for id in group}, lambda place: hashlib.sha256(place.content()).digest())
        for ids in same:
            numbers |= dict.fromkeys(ids, len(set(numbers.values())))
    return numbers


def _repeated(places: Mapping[str, DocumentPlace], trait: Callable[[DocumentPlace], Hashable]) -> Iterable[list[str]]:
    """Return the ids of documents that share a trait, group by group, in order."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for id, place in places.items():
        groups[trait(place)].append(id)
    return [ids for ids in groups.values() if len(ids) > 1]
