"""Single occurrences of a phrase: where they stand, the text around them, how many a document holds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.engine.layout import token_dtype
from tracer.engine.privacy import mask_personal_data
from tracer.engine.reader import IndexReader

TokenIds = Sequence[int]


@dataclass(frozen=True)
class Passage:
    """Text around an occurrence: the match is `text[start:end]`, in code points. Personal data is masked.

    `number` names the document in its index, `token_start` counts tokens in it.
    """

    number: int
    key: str
    facts: dict[str, Any]
    text: str
    start: int
    end: int
    token_start: int


def count_in_tokens(tokens: npt.NDArray[np.unsignedinteger], ids: TokenIds) -> int:
    """Return how often `ids` (k,) stands in `tokens` (n,), overlaps counted."""
    n_starts = len(tokens) - len(ids) + 1
    if not len(ids) or n_starts <= 0:
        return 0
    places = np.flatnonzero(tokens[:n_starts] == ids[0])
    for offset, token in enumerate(ids[1:], start=1):
        places = places[tokens[places + offset] == token]
    return len(places)


def rank_ranges_of(reader: IndexReader, ids: TokenIds) -> list[tuple[int, int]]:
    """Return each shard's half-open range of ranks at which `ids` stands."""
    query = np.array(ids, dtype=token_dtype(reader.manifest.token_width))
    with reader.intact():
        found = reader.ranges(query, np.zeros(1, np.int64), np.array([len(ids)], np.int64))
    return [(int(low), int(high)) for low, high in found[:, 0].tolist()]


def sample_pointers(reader: IndexReader, ids: TokenIds, n_wanted: int, seed: str) -> list[tuple[int, int]]:
    """Return up to `n_wanted` (shard, byte pointer) drawn uniformly without replacement; the seed fixes them."""
    ranges = rank_ranges_of(reader, ids)
    total = sum(high - low for low, high in ranges)
    pointers = []
    for draw in random.Random(seed).sample(range(total), min(total, n_wanted)):
        for shard, (low, high) in enumerate(ranges):
            if draw < high - low:
                pointers.append((shard, int.from_bytes(reader.shards[shard].table[low + draw].tobytes(), "little")))
                break
            draw -= high - low
    return pointers


def document_at(reader: IndexReader, shard: int, pointer: int) -> tuple[int, int]:
    """Return (document within the shard, token position in it) of a byte pointer."""
    own = reader.shards[shard]
    document = own.document_at(pointer)
    return document, (pointer - int(own.offsets[document])) // own.width - 1


def read_passage(reader: IndexReader, shard_number: int, pointer: int, n_tokens: int, context: int) -> Passage:
    """Read a match of `n_tokens` tokens and up to `context` tokens on either side, within its document.

    In an index of bytes `n_tokens` counts bytes, and `context` is stretched to as much text as of tokens.
    Raises `IndexFileError` when a file changed its size since opening.
    """
    with reader.intact():
        return _read_passage(reader, shard_number, pointer, n_tokens, context)


def _read_passage(reader: IndexReader, shard_number: int, pointer: int, n_tokens: int, context: int) -> Passage:
    shard = reader.shards[shard_number]
    context *= reader.tokenizer.units_per_token
    document, token_start = document_at(reader, shard_number, pointer)
    begin, end = shard.token_range(document)
    needle = begin + max(0, token_start)
    after = min(end, needle + n_tokens)
    read = reader.tokenizer.to_bytes
    left = read(shard.tokens[max(begin, needle - context) : needle])
    while left and left[0] & 0xC0 == 0x80:  # a character cut at the outer end
        left = left[1:]
    before = left.decode("utf-8", "replace")
    middle = read(shard.tokens[needle:after]).decode("utf-8", "replace")
    rest = read(shard.tokens[after : min(end, after + context)]).decode("utf-8", "ignore")
    facts = shard.facts(document)
    number = reader.document_number(shard_number, document)
    start = len(before) + len(middle) - len(middle.lstrip())
    text = mask_personal_data(before + middle + rest)
    stop = max(start, len(before) + len(middle.rstrip()))
    return Passage(number, str(facts.get("id", number)), facts, text, start, stop, token_start)
