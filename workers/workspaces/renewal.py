"""A used working tree made new: nothing of it is cleaned, a new tree is built and takes over what is proved to be the commit's.

An agent has written in the old tree, so every name, mode, link, attribute and byte there may be hostile. The new tree has
directories of its own. From the old one come only regular files at paths of the commit, of the commit's size, with one
name, the plain mode and no extended attribute; they are *moved*, so no directory, symlink, device or hidden file can come
along. git then hashes what was moved (its SHA-1 knows collision attacks and dies of them); what is not the commit's blob
is unlinked. What is missing, and every symlink, git writes anew. At last the new tree is walked: any path too few, too
many or of another kind, and it is not used.

The result is as good as a fresh checkout whatever the old tree was: it may be of another commit, half moved, or empty.
There is no index, list or mark to believe. It asks one thing: no process that can write in the old tree is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loom.workers.git import Git, GitError
from loom.workers.workspaces.repository import Repository, check_oid
from loom.workers.workspaces.trees import GITLINK, SYMLINK
from loom.workers.workspaces.working import OwnIndex, remove_tree

MAX_DEPTH = 64
"""Directories below each other that are taken over; two descriptors are open for each."""
EXECUTABLE = "100755"
CONVERTING = re.compile(rb"eol(?!=lf\b)|crlf|ident|working-tree-encoding")
"""Attributes by which a checkout's bytes are not the blob's (gitattributes(5)); eol=lf changes nothing on the way out."""
ALLOWED_ATTRIBUTES = frozenset({"security.selinux"})
"""Extended attributes that the system itself gives to each file."""


@dataclass(frozen=True, slots=True)
class Part:
    """One entry of the commit's tree. size: bytes of the blob; 0 for a submodule."""

    mode: str
    oid: str
    size: int


@dataclass(slots=True)
class Plan:
    """What a checkout of the commit consists of: every path with its part, and the directories, parents first."""

    parts: dict[bytes, Part]
    folders: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Directory (b"": the top) → names of the files in it. A submodule is an empty directory."""
    converts: bool = False
    """Whether a checkout may write other bytes than the blobs have."""

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts.values())


async def plan_of(repository: Repository, commit: str) -> Plan:
    """The plan of a commit that is there. Raises GitError."""
    listing = await repository.git.run(
        "ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", check_oid(commit)
    )
    plan = Plan({})
    folders: dict[bytes, list[bytes]] = {b"": []}
    for line in listing.split(b"\0")[:-1]:
        meta, _, path = line.partition(b"\t")
        mode, _, oid, size = meta.decode().split()
        plan.parts[path] = Part(mode, oid, 0 if size == "-" else int(size))
        folder, _, name = path.rpartition(b"/")
        for place in _parents(path if mode == GITLINK else folder):
            if place in folders:
                break
            folders[place] = []
        if mode != GITLINK:
            folders[folder].append(name)
    plan.folders = dict(sorted(folders.items(), key=lambda item: item[0].split(b"/") if item[0] else []))
    plan.converts = await _converts(repository, plan)
    return plan


def _parents(place: bytes) -> Iterator[bytes]:
    """The directory itself and those above it, without the top."""
    while place:
        yield place
        place = place.rpartition(b"/")[0]


async def _converts(repository: Repository, plan: Plan) -> bool:
    rules = [part.oid for path, part in plan.parts.items() if os.path.basename(path).lower() == b".gitattributes"]
    if not rules:
        return False
    text = await repository.git.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in rules).encode())
    return CONVERTING.search(text) is not None


async def renewed(repository: Repository, commit: str, plan: Plan, old: Path, new: Path) -> bool:
    """Makes the directory `new` (missing or empty) a checkout of the commit, out of the tree `old`, which is used up.

    False: it could not be proved to be one and must be thrown away. Raises GitError and OSError, which mean the same.
    """
    if plan.converts:
        return False
    moved = await asyncio.to_thread(take_over, old, new, plan)
    kept = await _proved(repository, new, plan, moved)
    missing = [path for path, part in plan.parts.items() if path not in kept and part.mode != GITLINK]
    if missing:
        with OwnIndex(new.parent) as index:
            git = Git(directory=repository.path, tree=new, index=index)
            await git.run("read-tree", commit)
            await git.run("checkout-index", "-z", "--stdin", stdin=b"".join(path + b"\0" for path in missing))
    return await asyncio.to_thread(_complete, new, plan)


def prune(tree: Path, plan: Plan) -> int:
    """Removes from a used tree what cannot be of use, so that it takes no room and keeps no secret; the files that are left.

    Nothing is proved by it. Raises OSError when the tree is no directory, or will not be pruned.
    """
    root = os.fsencode(tree)
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        raise NotADirectoryError(f"{tree} is no directory")
    left = 0
    for folder in plan.folders:  # parents first: what is no directory is gone before it would be gone through
        here = os.path.join(root, folder)
        if not os.path.lexists(here):
            continue
        os.chmod(here, 0o700)
        with os.scandir(here) as listing:
            for entry in list(listing):
                path = folder + b"/" + entry.name if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if path not in plan.folders:
                        remove_tree(Path(os.fsdecode(entry.path)))
                elif path in plan.parts and entry.stat(follow_symlinks=False).st_size == plan.parts[path].size:
                    left += 1
                else:
                    os.unlink(entry.path)
    return left


def take_over(old: Path, new: Path, plan: Plan) -> list[bytes]:
    """Builds the plan's directories in `new` and moves what could be its files there; the moved paths, of unproved content.

    No symlink in `old` is followed. Raises OSError when `new` cannot be made.
    """
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(new)
    os.mkdir(new)
    moved: list[bytes] = []
    with _Descent(old, new) as descent:
        for folder, names in plan.folders.items():
            descent.enter(folder)
            for name in names:
                path = folder + b"/" + name if folder else name
                if descent.move(name, plan.parts[path]) and _bare(new, path):
                    moved.append(path)
    return moved


class _Descent(contextlib.AbstractContextManager["_Descent"]):
    """The way through both trees at once, by descriptors: a name is only ever looked up in a directory that is a real one."""

    def __init__(self, old: Path, new: Path) -> None:
        self._now = time.time_ns()
        self._way: list[tuple[bytes, int | None, int]] = []
        above = _opened(os.fsencode(old), None)
        self._way.append((b"", above, os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
        top = os.fstat(self._way[0][2])
        self._rights, self._owner = top.st_mode & 0o777, (os.geteuid(), top.st_gid)

    def __exit__(self, *_: object) -> None:
        while self._way:
            self._leave()

    def _leave(self) -> None:
        _, old, new = self._way.pop()
        if old is not None:
            os.close(old)
        os.close(new)

    def enter(self, folder: bytes) -> None:
        """Goes to a directory whose parent was entered before; it is made in the new tree."""
        if not folder:
            return
        parent, _, name = folder.rpartition(b"/")
        while self._way[-1][0] != parent:
            self._leave()
        if len(self._way) > MAX_DEPTH:
            raise OSError(f"directories are more than {MAX_DEPTH} deep")
        _, old, new = self._way[-1]
        os.mkdir(name, dir_fd=new)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=new)
        self._way.append((folder, None if old is None else _opened(name, old), below))

    def move(self, name: bytes, part: Part) -> bool:
        """Moves the file if it can be the part by all that its inode says."""
        _, old, new = self._way[-1]
        if old is None or part.mode == SYMLINK:
            return False
        with contextlib.suppress(OSError):
            found = os.stat(name, dir_fd=old, follow_symlinks=False)
            if _like(found, part, self._rights) and (found.st_uid, found.st_gid) == self._owner:
                os.rename(name, name, src_dir_fd=old, dst_dir_fd=new)
                os.utime(name, ns=(self._now, self._now), dir_fd=new)  # a time is content, too, for make
                return True
        return False


def _opened(name: bytes, above: int | None) -> int | None:
    """A descriptor of the directory; None for whatever else is there, and for one that cannot be read."""
    with contextlib.suppress(OSError):
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    return None


def _like(found: os.stat_result, part: Part, rights: int) -> bool:
    """Whether an inode is as a checkout makes it. rights: what the umask leaves of 0o777."""
    if part.mode == SYMLINK:
        return stat.S_ISLNK(found.st_mode) and found.st_size == part.size
    mode = rights if part.mode == EXECUTABLE else rights & 0o666
    return found.st_mode == stat.S_IFREG | mode and found.st_nlink == 1 and found.st_size == part.size


def _bare(new: Path, path: bytes) -> bool:
    """Whether the moved file has no extended attribute (an access list, say) and a name that git can read by line; it is gone else."""
    full = os.path.join(os.fsencode(new), path)
    if b"\n" not in path and not path.startswith(b'"') and ALLOWED_ATTRIBUTES.issuperset(_attributes(full)):
        return True
    os.unlink(full)
    return False


def _attributes(path: bytes) -> list[str]:
    if not hasattr(os, "listxattr"):
        return []
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []  # a file system without them


async def _proved(repository: Repository, new: Path, plan: Plan, moved: list[bytes]) -> set[bytes]:
    """The moved paths whose bytes are the commit's; the others are unlinked. Raises GitError."""
    if not moved:
        return set()
    git = Git(directory=repository.path, cwd=new)
    lines = await git.run("hash-object", "--no-filters", "--stdin-paths", stdin=b"\n".join(moved) + b"\n")
    found = lines.decode().split()
    if len(found) != len(moved):
        raise GitError(f"git hashed {len(found)} of {len(moved)} files")
    kept = {path for path, oid in zip(moved, found, strict=True) if oid == plan.parts[path].oid}
    for path in moved:
        if path not in kept:
            os.unlink(os.path.join(os.fsencode(new), path))
    return kept


def _complete(tree: Path, plan: Plan) -> bool:
    """Whether the tree has every path of the plan, in the kind, mode and size of a checkout, and no other path."""
    root = os.fsencode(tree)
    rights = os.lstat(root).st_mode & 0o777
    missing = {path for path, part in plan.parts.items() if part.mode != GITLINK}
    for folder in plan.folders:
        with os.scandir(os.path.join(root, folder)) as listing:
            for entry in listing:
                path = folder + b"/" + entry.name if folder else entry.name
                found = entry.stat(follow_symlinks=False)
                if path in missing and _like(found, plan.parts[path], rights):
                    missing.discard(path)
                elif path not in plan.folders or found.st_mode != stat.S_IFDIR | rights:
                    return False
    return not missing
