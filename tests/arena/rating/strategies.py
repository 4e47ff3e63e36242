"""Random votes for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from arena.rating import VoteTable


@st.composite
def vote_tables(draw: st.DrawFn, *, connected: bool = True, max_contestants: int = 5, max_votes: int = 40) -> VoteTable:
    """Return a small table, with or without p_pair and voters.

    Connected ones hold a ring of wins, so that everybody can be ranked.
    """
    k = draw(st.integers(2, max_contestants))
    pair = st.tuples(st.integers(0, k - 1), st.integers(1, k - 1)).map(lambda t: (t[0], (t[0] + t[1]) % k))
    rows = draw(st.lists(st.tuples(pair, st.integers(0, 3)), min_size=0 if connected else 1, max_size=max_votes))
    if connected:
        rows += [((i, (i + 1) % k), 0) for i in range(k)]
    n = len(rows)
    # as in the arena, chances belong to pairs
    chances = draw(st.lists(st.integers(1, 20), min_size=k * k, max_size=k * k))
    p_pair = np.array([chances[min(a, b) * k + max(a, b)] / 20 for (a, b), _ in rows])
    voters = np.array(draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)), dtype=np.int64)
    return VoteTable(
        tuple(f"c{i}" for i in range(k)),
        np.array([a for (a, _), _ in rows], dtype=np.int32),
        np.array([b for (_, b), _ in rows], dtype=np.int32),
        np.array([code for _, code in rows], dtype=np.int8),
        p_pair if draw(st.booleans()) else None,
        voters if draw(st.booleans()) else None,
    )
