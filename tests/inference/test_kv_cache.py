"""Extents of the cache against a dictionary of what each row wrote."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from webapp.inference.kv_cache import PAGE_TOKENS, Extent, KeyValueCache

CPU = torch.device("cpu")


def filled(cache: KeyValueCache, extent: Extent) -> torch.Tensor:
    return cache.layers[0][0, extent.start : extent.start + extent.n_tokens, 0]


@given(st.lists(st.one_of(st.integers(1, 400), st.integers(-6, -1)), max_size=40))
def test_rows_keep_what_they_wrote_when_others_come_and_go(actions: list[int]) -> None:
    """A positive number reserves as many tokens, a negative one frees a row."""
    cache = KeyValueCache(1, 1, 2, torch.float32, CPU, 10 * PAGE_TOKENS + 5)
    alive: dict[int, Extent] = {}
    for number, action in enumerate(actions):
        if action > 0:
            n_pages = -(-action // PAGE_TOKENS)
            n_used = sum(extent.n_tokens for extent in alive.values())
            extent = cache.reserve(action)
            assert (extent is not None) == (n_used + n_pages * PAGE_TOKENS <= 10 * PAGE_TOKENS)
            if extent is not None:
                assert extent.n_tokens == n_pages * PAGE_TOKENS
                filled(cache, extent).fill_(number)
                alive[number] = extent
        elif alive:
            cache.free(alive.pop(sorted(alive)[action % len(alive)]))
        for owner, extent in alive.items():
            assert (filled(cache, extent) == owner).all()
        assert cache.n_free_tokens == 10 * PAGE_TOKENS - sum(extent.n_tokens for extent in alive.values())


def test_scattered_free_pages_are_used_after_sliding() -> None:
    cache = KeyValueCache(2, 1, 2, torch.float32, CPU, 4 * PAGE_TOKENS)
    rows = [cache.reserve(PAGE_TOKENS) for _ in range(4)]
    assert all(row is not None for row in rows)
    for row in (rows[0], rows[2]):
        assert row is not None
        cache.free(row)
    assert cache.reserve(3 * PAGE_TOKENS) is None
    wide = cache.reserve(2 * PAGE_TOKENS)
    assert wide is not None
    assert [row.start for row in (rows[1], rows[3]) if row] == [0, PAGE_TOKENS]
