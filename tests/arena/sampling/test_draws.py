"""Draws against recorded vectors, a second reading of the documented layout, and their frequencies."""

from __future__ import annotations

import hashlib
import hmac
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from arena.sampling import DrawError, WeightTable, commit_seed, draw_pair, new_seed, opens_commitment, pair_weights
from tests.arena.sampling.test_weights import NAMES, TALLIES

SEED = bytes(range(32))
NONCE = b"0123456789abcdef"
TABLES = st.lists(st.integers(1, 2**61), min_size=3, max_size=3).map(lambda w: WeightTable(("a", "b", "c"), tuple(w)))


def draw_by_the_document(table: WeightTable, seed: bytes, index: int, nonce: bytes) -> tuple[tuple[str, str], bool]:
    """Walk the table number by number, as docs/arena-sampling.md tells."""
    block = 0
    while True:
        mac = hmac.new(seed, index.to_bytes(8, "big") + block.to_bytes(4, "big") + nonce, hashlib.sha256).digest()
        for start in (0, 8, 16):
            number = int.from_bytes(mac[start : start + 8], "big")
            if number >= 2**64 // table.total * table.total:
                continue
            rest = number % table.total
            for pair, weight in zip(table.pairs, table.weights, strict=True):
                if rest < weight:
                    return pair, mac[31] % 2 == 1
                rest -= weight
        block += 1


def test_draws_equal_the_recorded_vectors() -> None:
    table = pair_weights(NAMES, TALLIES)
    drawn = [draw_pair(table, seed=SEED, draw_index=index, nonce=NONCE) for index in range(4)]
    assert [(draw.side_a, draw.side_b) for draw in drawn] == [
        ("cedar", "apple"),
        ("dahlia", "birch"),
        ("cedar", "dahlia"),
        ("cedar", "dahlia"),
    ]
    assert drawn[0].probability == Fraction(1324143453, 4294967296)


def test_commitment_equals_the_recorded_vector() -> None:
    assert commit_seed(SEED) == "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"


def test_seed_opens_its_own_commitment_only() -> None:
    seed = new_seed()
    assert opens_commitment(seed, commit_seed(seed))
    assert not opens_commitment(SEED, commit_seed(seed))


@given(
    table=TABLES,
    seed=st.binary(min_size=32, max_size=32),
    index=st.integers(0, 2**64 - 1),
    nonce=st.binary(min_size=16, max_size=64),
)
def test_draw_equals_the_documented_walk(table: WeightTable, seed: bytes, index: int, nonce: bytes) -> None:
    draw = draw_pair(table, seed=seed, draw_index=index, nonce=nonce)
    assert (draw.pair, draw.swap) == draw_by_the_document(table, seed, index, nonce)
    assert draw.probability == table.probability(draw.pair)
    assert {draw.side_a, draw.side_b} == set(draw.pair)


def test_draw_takes_further_numbers_when_most_are_rejected() -> None:
    table = WeightTable(("a", "b", "c"), (2**63 - 1, 1, 1))
    taken = [draw_pair(table, seed=SEED, draw_index=index, nonce=NONCE) for index in range(200)]
    assert [(draw.pair, draw.swap) for draw in taken] == [
        draw_by_the_document(table, SEED, index, NONCE) for index in range(200)
    ]
    first_words = [hmac.digest(SEED, index.to_bytes(8, "big") + bytes(4) + NONCE, "sha256")[0] for index in range(200)]
    assert any(word >= 128 for word in first_words)


def test_frequencies_of_pairs_and_sides_follow_the_table() -> None:
    table = pair_weights(NAMES, TALLIES)
    n = 20_000
    counts = dict.fromkeys(((pair, swap) for pair in table.pairs for swap in (False, True)), 0)
    for index in range(n):
        draw = draw_pair(table, seed=SEED, draw_index=index, nonce=index.to_bytes(16, "big"))
        counts[draw.pair, draw.swap] += 1
    expected = [n * float(table.probability(pair)) / 2 for pair, _ in counts]
    assert chisquare(list(counts.values()), expected).pvalue > 0.001


def test_nonce_changes_the_draw() -> None:
    table = pair_weights(NAMES, TALLIES)
    pairs = {draw_pair(table, seed=SEED, draw_index=0, nonce=i.to_bytes(16, "big")).pair for i in range(50)}
    assert len(pairs) > 1


@pytest.mark.parametrize(
    ("seed", "index", "nonce", "message"),
    [
        (bytes(31), 0, NONCE, "32 bytes"),
        (SEED, -1, NONCE, "draw index"),
        (SEED, 2**64, NONCE, "draw index"),
        (SEED, 0, bytes(15), "nonce"),
        (SEED, 0, bytes(65), "nonce"),
    ],
)
def test_refuses_seed_index_and_nonce_of_another_form(seed: bytes, index: int, nonce: bytes, message: str) -> None:
    with pytest.raises(DrawError, match=message):
        draw_pair(pair_weights(NAMES, TALLIES), seed=seed, draw_index=index, nonce=nonce)
