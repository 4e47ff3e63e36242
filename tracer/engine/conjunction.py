"""Documents that fulfil an AND of ORs of phrases, found in the suffix array.

The stock engine's own `find_cnf` looks at one neighbour of each occurrence only and so misses documents;
this one joins by document. Memory is bounded by `max_occurrences` a clause and shard: of more frequent
clauses a seeded sample of ranks is taken, and the result says that it is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracer.engine.occurrences import TokenIds, rank_ranges_of
from tracer.engine.reader import IndexReader, Shard

Pointers = npt.NDArray[np.int64]
MAX_OCCURRENCES = 500_000


@dataclass(frozen=True)
class FulfillingDocument:
    """A document with the byte pointer of one occurrence of the first clause."""

    shard: int
    document: int
    pointer: int


def find_fulfilling(
    reader: IndexReader, cnf: Sequence[Sequence[TokenIds]], *, max_occurrences: int = MAX_OCCURRENCES, seed: int = 0
) -> tuple[list[FulfillingDocument], bool]:
    """Return the documents with at least one phrase of every clause, in order, and whether some were sampled away."""
    ranges = [[rank_ranges_of(reader, ids) for ids in clause] for clause in cnf]
    random = np.random.default_rng(seed)
    found: list[FulfillingDocument] = []
    is_sampled = False
    for number, shard in enumerate(reader.shards):
        pointers = []
        for clause in ranges:
            own, sampled = _pointers(shard, [r[number] for r in clause], max_occurrences, random)
            is_sampled |= sampled
            pointers.append(own)
        documents = [_documents(shard, own) for own in pointers]
        common, first = np.unique(documents[0], return_index=True)
        for other in documents[1:]:
            kept = np.isin(common, other)
            common, first = common[kept], first[kept]
        places = zip(common.tolist(), pointers[0][first].tolist(), strict=True)
        found += [FulfillingDocument(number, document, pointer) for document, pointer in places]
    return found, is_sampled


def _documents(shard: Shard, pointers: Pointers) -> Pointers:
    return (np.searchsorted(shard.offsets, pointers.astype(np.uint64), side="right") - 1).astype(np.int64)


def _pointers(
    shard: Shard, ranges: Sequence[tuple[int, int]], limit: int, random: np.random.Generator
) -> tuple[Pointers, bool]:
    """Return the byte pointers at the ranks, a sample of `limit` when there are more, and whether it is one."""
    total = sum(high - low for low, high in ranges)
    share = min(1.0, limit / total) if total else 1.0
    parts = [np.zeros(0, np.int64)]
    for low, high in ranges:
        n_wanted = int((high - low) * share)
        ranks = slice(low, high) if share == 1 else np.unique(random.integers(low, max(high, low + 1), n_wanted))
        rows = shard.table[ranks]
        padded = np.zeros((len(rows), 8), np.uint8)
        padded[:, : rows.shape[1]] = rows
        parts.append(padded.view("<i8").reshape(-1).astype(np.int64))
    return np.concatenate(parts), share < 1
