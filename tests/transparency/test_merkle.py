"""Proofs of every size against a naive recursive tree and pymerkle."""

from __future__ import annotations

import hashlib

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.transparency import merkle
from webapp.transparency.merkle import Frontier, Place


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(m: int, leaves: list[bytes], is_whole: bool = True) -> list[bytes]:
    """RFC 6962, section 2.1.2."""
    if m == len(leaves):
        return [] if is_whole else [naive_root(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_consistency(m, leaves[:k], is_whole), naive_root(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], False), naive_root(leaves[:k])]


def build(leaves: list[bytes]) -> dict[Place, bytes]:
    frontier, nodes = Frontier(), {}
    for i, leaf in enumerate(leaves):
        nodes[0, i] = merkle.leaf_hash(leaf)
        nodes.update(frontier.append(nodes[0, i]))
    assert frontier.root() == naive_root(leaves)
    return nodes


LEAVES = [str(i).encode() for i in range(70)]
NODES = build(LEAVES)


@pytest.mark.parametrize("size", range(1, 34))
def test_every_inclusion_proof_is_that_of_the_rfc_and_holds(size: int) -> None:
    for index in range(size):
        proof = [merkle.range_hash(r, NODES.__getitem__) for r in merkle.inclusion_ranges(index, size)]
        assert proof == naive_path(index, LEAVES[:size])
        root = naive_root(LEAVES[:size])
        assert merkle.proves_inclusion(root, NODES[0, index], index, size, proof)


@pytest.mark.parametrize("second", range(1, 34))
def test_every_consistency_proof_is_that_of_the_rfc_and_holds(second: int) -> None:
    for first in range(1, second + 1):
        proof = [merkle.range_hash(r, NODES.__getitem__) for r in merkle.consistency_ranges(first, second)]
        assert proof == naive_consistency(first, LEAVES[:second])
        roots = naive_root(LEAVES[:first]), naive_root(LEAVES[:second])
        assert merkle.proves_consistency(first, roots[0], second, roots[1], proof)


@given(st.integers(1, 70), st.data())
def test_inclusion_proof_fails_when_anything_differs(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = naive_root(LEAVES[:size])
    proof = [merkle.range_hash(r, NODES.__getitem__) for r in merkle.inclusion_ranges(index, size)]
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index)) if size > 1 else size
    assert not merkle.proves_inclusion(root, NODES[0, index], other, size, proof)
    assert not merkle.proves_inclusion(root, b"\0" * 32, index, size, proof)
    assert not merkle.proves_inclusion(root, NODES[0, index], index, size, [*proof, b"\0" * 32])
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:place], bytes(32), *proof[place + 1 :]]
        assert not merkle.proves_inclusion(root, NODES[0, index], index, size, changed)
        assert not merkle.proves_inclusion(root, NODES[0, index], index, size, proof[1:])


@given(st.integers(2, 70), st.data())
def test_consistency_proof_fails_when_anything_differs(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second - 1))
    roots = naive_root(LEAVES[:first]), naive_root(LEAVES[:second])
    proof = [merkle.range_hash(r, NODES.__getitem__) for r in merkle.consistency_ranges(first, second)]
    place = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:place], bytes(32), *proof[place + 1 :]]
    assert not merkle.proves_consistency(first, roots[0], second, roots[1], changed)
    assert not merkle.proves_consistency(first, bytes(32), second, roots[1], proof)
    assert not merkle.proves_consistency(first, roots[0], second, bytes(32), proof)
    assert not merkle.proves_consistency(first, roots[0], second, roots[1], proof[:-1])


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=60, unique=True), st.data())
def test_roots_and_proofs_agree_with_pymerkle(leaves: list[bytes], data: st.DataObject) -> None:
    oracle = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        oracle.append_entry(leaf)
    nodes, size = build(leaves), len(leaves)
    assert oracle.get_root() == naive_root(leaves)
    index = data.draw(st.integers(0, size - 1))
    inclusion = [merkle.range_hash(r, nodes.__getitem__) for r in merkle.inclusion_ranges(index, size)]
    path = oracle.prove_inclusion(index + 1).serialize()["path"]
    assert [h for h in path if h != nodes[0, index].hex()] == [h.hex() for h in inclusion]


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_inclusion_is_refused_when_the_leaf_is_outside(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not in a tree"):
        merkle.inclusion_ranges(index, size)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3)])
def test_consistency_is_refused_when_the_first_tree_is_no_beginning(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="cannot begin"):
        merkle.consistency_ranges(first, second)
