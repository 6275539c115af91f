"""The log's tree: RFC 6962 §2.1 (the same in RFC 9162). Pure functions over an immutable right edge.

The edge holds the roots of the complete subtrees that the log splits into, largest first: one for each 1 in the binary
form of its size. It is all that is needed to append and to say the root. Proofs read inner nodes through `Fetch`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

LEAF, NODE = b"\x00", b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").digest()
STORED_LEVEL = 8
"""Inner nodes from this level up (256 leaves and more) are stored; those below are made from the leaves."""

Fetch = Callable[[int, int], bytes]
"""(level, index) → the hash of the complete subtree over leaves index·2^level … (index + 1)·2^level − 1."""

Node = tuple[int, int, bytes]
"""(level, index, hash)"""


class Edge(msgspec.Struct, frozen=True):
    """The right edge of a log of `size` leaves."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()


def leaf_hash(body: bytes) -> bytes:
    """The leaf of the stored bytes of an entry."""
    return hashlib.sha256(LEAF + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The parent of two nodes."""
    return hashlib.sha256(NODE + left + right).digest()


def append(edge: Edge, leaf: bytes) -> Edge:
    """The edge with one more leaf."""
    size, hashes, here = edge.size, edge.hashes, leaf
    kept = len(hashes)
    while size & 1:
        kept -= 1
        here = hashlib.sha256(NODE + hashes[kept] + here).digest()
        size >>= 1
    return Edge(edge.size + 1, (*hashes[:kept], here))


def completed(edge: Edge, leaf: bytes) -> tuple[Node, ...]:
    """The nodes of level STORED_LEVEL and up that become complete when `leaf` is appended to `edge`."""
    if (edge.size + 1) % (1 << STORED_LEVEL):
        return ()
    nodes: list[Node] = []
    level, index, here, hashes = 0, edge.size, leaf, edge.hashes
    while index & 1:
        here, hashes = node_hash(hashes[-1], here), hashes[:-1]
        level, index = level + 1, index >> 1
        if level >= STORED_LEVEL:
            nodes.append((level, index, here))
    return tuple(nodes)


def root(edge: Edge) -> bytes:
    """The tree head of the whole log."""
    if not edge.hashes:
        return EMPTY_ROOT
    here = edge.hashes[-1]
    for left in reversed(edge.hashes[:-1]):
        here = node_hash(left, here)
    return here


def subtree(leaves: list[bytes]) -> bytes:
    """The root over these leaves: of a whole log, or of one complete subtree."""
    edge = Edge()
    for leaf in leaves:
        edge = append(edge, leaf)
    return root(edge)
