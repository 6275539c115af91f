"""The log's tree against the published vectors, and against the definition written as it stands in the standard."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.coordinator import merkle
from loom.coordinator.merkle import STORED_LEVEL, Edge, append, completed, leaf_hash, root

LEAVES = [
    bytes.fromhex(each)
    for each in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of Certificate Transparency's reference tests: github.com/google/certificate-transparency-go,
merkletree/merkle_verifier_test.go, getInputs and getRoots."""


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word by word: split at the largest power of two below the size."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:half]) + by_definition(leaves[half:])).digest()


def test_the_published_roots() -> None:
    """After each of the eight leaves, the root is the published one."""
    edge = Edge()
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" == root(edge).hex()
    for leaf, expected in zip(LEAVES, ROOTS, strict=True):
        edge = append(edge, leaf_hash(leaf))
        assert expected == root(edge).hex()


@given(st.integers(0, 140))
def test_the_edge_is_the_tree(size: int) -> None:
    """Appending one by one gives the root of the definition, with one hash for each 1 in the size."""
    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    edge = Edge()
    for leaf in leaves:
        edge = append(edge, leaf)
    assert by_definition(leaves) == root(edge) == merkle.subtree(leaves)
    assert (size, size.bit_count()) == (edge.size, len(edge.hashes))


def test_appending_leaves_the_edge_before_as_it_was() -> None:
    """An edge is a value: what a rollback returns to is still there."""
    edge = append(append(Edge(), leaf_hash(b"a")), leaf_hash(b"b"))
    before = Edge(edge.size, edge.hashes)
    append(edge, leaf_hash(b"c"))
    assert before == edge


@pytest.mark.parametrize("size", [1 << STORED_LEVEL, 3 << STORED_LEVEL, 4 << STORED_LEVEL])
def test_complete_subtrees_are_named_once_each(size: int) -> None:
    """Every complete subtree of the stored levels appears exactly once, with the hash of the definition."""
    leaves = [leaf_hash(i.to_bytes(3, "big")) for i in range(size)]
    edge, found = Edge(), {}
    for leaf in leaves:
        for level, index, digest in completed(edge, leaf):
            assert (level, index) not in found
            found[level, index] = digest
        edge = append(edge, leaf)
    expected = {
        (level, index): by_definition(leaves[index << level : (index + 1) << level])
        for level in range(STORED_LEVEL, size.bit_length())
        for index in range(size >> level)
    }
    assert expected == found
