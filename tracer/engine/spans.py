"""Maximal spans of a text in a set of indexes that share one tokenizer, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracer.engine.boundaries import TextBoundaries
from tracer.engine.memory import SpanMemory, search_longest, search_ranges
from tracer.engine.parameters import RankBy, TraceParameters
from tracer.engine.reader import IndexReader
from tracer.engine.search import Positions
from tracer.engine.tokens import TokenizedText


@dataclass(frozen=True)
class TokenSpan:
    """A maximal match, in tokens; `ranges` is (shards, 2) for each reader."""

    token_start: int
    token_end: int
    start: int
    end: int
    unigram_logprob: float
    ranges: tuple[npt.NDArray[np.int64], ...]

    @property
    def length_tokens(self) -> int:
        return self.token_end - self.token_start

    @property
    def counts(self) -> list[int]:
        """Return the occurrences in each reader."""
        return [int((r[:, 1] - r[:, 0]).sum()) for r in self.ranges]


def find_spans(
    tokens: TokenizedText,
    boundaries: TextBoundaries,
    readers: Sequence[IndexReader],
    parameters: TraceParameters,
    memory: SpanMemory | None = None,
) -> list[TokenSpan]:
    """Return the maximal spans in order of their start (Liu et al., arXiv 2504.07096, section 3).

    For every allowed start the longest prefix that occurs in any shard, cut at the limit and
    backed off to a word's end; spans inside an earlier one, too short or too frequent are dropped.
    `memory` is of an earlier version of the text in the same readers.
    """
    n = len(tokens.ids)
    starts = np.flatnonzero(boundaries.may_begin)
    if not n or not len(starts):
        return []
    limits = boundaries.limits[starts] - starts
    search = search_longest if memory is None else memory.longest
    longest = search(tokens, readers, starts, limits)
    last_allowed = np.maximum.accumulate(np.where(boundaries.may_end, np.arange(n + 1), -1))
    ends = np.maximum(last_allowed[starts + longest], starts)
    keep = (ends - starts >= parameters.min_length_tokens) & (ends > starts)
    keep &= np.append(True, ends[1:] > np.maximum.accumulate(ends)[:-1])
    starts, ends = starts[keep], ends[keep]
    ranges = (search_ranges if memory is None else memory.ranges)(tokens, readers, starts, ends)
    total = sum((r[..., 1] - r[..., 0]).sum(0) for r in ranges)
    log_probabilities = _log_probabilities(tokens.ids, readers)
    sums = np.append(0.0, np.cumsum(log_probabilities))
    return [
        TokenSpan(
            int(starts[i]),
            int(ends[i]),
            int(tokens.starts[starts[i]]),
            int(tokens.ends[ends[i] - 1]),
            float(sums[ends[i]] - sums[starts[i]]),
            tuple(r[:, i] for r in ranges),
        )
        for i in _maximal_and_rare_enough(starts, ends, np.asarray(total), parameters.max_frequency)
    ]


def _maximal_and_rare_enough(starts: Positions, ends: Positions, total: Positions, cap: int) -> list[int]:
    """Return the indices of spans not inside an earlier kept one. A too frequent span hides none."""
    chosen, last_end = [], 0
    for i in range(len(starts)):
        if 0 < total[i] <= cap and ends[i] > last_end:
            chosen.append(i)
            last_end = int(ends[i])
    return chosen


def choose_spans(spans: list[TokenSpan], n_tokens: int, parameters: TraceParameters) -> list[TokenSpan]:
    """Keep the ceil(density · L) rarest or longest spans, in order of their start."""
    if parameters.density is None:
        return spans
    limit = math.ceil(parameters.density * n_tokens)
    if parameters.rank_by is RankBy.RARITY:
        ranked = sorted(spans, key=lambda span: (span.unigram_logprob, span.token_start))
    else:
        ranked = sorted(spans, key=lambda span: (-span.length_tokens, span.unigram_logprob, span.token_start))
    return sorted(ranked[:limit], key=lambda span: span.token_start)


def _log_probabilities(ids: Positions, readers: Sequence[IndexReader]) -> npt.NDArray[np.float64]:
    """Return log(count / total) of each token over all readers; an unseen token counts half."""
    counts = sum((reader.unigram_counts for reader in readers[1:]), readers[0].unigram_counts.copy())
    n_tokens = sum(reader.n_tokens for reader in readers)
    return np.log(np.maximum(counts[ids], 0.5) / n_tokens)
