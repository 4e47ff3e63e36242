"""The text around a document's matches, each part of it read, decoded and scanned for personal data once.

A scan sees more than what is shown, so that an address that a snippet cuts off is masked in it, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracer.engine.privacy import mask_personal_data
from tracer.engine.reader import Shard
from tracer.engine.tokens import IndexTokenizer

Interval = tuple[int, int]


@dataclass(frozen=True)
class Passage:
    """Text of the shard's tokens [first, last). `masked` is `text` with personal data masked, of the same length."""

    first: int
    last: int
    text: str
    masked: str
    content: bytes
    places: npt.NDArray[np.int64]
    characters: npt.NDArray[np.int64]

    def begin_of(self, token: int) -> int:
        """Return the first character that begins at a token or after it."""
        return min(len(self.text), int(self.characters[self.places[token - self.first]]))

    def end_of(self, token: int) -> int:
        """Return the end of the last character that ends before a token."""
        place = self.places[token - self.first]
        is_cut = place < len(self.content) and self.content[place] & 0xC0 == 0x80
        return int(max(0, min(len(self.text), self.characters[place] - is_cut)))


def read_passages(shard: Shard, tokenizer: IndexTokenizer, wanted: Iterable[Interval]) -> list[Passage]:
    """Return the passages that hold the wanted intervals of tokens, all of one document; overlapping ones are one."""
    passages = []
    for first, last in joined(wanted):
        content, places = tokenizer.to_bytes_and_places(shard.tokens[first:last])
        text, characters = decode_with_places(content)
        passages.append(Passage(first, last, text, mask_personal_data(text), content, places, characters))
    return passages


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the disjoint intervals that cover the same, in order; those that touch are one."""
    out: list[Interval] = []
    for low, high in sorted(intervals):
        if out and low <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], high)
        else:
            out.append((low, high))
    return out


def decode_with_places(content: bytes) -> tuple[str, npt.NDArray[np.int64]]:
    """Return UTF-8 as text, and for each byte and the end (n + 1,) how many characters begin before it.

    A character's bytes that were cut off at either end are left out; others that are no UTF-8 read U+FFFD.
    """
    begin = 0
    while begin < min(3, len(content)) and content[begin] & 0xC0 == 0x80:
        begin += 1
    try:
        text = content[begin:].decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return _decode_damaged(content, begin)
        text = content[begin : begin + error.start].decode()
    is_begin = (np.frombuffer(content, np.uint8) & 0xC0) != 0x80
    return text, np.append(0, np.cumsum(is_begin))


def _decode_damaged(content: bytes, begin: int) -> tuple[str, npt.NDArray[np.int64]]:
    text = content[begin:].decode("utf-8", "surrogateescape")
    is_escape = ["\udc80" <= character <= "\udcff" for character in text]
    widths = [1 if escaped else len(c.encode()) for c, escaped in zip(text, is_escape, strict=True)]
    characters = np.repeat(np.arange(len(text)), widths) + 1
    shown = "".join("\ufffd" if escaped else c for c, escaped in zip(text, is_escape, strict=True))
    return shown, np.concatenate([np.zeros(begin + 1, np.int64), characters])
