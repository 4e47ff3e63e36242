"""How much a document has to do with the question and its answer: Okapi BM25 over the retrieved windows."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum

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
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    lengths = np.array([counter.total() for counter in counts], dtype=float)
    if not texts or not lengths.sum():
        return np.zeros(len(texts))
    frequency = Counter(word for counter in counts for word in counter)
    idf = {word: np.log((len(texts) - n + 0.5) / (n + 0.5)) for word, n in frequency.items()}
    floor = EPSILON * sum(idf.values()) / len(idf)
    wanted = [(word, n) for word, n in Counter(_WORD.findall(query.lower())).items() if word in idf]
    scores = np.zeros(len(texts))
    norm = K1 * (1 - B + B * lengths / lengths.mean())
    for word, n in wanted:
        found = np.array([counter[word] for counter in counts], dtype=float)
        weight = idf[word] if idf[word] >= 0 else floor
        scores += n * weight * found * (K1 + 1) / (found + norm)
    return scores


def relevance_level(score: float, n_answer_characters: int) -> Relevance:
    """Return the level of score / (0.18 · characters of the answer), clipped to 0 … 1 (OLMoTrace, section 4)."""
    share = min(1.0, max(0.0, score / (CHARACTERS_TO_SCORE * max(1, n_answer_characters))))
    if share >= HIGH:
        return Relevance.HIGH
    return Relevance.MEDIUM if share >= MEDIUM else Relevance.LOW
