"""Draws against the distribution that they must follow."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.inference.sampling import Sampler, _nucleus

LOGITS = torch.tensor([0.0, 1.0, 2.0, -1.0, float("-inf"), 2.0])


def expected_chances(temperature: float, top_p: float) -> list[float]:
    """The nucleus by sorting, slowly: the fewest likeliest tokens that reach `top_p`."""
    raw = [math.exp(x / temperature) for x in LOGITS.tolist()]
    chances = [x / sum(raw) for x in raw]
    kept: set[int] = set()
    for token in sorted(range(len(chances)), key=lambda i: (-chances[i], i)):
        if sum(chances[i] for i in kept) >= top_p:
            break
        kept.add(token)
    total = sum(chances[i] for i in kept)
    return [chances[i] / total if i in kept else 0.0 for i in range(len(chances))]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (2.0, 0.5), (0.5, 0.01)])
def test_draws_follow_temperature_and_nucleus(temperature: float, top_p: float) -> None:
    sampler = Sampler(temperature, top_p, seed=3)
    n = 4000
    counts = Counter(sampler.draw(LOGITS) for _ in range(n))
    for token, chance in enumerate(expected_chances(temperature, top_p)):
        assert abs(counts[token] / n - chance) <= 5 * math.sqrt(chance * (1 - chance) / n)


def test_zero_temperature_takes_the_likeliest() -> None:
    assert Sampler(0.0, 1.0, seed=0).draw(torch.tensor([0.1, 0.3, 0.2])) == 1


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.integers(0, 2**63 - 1), st.floats(0.01, 1))
def test_seed_fixes_the_draw(logits: list[float], seed: int, top_p: float) -> None:
    exact = torch.tensor(logits)
    draws = [Sampler(1.0, top_p, seed).draw(exact) for _ in range(2)]
    assert draws[0] == draws[1]
    assert math.isfinite(logits[draws[0]])


@given(st.integers(0, 1000), st.sampled_from([0.01, 0.3, 0.9, 0.95, 0.999, 0.9999999]), st.floats(0.05, 5))
@settings(max_examples=60)
def test_nucleus_of_a_large_vocabulary_is_that_of_a_full_sort(seed: int, top_p: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(5000, generator=generator, dtype=torch.float64) * spread).round(decimals=1)  # with many ties
    chances = logits.softmax(-1)
    ordered, tokens = chances.sort(descending=True, stable=True)
    expected = tokens[ordered.cumsum(-1) - ordered < top_p].sort().values
    assert torch.equal(_nucleus(chances, top_p), expected)
