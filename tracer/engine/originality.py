"""How much of a text is its own: L-uniqueness and the creativity index (Lu et al., arXiv 2410.04265, section 2).

A token is covered at length L when it lies in a run of at least L tokens that stands word for word in some
corpus. L-uniqueness is the share of tokens that are not; the creativity index is its sum over L = 5 … 12,
so it goes from 0 (all copied) to 8. Counted in tokens of the index's tokenizer, across sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracer.engine.layout import token_dtype
from tracer.engine.reader import IndexReader
from tracer.engine.search import Positions

LENGTHS = tuple(range(5, 13))


@dataclass(frozen=True)
class Originality:
    """`uniqueness[i]` is that of `lengths[i]`; `creativity_index` their sum; `n_tokens` were looked at."""

    creativity_index: float
    lengths: tuple[int, ...]
    uniqueness: tuple[float, ...]
    n_tokens: int


def measure_originality(text: str, readers: Sequence[IndexReader]) -> Originality:
    """Return a text's originality in all indexes that share the tokenizer with most tokens indexed.

    Bytes are no tokens: their indexes count only when there is no other. A trace has it from its own search.
    """
    chosen = main_tokenizer(readers)
    group = [reader for reader in readers if reader.tokenizer.digest == chosen]
    ids = group[0].tokenizer.encode(text).ids
    starts = np.arange(len(ids), dtype=np.int64)
    longest = np.zeros(len(ids), np.int64)
    limits = np.minimum(len(ids) - starts, LENGTHS[-1])
    for reader in group:
        with reader.intact():
            reader.longest(ids.astype(token_dtype(reader.manifest.token_width)), starts, limits, longest)
    return originality_of(longest)


def main_tokenizer(readers: Sequence[IndexReader]) -> str:
    """Return the digest of the tokenizer with most tokens indexed, of those of bytes only where there is no other."""
    sizes: dict[str, int] = {}
    for reader in [reader for reader in readers if not reader.tokenizer.is_bytes] or readers:
        sizes[reader.tokenizer.digest] = sizes.get(reader.tokenizer.digest, 0) + reader.n_tokens
    return max(sizes, key=lambda digest: (sizes[digest], digest))


def originality_of(longest: Positions) -> Originality:
    """Return the originality of a text whose longest match at each token, of up to 12 tokens, is `longest` (n,)."""
    uniqueness = tuple(l_uniqueness(longest, length) for length in LENGTHS)
    return Originality(round(sum(uniqueness), 6), LENGTHS, uniqueness, len(longest))


def l_uniqueness(longest: Positions, length: int) -> float:
    """Return the share of tokens in no match of at least `length` tokens.

    longest (n,): tokens of the longest match that begins at each token. A text without tokens is unique.
    """
    n = len(longest)
    if n == 0:
        return 1.0
    reach = np.maximum.accumulate(np.where(longest >= length, np.arange(n) + longest, 0))
    return round(float(np.mean(reach <= np.arange(n))), 6)
