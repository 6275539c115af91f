"""What stands in a directory that an agent left: refused before git sees it, or named.

The walk follows no symlink and opens no file. It finds what git would silently leave out or should not take: nested
repositories (their content would be one line, a gitlink), contents written into a submodule's directory, files that are
too large, and special files under names that git itself opens.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loom.workers.git import quote_path
from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError

MAX_FILE = 32 * 1024 * 1024
MAX_FILES = 100_000
MAX_TOTAL = 1024 * 1024 * 1024

LOOM = b".loom"
GIT = b".git"
OPENED_BY_GIT = (b".gitignore", b".gitattributes", b".gitmodules")

DEFAULT_EXCLUDES = (
    ".git",
    ".loom",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".eggs",
    ".DS_Store",
)
"""Names that never belong to a directory without git: caches, environments, other tools' state."""
CACHES = frozenset(os.fsencode(name) for name in DEFAULT_EXCLUDES) - {GIT, LOOM}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is taken as content: bytes of one file, number of files, bytes in all."""

    file_bytes: int = MAX_FILE
    files: int = MAX_FILES
    total_bytes: int = MAX_TOTAL


LIMITS = Limits()


@dataclass(slots=True)
class Found:
    """What the walk saw. Paths are bytes, relative to the tree."""

    nested: list[bytes] = field(default_factory=list)
    """Directories that contain an entry named .git, without the tree itself."""
    large: list[tuple[bytes, int]] = field(default_factory=list)
    files: int = 0
    total: int = 0


def inspect(tree: Path, limits: Limits, *, prune: frozenset[bytes] = frozenset()) -> Found:
    """Walks the tree. `prune`: names of directories not to look into. Raises HandsError (WORKSPACE)."""
    found = Found()
    for path, entry in _walk(os.fsencode(tree), b"", prune):
        name = os.path.basename(path)
        if name.lower() == GIT:
            if path != GIT:
                found.nested.append(os.path.dirname(path))
            continue
        status = entry.stat(follow_symlinks=False)
        if name in OPENED_BY_GIT and not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            raise refused(f"{quote_path(path)} is not a regular file")
        if not stat.S_ISREG(status.st_mode):
            continue
        found.files += 1
        found.total += status.st_size
        if status.st_size > limits.file_bytes:
            found.large.append((path, status.st_size))
    return found


def _walk(root: bytes, below: bytes, prune: frozenset[bytes]) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    pending = [below]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                for entry in listing:
                    path = os.path.join(folder, entry.name)
                    if entry.name in prune or path == LOOM:
                        continue
                    yield path, entry
                    if entry.is_dir(follow_symlinks=False) and entry.name.lower() != GIT:
                        pending.append(path)
        except OSError as error:
            raise refused(f"{quote_path(folder) or '.'} cannot be read: {error.strerror}") from error


def written_modules(tree: Path, modules: list[bytes]) -> list[bytes]:
    """The submodule directories that hold something: git would leave it out without a word."""
    root = os.fsencode(tree)
    written = []
    for path in modules:
        full = os.path.join(root, path)
        if os.path.isdir(full) and not os.path.islink(full) and os.listdir(full):
            written.append(path)
    return written


def refused(sentence: str) -> HandsError:
    """The result cannot be taken as a commit."""
    return HandsError(ErrorClass.WORKSPACE, f"the workspace cannot be taken as a commit: {sentence}")
