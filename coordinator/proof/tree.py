"""Proofs in the log's tree: that entries are in it, and that a longer tree goes on where a shorter one ended.

RFC 6962 §2.1 and RFC 9162 §2.1.3, §2.1.4. Provers read complete subtrees through `Fetch`; checkers need the hashes alone.
A multiproof says the same for many entries at once: walk the tree from its root; a subtree without any of the entries is
its hash, in the order of the walk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from loom.coordinator.merkle import EMPTY_ROOT, Fetch, node_hash

HASH_BYTES = 32


class ProofError(ValueError):
    """A proof does not prove what it is said to."""


def inclusion(fetch: Fetch, index: int, size: int) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree of `size` leaves, from the leaf up."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    return tuple(_path(fetch, index, 0, size))


def consistency(fetch: Fetch, first: int, second: int) -> tuple[bytes, ...]:
    """That the tree of `second` leaves begins with the tree of `first`."""
    if not 0 < first <= second:
        raise ValueError(f"a tree of {second} leaves does not go on from one of {first}")
    return tuple(_subproof(fetch, first, 0, second, whole=True))


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that the path leads to. Raises ProofError when it is not as long as it has to be."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    here, place, last = leaf, index, size - 1
    for node in path:
        if last == 0:
            raise ProofError("the path is too long")
        if place & 1 or place == last:
            here = node_hash(node, here)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            here = node_hash(here, node)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the path is too short")
    return here


def check_consistency(first: int, second: int, path: Sequence[bytes], old: bytes, new: bytes) -> None:
    """Raises ProofError unless the tree (second, new) begins with the tree (first, old)."""
    if first > second:
        raise ProofError(f"a tree of {second} leaves is shorter than one of {first}")
    if first in (0, second):
        if path or (first == second and old != new) or (first == 0 and old != EMPTY_ROOT):
            raise ProofError("two trees of one size have two roots" if not path else "a proof too long")
        return
    nodes = list(path)
    if first & (first - 1) == 0:
        nodes.insert(0, old)
    if not nodes:
        raise ProofError("the proof is empty")
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    was = now = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if place & 1 or place == last:
            was, now = node_hash(node, was), node_hash(node, now)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            now = node_hash(now, node)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if was != old:
        raise ProofError("the shorter tree is another one: the log was rewritten before its end")
    if now != new:
        raise ProofError("the longer tree is another one")


def multiproof(fetch: Fetch, indices: Sequence[int], size: int) -> tuple[bytes, ...]:
    """Hashes of the subtrees without any of the leaves `indices` (sorted, without doubles), in the order of the walk."""
    return tuple(_others(fetch, indices, 0, size))


def multiroot(leaves: Mapping[int, bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root that these leaves and a multiproof lead to. Raises ProofError when hashes are missing or left over."""
    indices = sorted(leaves)
    if indices and not 0 <= indices[0] <= indices[-1] < size:
        raise ProofError(f"an entry stands outside of a tree of {size}")
    if not size:
        return EMPTY_ROOT
    left = iter(proof)
    root = _rebuilt(leaves, indices, left, 0, size)
    if next(left, None) is not None:
        raise ProofError("the proof has hashes that belong to nothing")
    return root


# ------------------------------------------------------------------------------------------------------------ the walk


def _split(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1


def _span(fetch: Fetch, start: int, stop: int) -> bytes:
    """The hash over leaves start … stop − 1, where start is where a subtree of this size begins."""
    size = stop - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return fetch(level, start >> level)
    half = _split(size)
    return node_hash(_span(fetch, start, start + half), _span(fetch, start + half, stop))


def _path(fetch: Fetch, index: int, start: int, stop: int) -> Iterator[bytes]:
    if stop - start == 1:
        return
    middle = start + _split(stop - start)
    if index < middle:
        yield from _path(fetch, index, start, middle)
        yield _span(fetch, middle, stop)
    else:
        yield from _path(fetch, index, middle, stop)
        yield _span(fetch, start, middle)


def _subproof(fetch: Fetch, first: int, start: int, stop: int, *, whole: bool) -> Iterator[bytes]:
    """first: the shorter tree's end. whole: the shorter tree is a subtree whose hash the checker knows."""
    if first == stop:
        if not whole:
            yield _span(fetch, start, stop)
        return
    middle = start + _split(stop - start)
    if first <= middle:
        yield from _subproof(fetch, first, start, middle, whole=whole)
        yield _span(fetch, middle, stop)
    else:
        yield from _subproof(fetch, first, middle, stop, whole=False)
        yield _span(fetch, start, middle)


def _any(indices: Sequence[int], start: int, stop: int) -> bool:
    place = bisect_left(indices, start)
    return place < len(indices) and indices[place] < stop


def _others(fetch: Fetch, indices: Sequence[int], start: int, stop: int) -> Iterator[bytes]:
    if start == stop:
        return
    if not _any(indices, start, stop):
        yield _span(fetch, start, stop)
    elif stop - start > 1:
        middle = start + _split(stop - start)
        yield from _others(fetch, indices, start, middle)
        yield from _others(fetch, indices, middle, stop)


def _rebuilt(
    leaves: Mapping[int, bytes], indices: Sequence[int], proof: Iterator[bytes], start: int, stop: int
) -> bytes:
    if not _any(indices, start, stop):
        found = next(proof, None)
        if found is None:
            raise ProofError("the proof is too short")
        return found
    if stop - start == 1:
        return leaves[start]
    middle = start + _split(stop - start)
    left = _rebuilt(leaves, indices, proof, start, middle)
    return node_hash(left, _rebuilt(leaves, indices, proof, middle, stop))
