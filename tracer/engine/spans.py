"""Maximal spans of a text in a set of indexes that share one tokenizer, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tracer.engine.boundaries import TextBoundaries
from tracer.engine.memory import SpanMemory, bound_counts, search_longest, search_ranges
from tracer.engine.parameters import RankBy, TraceParameters
from tracer.engine.reader import IndexReader
from tracer.engine.search import Positions, bound_runs
from tracer.engine.stepwise import Notes
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


@dataclass
class EveryMatch:
    """The longest match at each token (n,), whatever the boundaries, of at most `limit` tokens; to be filled."""

    limit: int
    longest: Positions = field(default_factory=lambda: np.zeros(0, np.int64))


class _Candidates(NamedTuple):
    """Spans (k,) in order of their start, each ending behind all before it; none counts more than its `most`."""

    starts: Positions
    ends: Positions
    log_probabilities: npt.NDArray[np.float64]
    most: Positions


def find_spans(
    tokens: TokenizedText,
    boundaries: TextBoundaries,
    readers: Sequence[IndexReader],
    parameters: TraceParameters,
    memory: SpanMemory | None = None,
    matches: EveryMatch | None = None,
) -> list[TokenSpan]:
    """Return the maximal spans in order of their start (Liu et al., arXiv 2504.07096, section 3).

    For every allowed start the longest prefix that occurs in any shard, cut at the limit and backed off to a
    word's end; spans inside an earlier one, too short or too frequent are dropped. (Whatever is inside one that is
    too frequent is so, too.) `memory` is of an earlier version of the text in the same readers.
    `matches` is filled by the same search, which then looks at every token; not together with `memory`.
    """
    found, notes = _candidates(tokens, boundaries, readers, parameters, memory, matches)
    spans = _counted(tokens, readers, found, np.arange(len(found.starts)), notes, memory)
    return [span for span in spans if sum(span.counts) <= parameters.max_frequency]


def find_chosen_spans(
    tokens: TokenizedText,
    boundaries: TextBoundaries,
    readers: Sequence[IndexReader],
    parameters: TraceParameters,
    n_tokens: int,
    memory: SpanMemory | None = None,
    matches: EveryMatch | None = None,
) -> list[TokenSpan]:
    """Return the ceil(density · n_tokens) rarest or longest of `find_spans`, and count few others."""
    if parameters.density is None:
        return find_spans(tokens, boundaries, readers, parameters, memory, matches)
    found, notes = _candidates(tokens, boundaries, readers, parameters, memory, matches)
    too_frequent = _too_frequent(tokens, readers, found, parameters.max_frequency, notes, memory)
    chosen = _choose(found, np.flatnonzero(~too_frequent), n_tokens, parameters)
    return _counted(tokens, readers, found, chosen, notes, memory)


def _candidates(
    tokens: TokenizedText,
    boundaries: TextBoundaries,
    readers: Sequence[IndexReader],
    parameters: TraceParameters,
    memory: SpanMemory | None,
    matches: EveryMatch | None = None,
) -> tuple[_Candidates, Notes]:
    """Return all spans but for what their counts decide."""
    n, notes = len(tokens.ids), Notes()
    starts = np.flatnonzero(boundaries.may_begin)
    limits = boundaries.limits[starts] - starts
    if n and matches is not None:
        reach = np.minimum(n - np.arange(n), matches.limit)
        reach[starts] = np.maximum(reach[starts], limits)
        everywhere = search_longest(tokens, readers, np.arange(n), reach, notes)
        matches.longest = np.minimum(everywhere, matches.limit)
        longest = np.minimum(everywhere[starts], limits)
    if not n or not len(starts):
        return _Candidates(starts[:0], starts[:0], np.zeros(0), starts[:0]), notes
    if matches is None:
        search = search_longest if memory is None else memory.longest
        longest = search(tokens, readers, starts, limits, notes)
    last_allowed = np.maximum.accumulate(np.where(boundaries.may_end, np.arange(n + 1), -1))
    ends = np.maximum(last_allowed[starts + longest], starts)
    keep = (ends - starts >= parameters.min_length_tokens) & (ends > starts)
    keep &= np.append(True, ends[1:] > np.maximum.accumulate(ends)[:-1])
    n_kept = int(keep.sum())
    counts: Positions = np.sum([reader.unigram_counts[tokens.ids] for reader in readers], axis=0)
    found = _Candidates(starts[keep], ends[keep], np.empty(n_kept), np.empty(n_kept, np.int64))
    bound_runs(_log_probabilities(counts, readers), counts, *found)
    return found, notes


def _too_frequent(
    tokens: TokenizedText,
    readers: Sequence[IndexReader],
    found: _Candidates,
    cap: int,
    notes: Notes,
    memory: SpanMemory | None,
) -> npt.NDArray[np.bool_]:
    """Tell which spans (k,) occur more than `cap` times: only those are counted of which no bound says otherwise."""
    too_frequent = found.most > cap
    doubtful = np.flatnonzero(too_frequent)
    if len(doubtful):
        bounds = bound_counts(tokens, readers, found.starts[doubtful], found.ends[doubtful], notes)
        too_frequent[doubtful[bounds <= cap]] = False
        doubtful = doubtful[bounds > cap]
    counted = _counted(tokens, readers, found, doubtful, notes, memory)
    too_frequent[doubtful] = [sum(span.counts) > cap for span in counted]
    return too_frequent


def _choose(found: _Candidates, kept: Positions, n_tokens: int, parameters: TraceParameters) -> Positions:
    """Return the ceil(density · L) rarest or longest of those `kept`, in their order."""
    assert parameters.density is not None
    starts, ends = found.starts[kept], found.ends[kept]
    key = found.log_probabilities[kept] if parameters.rank_by is RankBy.RARITY else starts - ends
    ranked = np.argsort(key, kind="stable")  # where equal, the earlier start
    return np.sort(kept[ranked[: math.ceil(parameters.density * n_tokens)]])


def _counted(
    tokens: TokenizedText,
    readers: Sequence[IndexReader],
    found: _Candidates,
    which: Positions,
    notes: Notes,
    memory: SpanMemory | None,
) -> list[TokenSpan]:
    """Return some of the spans with their ranges."""
    if not len(which):
        return []
    starts, ends = found.starts[which], found.ends[which]
    search = search_ranges if memory is None else memory.ranges
    ranges = search(tokens, readers, starts, ends, notes)
    places = zip(
        starts.tolist(),
        ends.tolist(),
        tokens.starts[starts].tolist(),
        tokens.ends[ends - 1].tolist(),
        found.log_probabilities[which].tolist(),
        strict=True,
    )
    return [TokenSpan(*place, tuple(own[:, i] for own in ranges)) for i, place in enumerate(places)]


def log_probability(ids: Positions, readers: Sequence[IndexReader]) -> float:
    """Return the sum of unigram log probabilities of tokens (n,) over all readers, as spans have it."""
    counts: Positions = np.sum([reader.unigram_counts[ids] for reader in readers], axis=0)
    return math.fsum(_log_probabilities(counts, readers).tolist())


def _log_probabilities(counts: Positions, readers: Sequence[IndexReader]) -> npt.NDArray[np.float64]:
    """Return log(count) − log(total) of each token over all readers; an unseen token counts half.

    So computed and summed, probabilities are the stock engine's to the last bit, and ties fall alike.
    """
    log_total = math.log(sum(reader.n_tokens for reader in readers))
    return np.array([math.log(count or 0.5) - log_total for count in counts.tolist()])
