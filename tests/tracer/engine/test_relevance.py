"""BM25 in compiled code against the same formula over words cut by a regular expression."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracer.engine.characters import digit_characters, word_characters
from tracer.engine.relevance import EPSILON, K1, B, bm25_scores

WORD = re.compile(r"\w+")
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("aAbß_ΣσςİI7²\u0301\ud800 \n.")), max_size=40)
WORDS = st.lists(st.sampled_from(("red", "Red", "blue", "ΟΔΟΣ", "οδος", "a_1", "İ")), max_size=12).map(" ".join)


def scored_slowly(query: str, texts: list[str]) -> list[float]:
    """Return the scores word by word."""
    queried, words = WORD.findall(query.lower()), [WORD.findall(text.lower()) for text in texts]
    mean_length = sum(map(len, words)) / len(texts) if texts else 0
    if not mean_length:
        return [0.0] * len(texts)
    n_with_word = Counter(word for own in words for word in set(own))
    idf = {word: math.log((len(texts) - n + 0.5) / (n + 0.5)) for word, n in n_with_word.items()}
    least = EPSILON * math.fsum(idf.values()) / len(idf)
    weights = {word: value if value >= 0 else least for word, value in idf.items()}
    scores = []
    for own in words:
        norm = K1 * (1 - B + B * len(own) / mean_length)
        terms = (weights.get(word, 0) * own.count(word) * (K1 + 1) / (own.count(word) + norm) for word in queried)
        scores.append(math.fsum(terms))
    return scores


@given(st.one_of(TEXTS, WORDS), st.lists(st.one_of(TEXTS, WORDS), max_size=8))
@example("", [])
@example("red", ["", ""])
@example("", ["red"])
@example("red", ["red", "red blue", "blue"])
@example("ab", ["a", "b", "ab a b"])  # texts that stand in a row share no word
def test_scores_equal_those_of_single_words(query: str, texts: list[str]) -> None:
    assert bm25_scores(query, texts).tolist() == pytest.approx(scored_slowly(query, texts), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("pattern", "flags"), [(r"\w", word_characters), (r"\d", digit_characters)])
def test_tables_have_the_characters_that_regular_expressions_take(pattern: str, flags: Callable[[], Any]) -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert [match.start() for match in re.finditer(pattern, everything)] == flags().nonzero()[0].tolist()


def test_many_words_with_few_places_between_them_keep_their_numbers() -> None:
    texts = [" ".join(f"{first:x}" for first in range(number, 4000, number + 1)) for number in range(6)]
    query = " ".join(f"{word:x}" for word in range(0, 4000, 7))
    assert bm25_scores(query, texts).tolist() == pytest.approx(scored_slowly(query, texts), rel=1e-9)
