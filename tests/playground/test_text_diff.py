"""Shared words of two texts, against the recursive definition of a longest common subsequence."""

from __future__ import annotations

import time
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from webapp.playground.text_diff import common_subsequence, compare_texts

WORDS = st.lists(st.sampled_from("abc"), max_size=9)
TEXTS = st.text(st.sampled_from("ab .\n"), max_size=24) | st.text(max_size=24)


def slow_length(a: list[str], b: list[str]) -> int:
    """The definition, without a table."""

    @cache
    def length(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if a[i - 1] == b[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    return length(len(a), len(b))


@given(WORDS, WORDS)
def test_finds_a_longest_common_subsequence(a: list[str], b: list[str]) -> None:
    pairs = common_subsequence(a, b)

    assert len(pairs) == slow_length(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


@given(TEXTS, TEXTS)
def test_pieces_join_to_both_texts_and_share_the_same_words(left: str, right: str) -> None:
    found = compare_texts(left, right)

    assert "".join(piece.text for piece in found.left) == left
    assert "".join(piece.text for piece in found.right) == right
    shared = ["".join(piece.text for piece in side if piece.is_shared) for side in (found.left, found.right)]
    assert shared[0] == shared[1]
    assert left[: found.n_same_characters] == right[: found.n_same_characters]
    assert found.shared == compare_texts(right, left).shared
    assert 0 <= found.shared <= 1


@given(TEXTS)
def test_equal_texts_share_everything(text: str) -> None:
    assert compare_texts(text, text).shared == 1


def test_texts_without_a_word_in_common_share_nothing() -> None:
    found = compare_texts("one two", "three four")
    assert found.shared == 0
    assert found.n_same_characters == 0


def test_texts_that_repeat_themselves_cost_no_more_than_others() -> None:
    left, right = "0." * 1000 + "x", "y" + ".0" * 1000
    begin = time.process_time()
    assert compare_texts(left, right).shared > 0.99
    assert time.process_time() - begin < 5
