"""What a commit consists of, and what differs between two: entries, changed paths, contents by SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from loom.workers.git import GitError, quote_path
from loom.workers.protocol import ChangedPath
from loom.workers.workspaces.repository import ZERO, Repository, hands_error

GITLINK = "160000"
SYMLINK = "120000"

_STATUS = {b"A": "A", b"M": "M", b"D": "D", b"T": "T"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree, at any depth. mode: git's six octal digits."""

    path: bytes
    mode: str
    oid: str

    @property
    def kind(self) -> str:
        """file, link or module: what it is, whether or not it is executable."""
        return {SYMLINK: "link", GITLINK: "module"}.get(self.mode, "file")


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs. status: A, M, D, T. added, removed: lines; -1 for content that git takes for binary."""

    path: bytes
    status: str
    mode: str
    oid: str
    added: int
    removed: int


async def entries(repository: Repository, commit: str) -> list[Entry]:
    """Every entry of the commit's tree."""
    try:
        listing = await repository.git.run("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit)
    except GitError as error:
        raise hands_error(error, f"the tree of {commit} cannot be listed") from error
    found = []
    for line in listing.split(b"\0")[:-1]:
        meta, _, path = line.partition(b"\t")
        mode, _, oid = meta.decode().split(" ")
        found.append(Entry(path, mode, oid))
    return found


async def differences(repository: Repository, base: str, commit: str) -> list[Difference]:
    """The paths that differ between two commits, in git's order, without rename detection."""
    try:
        output = await repository.git.run(
            "diff-tree", "-r", "-z", "--raw", "--numstat", "--no-abbrev", "--no-renames", "--no-textconv", "--no-ext-diff",
            "--diff-algorithm=myers", "--no-indent-heuristic", "--ignore-submodules=none", base, commit,
        )  # fmt: skip
    except GitError as error:
        raise hands_error(error, "the changed paths cannot be listed") from error
    return _parsed(output.split(b"\0"))


def _parsed(fields: list[bytes]) -> list[Difference]:
    """`--raw -z` gives ":modes oids status" NUL path NUL for each path, then `--numstat -z` "added TAB removed TAB path"."""
    raw: dict[bytes, tuple[str, str, str]] = {}
    position = 0
    while position < len(fields) and fields[position].startswith(b":"):
        _, mode, _, oid, status = fields[position][1:].decode().split(" ")
        raw[fields[position + 1]] = (_STATUS[status[:1].encode()], mode, oid)
        position += 2
    lines: dict[bytes, tuple[int, int]] = {}
    for field in fields[position:]:
        if field:
            added, removed, path = field.split(b"\t", 2)
            lines[path] = (-1, -1) if added == b"-" else (int(added), int(removed))
    return [Difference(path, *each, *lines.get(path, (0, 0))) for path, each in raw.items()]


async def contents(repository: Repository, oids: Iterable[str]) -> dict[str, str]:
    """Hex SHA-256 of each blob's content, by its git id."""
    wanted = sorted({oid for oid in oids if oid != ZERO})
    if not wanted:
        return {}
    try:
        stream = await repository.git.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in wanted).encode())
    except GitError as error:
        raise hands_error(error, "changed contents cannot be read") from error
    found: dict[str, str] = {}
    view, position = memoryview(stream), 0
    while position < len(stream):
        end = stream.index(b"\n", position)
        oid, _, size = stream[position:end].decode().split(" ")
        start = end + 1
        found[oid] = hashlib.sha256(view[start : start + int(size)]).hexdigest()
        position = start + int(size) + 1
    return found


async def changed_paths(repository: Repository, base: str, commit: str) -> tuple[ChangedPath, ...]:
    """The changed paths of base..commit with lines added and removed (0 and 0 for binary content) and content digests."""
    found = await differences(repository, base, commit)
    digests = await contents(repository, (each.oid for each in found if each.mode != GITLINK))
    return tuple(
        ChangedPath(
            path=quote_path(each.path),
            status=each.status,
            added=max(each.added, 0),
            removed=max(each.removed, 0),
            digest=digests.get(each.oid, ""),
        )
        for each in found
    )
