"""Where words begin and sentences end, against looking at every token's characters."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tracer.engine.boundaries import CLOSERS, SENTENCE_ENDS, _sentence_ends, _word_starts
from tracer.engine.tokens import TokenizedText

CHARACTERS = st.one_of(st.sampled_from('ab_1 .!\n\u2029»)"…。é́²Ⅷ\t\u00a0-'), st.characters())
Piece = tuple[str, int]
PIECES = st.lists(st.tuples(st.text(CHARACTERS, min_size=1, max_size=4), st.integers(1, 3)), max_size=12)


def tokenized(pieces: list[Piece]) -> tuple[str, TokenizedText]:
    """Return the text and its tokens; a piece's number says how many tokens share its characters."""
    spans, text = [], ""
    for piece, n_tokens in pieces:
        spans += [(len(text), len(text) + len(piece))] * n_tokens
        text += piece
    places = np.array(spans, np.int64).reshape(-1, 2)
    return text, TokenizedText(np.zeros(len(spans), np.int64), places[:, 0], places[:, 1])


def in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def naive_word_starts(text: str, tokens: TokenizedText) -> list[bool]:
    flags = []
    for i, start in enumerate(tokens.starts.tolist()):
        if i and start < tokens.ends[i - 1]:
            flags.append(False)
        else:
            flags.append(start == 0 or not (in_word(text[start - 1]) and in_word(text[start])))
    return flags


def naive_sentence_ends(text: str, tokens: TokenizedText) -> list[bool]:
    flags = []
    for start, end in zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True):
        piece = text[start:end]
        if "\n" in piece or "\u2029" in piece:
            flags.append(True)
            continue
        body = piece.rstrip().rstrip("".join(CLOSERS))
        closes = bool(body) and body[-1] in SENTENCE_ENDS
        flags.append(closes and (end == len(text) or text[end].isspace() or text[end] in CLOSERS))
    return flags


@given(PIECES)
@example([("a", 1), ("b", 2), (".", 1), ("»", 1), (" c", 1)])
@example([("One.", 1), ("\n", 1), ("two_", 1), ("3", 1)])
def test_flags_are_those_of_looking_at_every_token(pieces: list[Piece]) -> None:
    text, tokens = tokenized(pieces)
    assert _word_starts(text, tokens).tolist() == naive_word_starts(text, tokens)
    assert _sentence_ends(text, tokens).tolist() == naive_sentence_ends(text, tokens)
