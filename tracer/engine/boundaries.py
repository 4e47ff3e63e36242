"""Where spans may begin and must end, decided on the text rather than on the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracer.engine.parameters import Boundaries
from tracer.engine.search import Positions
from tracer.engine.tokens import IndexTokenizer, TokenizedText

Flags = npt.NDArray[np.bool_]
SENTENCE_ENDS = frozenset(".!?…。！？")
CLOSERS = frozenset("\"'”’)]}»")


@dataclass(frozen=True)
class TextBoundaries:
    """For a text of L tokens: may_begin (L,), may_end (L + 1,) before each token and at the end,
    limits (L,): the first position after each start that no span may cross."""

    may_begin: Flags
    may_end: Flags
    limits: Positions


def find_boundaries(text: str, tokens: TokenizedText, tokenizer: IndexTokenizer, kind: Boundaries) -> TextBoundaries:
    """Return the boundaries of a tokenized text."""
    if kind is Boundaries.OLMOTRACE:
        starts = np.array([tokenizer.token_bytes[i][:1] == b" " for i in tokens.ids.tolist()], dtype=bool)
        cuts = np.array([tokenizer.token_bytes[i] in (b"\n", b".") for i in tokens.ids.tolist()], dtype=bool)
    else:
        starts = _word_starts(text, tokens)
        cuts = np.zeros(len(tokens.ids), dtype=bool)
        if kind is Boundaries.SENTENCE:
            cuts = _sentence_ends(text, tokens)
    return TextBoundaries(starts, np.append(starts, True), _limits(cuts))


def _word_starts(text: str, tokens: TokenizedText) -> Flags:
    """A token begins a word unless it continues the letters, digits or the character before it."""
    flags = np.ones(len(tokens.ids), dtype=bool)
    for i, start in enumerate(tokens.starts.tolist()):
        if i and start < tokens.ends[i - 1]:
            flags[i] = False  # a later byte of one character
        elif 0 < start < len(text):
            flags[i] = not (_in_word(text[start - 1]) and _in_word(text[start]))
    return flags


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _sentence_ends(text: str, tokens: TokenizedText) -> Flags:
    """A token ends a sentence if it holds a line end, or closes with a full stop before a space or the end."""
    flags = np.zeros(len(tokens.ids), dtype=bool)
    for i, (start, end) in enumerate(zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)):
        piece = text[start:end]
        if "\n" in piece or "\u2029" in piece:
            flags[i] = True
            continue
        body = piece.rstrip().rstrip("".join(CLOSERS))
        if body and body[-1] in SENTENCE_ENDS:
            flags[i] = end >= len(text) or text[end].isspace() or text[end] in CLOSERS
    return flags


def _limits(cuts: Flags) -> Positions:
    n = len(cuts)
    ends = np.append(np.flatnonzero(cuts) + 1, n)
    return ends[np.searchsorted(ends, np.arange(n), side="right")].astype(np.int64) if n else np.zeros(0, np.int64)
