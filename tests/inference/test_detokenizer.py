"""Pieces of text against decoding everything at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.inference.tiny import TEXT, make_tokenizer
from webapp.inference.detokenizer import Detokenizer

BYTES = make_tokenizer()
N_TOKENS = BYTES.get_vocab_size()


def spaced_tokenizer() -> Tokenizer:
    """A tokenizer whose decoder drops the first word's space."""
    words = {f"▁{word}": i for i, word in enumerate(("<unk>", "a", "new", "array", "of", "zeros"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="▁<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def pieces_of(tokenizer: Tokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], Detokenizer]:
    detokenizer = Detokenizer(tokenizer, stop)
    pieces = []
    for token in ids:
        pieces.append(detokenizer.push(token))
        if detokenizer.is_stopped:
            break
    return [*pieces, detokenizer.finish()], detokenizer


@given(st.lists(st.integers(0, N_TOKENS - 1), max_size=60))
def test_pieces_concatenate_to_the_decoded_text_for_any_tokens(ids: list[int]) -> None:
    pieces, detokenizer = pieces_of(BYTES, ids)
    assert "".join(pieces) == detokenizer.text == BYTES.decode(ids)


@given(st.text(max_size=40))
def test_no_piece_holds_half_a_character_when_the_text_is_whole(text: str) -> None:
    pieces, _ = pieces_of(BYTES, BYTES.encode(text).ids)
    assert "".join(pieces) == text
    assert "\N{REPLACEMENT CHARACTER}" in text or not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@given(st.lists(st.integers(0, 5), max_size=20))
def test_pieces_keep_the_spaces_between_words(ids: list[int]) -> None:
    tokenizer = spaced_tokenizer()
    assert "".join(pieces_of(tokenizer, ids)[0]) == tokenizer.decode(ids)


@given(
    st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
    st.text("ab ", max_size=40),
)
def test_text_ends_before_the_first_stop_string_to_appear(stop: tuple[str, ...], text: str) -> None:
    ids = [BYTES.token_to_id({" ": "Ġ"}.get(char, char)) for char in text]
    pieces, detokenizer = pieces_of(BYTES, ids, stop)
    ends = [text.index(s) + len(s) for s in stop if s in text]
    seen = text[: min(ends)] if ends else text
    expected = seen[: min(seen.index(s) for s in stop if s in seen)] if ends else text
    assert "".join(pieces) == detokenizer.text == expected
    assert detokenizer.is_stopped == bool(ends)


def test_special_tokens_give_no_text() -> None:
    ids = BYTES.encode(TEXT).ids
    end = BYTES.token_to_id("<|endoftext|>")
    assert "".join(pieces_of(BYTES, [*ids[:5], end, *ids[5:]])[0]) == TEXT
