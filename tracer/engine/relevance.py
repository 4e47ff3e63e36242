"""How much a document has to do with the question and its answer: Okapi BM25 over the retrieved windows.

Words are compared as code points by compiled code: to make a string of each took a third of a trace's time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.engine import lazy_numba as numba
from tracer.engine.characters import code_points, word_characters

K1, B, EPSILON = 1.5, 0.75, 0.25
HIGH, MEDIUM = 0.7, 0.5
CHARACTERS_TO_SCORE = 0.18
Positions = npt.NDArray[np.int64]


class Relevance(StrEnum):
    """Level shown to readers."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def bm25_scores(query: str, texts: list[str]) -> npt.NDArray[np.float64]:
    """Return the Okapi BM25 score of each text for the words of `query`, repetitions counted.

    score = Σ_w idf(w) · f(w) · (k1 + 1) / (f(w) + k1 · (1 − b + b · |d| / mean |d|)), idf(w) =
    log((N − n(w) + ½) / (n(w) + ½)); a negative idf becomes a quarter of the mean one.
    """
    lowered = [query.lower(), *(text.lower() for text in texts)]
    ends = np.cumsum([len(text) for text in lowered])
    words, n_words, n_with_word = _number_words(code_points("".join(lowered)), ends, word_characters())
    lengths = n_words[1:].astype(float)
    if not texts or not lengths.sum():
        return np.zeros(len(texts))
    n = n_with_word[n_with_word > 0].astype(float)
    idf = np.log((len(texts) - n + 0.5) / (n + 0.5))
    weights = np.zeros(len(n_with_word))
    weights[n_with_word > 0] = np.where(idf < 0, EPSILON * idf.mean(), idf)
    norms = K1 * (1 - B + B * lengths / lengths.mean())
    scores: npt.NDArray[np.float64] = _add_up(words, n_words, weights, norms)
    return scores


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _number_words(codes: Any, ends: Any, is_word: Any) -> tuple[Positions, Positions, Positions]:
    """Number the words of texts that stand in a row and end at `ends` (t,), in order of their first occurrence.

    Returns the numbers of all words in a row, how many each text has (t,), and in how many texts but the first each
    word stands.
    """
    n_slots = 16
    while n_slots < len(codes) + 2:  # a word and the space behind it are two
        n_slots *= 2
    slots = np.full(n_slots, -1, np.int64)
    most = len(codes) // 2 + len(ends) + 1
    begins, lengths = np.empty(most, np.int64), np.empty(most, np.int64)
    words, last_seen, n_with_word = np.empty(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.int64)
    n_words = np.zeros(len(ends), np.int64)
    n_all, n_different, at = 0, 0, 0
    for text in range(len(ends)):
        end = ends[text]
        while at < end:
            if not is_word[codes[at]]:
                at += 1
                continue
            begin, key = at, np.uint64(14695981039346656037)  # FNV-1a
            while at < end and is_word[codes[at]]:
                key = (key ^ np.uint64(codes[at])) * np.uint64(1099511628211)
                at += 1
            slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(n_slots - 1))
            while slots[slot] >= 0:
                known = slots[slot]
                if lengths[known] == at - begin:
                    k = 0
                    while k < at - begin and codes[begins[known] + k] == codes[begin + k]:
                        k += 1
                    if k == at - begin:
                        break
                slot = (slot + 1) & (n_slots - 1)
            if slots[slot] < 0:
                slots[slot], begins[n_different], lengths[n_different] = n_different, begin, at - begin
                n_different += 1
            word = slots[slot]
            words[n_all] = word
            n_all += 1
            n_words[text] += 1
            if last_seen[word] < text:  # the first text is none to count
                last_seen[word] = text
                n_with_word[word] += 1
    return words[:n_all], n_words, n_with_word[:n_different]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _add_up(words: Positions, n_words: Positions, weights: Any, norms: Any) -> npt.NDArray[np.float64]:
    """Return the scores of all texts but the first, the query, as `_number_words` numbered their words."""
    n_query = n_words[0]
    counts, scores = np.zeros(len(weights), np.int64), np.zeros(len(norms))
    begin = n_query
    for text in range(len(norms)):
        end = begin + n_words[text + 1]
        for word in words[begin:end]:
            counts[word] += 1
        for word in words[:n_query]:  # repeated words count again
            scores[text] += weights[word] * counts[word] * (K1 + 1) / (counts[word] + norms[text])
        counts[words[begin:end]] = 0
        begin = end
    return scores


def relevance_level(score: float, n_answer_characters: int) -> Relevance:
    """Return the level of score / (0.18 · characters of the answer), clipped to 0 … 1 (OLMoTrace, section 4)."""
    share = min(1.0, max(0.0, score / (CHARACTERS_TO_SCORE * max(1, n_answer_characters))))
    if share >= HIGH:
        return Relevance.HIGH
    return Relevance.MEDIUM if share >= MEDIUM else Relevance.LOW
