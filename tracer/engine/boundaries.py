"""Where spans may begin and must end, decided on the text rather than on the vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tracer.engine.parameters import Boundaries
from tracer.engine.search import Positions
from tracer.engine.tokens import IndexTokenizer, TokenizedText

Flags = npt.NDArray[np.bool_]
SENTENCE_ENDS = frozenset(".!?…。！？")
CLOSERS = frozenset("\"'”’)]}»")
_CLOSERS = "".join(CLOSERS)
_WORD = re.compile(r"\w+")
_MARK = re.compile(f"[{re.escape(''.join(SENTENCE_ENDS))}\n\u2029]")


@dataclass(frozen=True)
class TextBoundaries:
    """For a text of L tokens: may_begin (L,), may_end (L + 1,) before each token and at the end,
    limits (L,): the first position after each start that no span may cross."""

    may_begin: Flags
    may_end: Flags
    limits: Positions


def find_boundaries(text: str, tokens: TokenizedText, tokenizer: IndexTokenizer, kind: Boundaries) -> TextBoundaries:
    """Return the boundaries of a tokenized text.

    OLMoTrace's words begin at tokens that begin with a space or a line feed (its list of begin-of-word ids);
    its spans end at the tokens "\\n" and ".".
    """
    if kind is Boundaries.OLMOTRACE:
        starts, cuts = (flags[tokens.ids] for flags in _olmotrace_tokens(tokenizer))
    else:
        starts = _word_starts(text, tokens)
        cuts = np.zeros(len(tokens.ids), dtype=bool)
        if kind is Boundaries.SENTENCE:
            cuts = _sentence_ends(text, tokens)
    return TextBoundaries(starts, np.append(starts, True), _limits(cuts))


@lru_cache(maxsize=16)
def _olmotrace_tokens(tokenizer: IndexTokenizer) -> tuple[Flags, Flags]:
    """Tell of each token of the vocabulary (V,) whether it begins a word, and whether it is a delimiter."""
    table = tokenizer.token_bytes
    begins = np.array([token[:1] in (b" ", b"\n") for token in table], np.bool_)
    return begins, np.array([token in (b"\n", b".") for token in table], np.bool_)


def _word_starts(text: str, tokens: TokenizedText) -> Flags:
    """A token begins a word unless it continues the letters, digits or the character before it."""
    starts, ends = tokens.starts, tokens.ends
    continues = np.zeros(len(text) + 1, dtype=bool)  # at each place: its character and the one before are of one word
    for word in _WORD.finditer(text):
        continues[word.start() + 1 : word.end()] = True
    flags: Flags = ~continues[starts]
    flags[1:] &= starts[1:] >= ends[:-1]  # else it is a later byte of one character
    return flags


def _sentence_ends(text: str, tokens: TokenizedText) -> Flags:
    """A token ends a sentence if it holds a line end, or closes with a full stop before a space or the end."""
    flags = np.zeros(len(tokens.ids), dtype=bool)
    marks = np.array([mark.start() for mark in _MARK.finditer(text)], np.int64)
    with_mark = np.searchsorted(marks, tokens.starts) < np.searchsorted(marks, tokens.ends)
    for i in np.flatnonzero(with_mark).tolist():
        start, end = int(tokens.starts[i]), int(tokens.ends[i])
        piece = text[start:end]
        if "\n" in piece or "\u2029" in piece:
            flags[i] = True
            continue
        body = piece.rstrip().rstrip(_CLOSERS)
        if body and body[-1] in SENTENCE_ENDS:
            flags[i] = end >= len(text) or text[end].isspace() or text[end] in CLOSERS
    return flags


def _limits(cuts: Flags) -> Positions:
    n = len(cuts)
    ends = np.append(np.flatnonzero(cuts) + 1, n)
    return ends[np.searchsorted(ends, np.arange(n), side="right")].astype(np.int64) if n else np.zeros(0, np.int64)
