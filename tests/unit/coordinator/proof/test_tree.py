"""Inclusion and consistency against the published vectors, against the definition, and against every small lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.coordinator import merkle
from loom.coordinator.merkle import leaf_hash
from loom.coordinator.proof.tree import (
    ProofError,
    check_consistency,
    consistency,
    included,
    inclusion,
    multiproof,
    multiroot,
)

INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
LEAVES = [leaf_hash(bytes.fromhex(each)) for each in INPUTS]
PATHS = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
"""(leaf, size) → path: of Certificate Transparency's reference tests (github.com/google/certificate-transparency-go,
merkletree/merkle_verifier_test.go, getInclusionTestVector, counted there from 1)."""
CONSISTENCIES = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
"""(first, second) → proof: of the same file, getConsistencyProofs."""


def fetch_from(leaves: list[bytes]) -> merkle.Fetch:
    return lambda level, place: merkle.subtree(leaves[place << level : (place + 1) << level])


def root(leaves: list[bytes]) -> bytes:
    return merkle.subtree(leaves)


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_the_published_paths(index: int, size: int) -> None:
    """The path is the published one, and leads from the leaf to the published root."""
    path = inclusion(fetch_from(LEAVES), index, size)
    assert PATHS[index, size] == tuple(each.hex() for each in path)
    assert root(LEAVES[:size]) == included(LEAVES[index], index, size, path)


@pytest.mark.parametrize(("first", "second"), CONSISTENCIES)
def test_the_published_consistencies(first: int, second: int) -> None:
    """The proof is the published one, and holds between the published roots."""
    proof = consistency(fetch_from(LEAVES), first, second)
    assert CONSISTENCIES[first, second] == tuple(each.hex() for each in proof)
    check_consistency(first, second, proof, root(LEAVES[:first]), root(LEAVES[:second]))


def test_every_small_tree() -> None:
    """Each leaf, each pair of sizes up to 20: what is true is proved; with any hash changed, missing or added, nothing is."""
    leaves = [leaf_hash(bytes([i])) for i in range(20)]
    fetch = fetch_from(leaves)
    for size in range(1, 21):
        for index in range(size):
            path = inclusion(fetch, index, size)
            assert root(leaves[:size]) == included(leaves[index], index, size, path)
            for wrong in lies(path):
                assert not _leads(leaves[index], index, size, wrong, root(leaves[:size]))
        for first in range(1, size + 1):
            proof = consistency(fetch, first, size)
            check_consistency(first, size, proof, root(leaves[:first]), root(leaves[:size]))
            for wrong in lies(proof):
                with pytest.raises(ProofError):
                    check_consistency(first, size, wrong, root(leaves[:first]), root(leaves[:size]))


def lies(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """The proof with one hash too few, one too many, and each one changed."""
    changed = [(*proof[:i], bytes(32), *proof[i + 1 :]) for i in range(len(proof))]
    return [*([proof[:-1]] if proof else []), (*proof, bytes(32)), *changed]


def _leads(leaf: bytes, index: int, size: int, path: tuple[bytes, ...], to: bytes) -> bool:
    try:
        return included(leaf, index, size, path) == to
    except ProofError:
        return False


@given(st.data())
def test_many_entries_at_once(data: st.DataObject) -> None:
    """A multiproof of any set leads to the root; a leaf that is changed, or left out, does not."""
    size = data.draw(st.integers(1, 70))
    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    indices = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    proof = multiproof(fetch_from(leaves), indices, size)
    chosen = {index: leaves[index] for index in indices}
    assert root(leaves) == multiroot(chosen, size, proof)
    for index in indices:
        assert root(leaves) != multiroot({**chosen, index: bytes(32)}, size, proof)
        without = {each: leaf for each, leaf in chosen.items() if each != index}
        with pytest.raises(ProofError):
            assert root(leaves) == multiroot(without, size, proof) or _refuse()
    for wrong in ((*proof, bytes(32)), proof[:-1]):
        if wrong != proof:
            with pytest.raises(ProofError):
                multiroot(chosen, size, wrong)


def _refuse() -> bool:
    raise ProofError("another root")


def test_what_is_no_proof_at_all() -> None:
    """Sizes and places outside of the tree are refused, by provers and checkers."""
    fetch = fetch_from(LEAVES)
    with pytest.raises(ValueError, match="no leaf 8"):
        inclusion(fetch, 8, 8)
    for first in (0, 9):
        with pytest.raises(ValueError, match="does not go on"):
            consistency(fetch, first, 8)
    with pytest.raises(ProofError, match="no leaf 8"):
        included(LEAVES[0], 8, 8, ())
    with pytest.raises(ProofError, match="outside"):
        multiroot({8: LEAVES[0]}, 8, ())
    with pytest.raises(ProofError, match="shorter"):
        check_consistency(8, 7, (), root(LEAVES), root(LEAVES[:7]))
    with pytest.raises(ProofError, match="two roots"):
        check_consistency(8, 8, (), root(LEAVES), bytes(32))
    with pytest.raises(ProofError, match="rewritten"):
        check_consistency(6, 8, consistency(fetch, 6, 8), bytes(32), root(LEAVES))
