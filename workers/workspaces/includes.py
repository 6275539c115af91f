"""Ignored files that a trusted configuration wants in every workspace (`[workspace] include`): a local settings file,
test data. They come from the directory that the project was fetched from, whose path lies beside the private repository's
own files; where that directory is not (another host), there is nothing to copy, and the caller is told.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from loom.workers.git import quote_path
from loom.workers.protocol.globs import Matcher, matcher
from loom.workers.workspaces.inspection import LIMITS, refused
from loom.workers.workspaces.repository import Repository

ORIGIN = "loom-origin"
"""File in a private repository: the bytes of the path that it was fetched from."""
NEVER = frozenset({".git", ".loom"})


def remember_origin(repository: Path, path: Path) -> None:
    """Keeps where the content came from."""
    (repository / ORIGIN).write_bytes(os.fsencode(os.path.abspath(path)))


async def copy_included(repository: Repository, tree: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """Copies matching regular files from the origin into the tree, never over a file that is there; the copied paths.

    Patterns are as in `globs`; one that matches a directory means everything below it. Symlinks are neither copied nor followed. Raises
    HandsError (WORKSPACE) beyond the limits of a workspace.
    """
    return await asyncio.to_thread(_copy, repository.path / ORIGIN, tree, tuple(patterns))


def _copy(origin_file: Path, tree: Path, patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns or not origin_file.is_file():
        return ()
    origin = Path(os.fsdecode(origin_file.read_bytes()))
    wanted = matcher(pattern.rstrip("/") for pattern in patterns)
    copied: list[str] = []
    total = 0
    for relative in _files(origin, wanted):
        source, target = origin / relative, tree / relative
        total += source.stat().st_size
        if total > LIMITS.total_bytes or len(copied) >= LIMITS.files:
            raise refused("the files of [workspace] include are beyond the limits")
        if os.path.lexists(target) or _through_link(tree, relative):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
        copied.append(quote_path(os.fsencode(relative)))
    return tuple(sorted(copied))


def _files(origin: Path, wanted: Matcher) -> Iterator[Path]:
    """The wanted regular files. A path is compared with its directories, too: one that matches brings all of its files."""
    for folder, names, files in os.walk(origin):
        names[:] = [name for name in names if name not in NEVER]
        here = Path(folder).relative_to(origin)
        for name in files:
            path = origin / here / name
            if path.is_file() and not path.is_symlink() and _matches(here / name, wanted):
                yield here / name


def _matches(relative: Path, wanted: Matcher) -> bool:
    places = [relative, *relative.parents][:-1]
    return any(wanted(os.fsencode(place)) for place in places)


def _through_link(tree: Path, relative: Path) -> bool:
    """Whether the way to the path leads over a symlink in the tree, and so perhaps out of it."""
    return any((tree / place).is_symlink() for place in relative.parents)
