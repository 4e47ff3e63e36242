"""How much a document has to do with the question and its answer: Okapi BM25 over the retrieved windows."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from itertools import chain

import numpy as np
import numpy.typing as npt

K1, B, EPSILON = 1.5, 0.75, 0.25
HIGH, MEDIUM = 0.7, 0.5
CHARACTERS_TO_SCORE = 0.18
_WORD = re.compile(r"\w+")


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
    queried = Counter(_WORD.findall(query.lower()))
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    lengths = np.array([counter.total() for counter in counts], dtype=float)
    if not texts or not lengths.sum():
        return np.zeros(len(texts))
    n_with_word = Counter(chain.from_iterable(counts))
    n = np.fromiter(n_with_word.values(), float, len(n_with_word))
    idf = np.log((len(texts) - n + 0.5) / (n + 0.5))
    weights = dict(zip(n_with_word, np.where(idf < 0, EPSILON * idf.mean(), idf).tolist(), strict=True))
    norms = (K1 * (1 - B + B * lengths / lengths.mean())).tolist()
    scores = [
        sum(
            queried[word] * weights[word] * counter[word] * (K1 + 1) / (counter[word] + norm)
            for word in queried.keys() & counter.keys()
        )
        for counter, norm in zip(counts, norms, strict=True)
    ]
    return np.array(scores)


def relevance_level(score: float, n_answer_characters: int) -> Relevance:
    """Return the level of score / (0.18 · characters of the answer), clipped to 0 … 1 (OLMoTrace, section 4)."""
    share = min(1.0, max(0.0, score / (CHARACTERS_TO_SCORE * max(1, n_answer_characters))))
    if share >= HIGH:
        return Relevance.HIGH
    return Relevance.MEDIUM if share >= MEDIUM else Relevance.LOW
