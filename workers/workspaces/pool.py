"""Used working trees, kept to be renewed: an attempt on a project begins with what an earlier one had there.

    DIR/<project>/<when>-<bytes>-<files>-<random>     one tree: only files at paths of the commit that it was used for, of
                                                      their sizes there; so its bytes are at most the commit's
    DIR/<project>/.…                                  being thrown away; swept at the first use

All that the pool knows of a tree stands in its name, and nothing of it is believed: `renewal` proves each file when the
tree is taken. A name appears by one rename and is taken by one rename out of the pool, so two attempts never have the same
tree, and one whose taker died is not in the pool any more. Age and number are looked at whenever a tree is put in.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loom.workers.git import GitError
from loom.workers.seams import HandsError
from loom.workers.workspaces.renewal import Plan, plan_of, prune, renewed
from loom.workers.workspaces.repository import Repository, ensure
from loom.workers.workspaces.working import checkout, remove_tree

log = logging.getLogger(__name__)

MAX_PLANS = 4
"""Plans of commits that are remembered."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a worker's pool. Sizes are those of the files of the commit that a tree was used for."""

    trees_a_project: int = 4
    trees: int = 16
    total_bytes: int = 2 * 1024 * 1024 * 1024
    tree_bytes: int = 512 * 1024 * 1024
    """A larger tree is not kept."""
    tree_files: int = 50_000
    age_ms: int = 24 * 3600 * 1000
    """An older tree is not used."""
    free_bytes: int = 2 * 1024 * 1024 * 1024
    """What must be free on the disk for a tree to be kept."""


POOL_LIMITS = PoolLimits()


@dataclass(frozen=True, slots=True)
class Kept:
    """A tree in the pool, by its name. used_ms: when it was put in, Unix time."""

    path: Path
    used_ms: int
    size: int
    files: int


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Pool:
    """The used trees of one worker, below a directory that is on one file system with the attempts' scratch."""

    def __init__(self, directory: Path, limits: PoolLimits = POOL_LIMITS, now_ms: Callable[[], int] = _now_ms) -> None:
        self._directory = directory
        self._limits = limits
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._swept = False
        self._plans: dict[tuple[Path, str], Plan] = {}

    async def checkout(self, repository: Repository, commit: str, directory: Path) -> Path:
        """As `working.checkout`, out of a kept tree where there is one. Raises HandsError."""
        await ensure(repository, commit)
        used = directory.parent / "used"
        if not await asyncio.to_thread(self._take, repository, used):
            return await checkout(repository, commit, directory)
        try:
            plan = await self._plan(repository, commit)
            whole = await renewed(repository, commit, plan, used, directory)
        except (GitError, OSError) as error:
            log.warning("a used tree was thrown away: %s", error)
            whole = False
        finally:
            await asyncio.to_thread(remove_tree, used)
        if whole:
            return directory
        await asyncio.to_thread(remove_tree, directory)
        return await checkout(repository, commit, directory)

    async def give(self, repository: Repository, commit: str, tree: Path) -> bool:
        """Takes in the tree with what lies at the commit's paths; whether it did (else the tree stays its owner's to remove).
        No process that could write in it may be alive. Raises nothing: a tree that is not kept is made anew."""
        try:
            plan = await self._plan(repository, commit)
            return await asyncio.to_thread(self._put, repository, plan, tree)
        except (GitError, HandsError, OSError) as error:
            log.warning("a used tree is not kept: %s", error)
            return False

    async def _plan(self, repository: Repository, commit: str) -> Plan:
        """The commit's plan; a commit never changes, and the agents of a stage all have the same one."""
        key = (repository.path, commit)
        plan = self._plans.pop(key, None) or await plan_of(repository, commit)
        if len(plan.parts) <= self._limits.tree_files:
            self._plans[key] = plan
        while len(self._plans) > MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        return plan

    def kept(self) -> list[Kept]:
        """What is in the pool, oldest first."""
        found = [_read(path) for path in self._directory.glob("*/[!.]*")]
        return sorted((each for each in found if each), key=lambda each: (each.used_ms, each.path.name))

    def _take(self, repository: Repository, target: Path) -> bool:
        """Moves the youngest tree of the project to the target, which no other attempt has."""
        self._sweep()
        target.parent.mkdir(parents=True, exist_ok=True)
        for each in reversed(self.kept()):
            if each.path.parent != self._place(repository) or not self._young(each):
                continue
            with contextlib.suppress(OSError):  # another attempt was quicker
                os.rename(each.path, target)
                return True
        return False

    def _put(self, repository: Repository, plan: Plan, tree: Path) -> bool:
        limits = self._limits
        if plan.converts or plan.size > limits.tree_bytes or len(plan.parts) > limits.tree_files:
            return False
        self._sweep()
        place = self._place(repository)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shutil.disk_usage(place).free < limits.free_bytes:
            return False
        files = prune(tree, plan)
        os.rename(tree, place / f"{self._now_ms():014d}-{plan.size}-{files}-{os.urandom(6).hex()}")
        self._bound()
        return True

    def _bound(self) -> None:
        """Throws away what is too old or too much, oldest first."""
        with self._lock:
            rest = self.kept()
            for each in list(rest):
                if not self._young(each) or self._too_much(each, rest):
                    rest.remove(each)
                    _throw_away(each.path)

    def _too_much(self, oldest: Kept, rest: list[Kept]) -> bool:
        limits = self._limits
        same = sum(each.path.parent == oldest.path.parent for each in rest)
        full = len(rest) > limits.trees or sum(each.size for each in rest) > limits.total_bytes
        return full or same > limits.trees_a_project

    def _young(self, each: Kept) -> bool:
        """A tree of the future is of a clock that was set back: as good as old."""
        return 0 <= self._now_ms() - each.used_ms <= self._limits.age_ms

    def _place(self, repository: Repository) -> Path:
        return self._directory / hashlib.sha256(os.fsencode(repository.path.absolute())).hexdigest()[:32]

    def _sweep(self) -> None:
        """Once a process: what a worker that died had begun. The worker's lock says that no other one is at it."""
        with self._lock:
            if not self._swept:
                for path in self._directory.glob("*/.*"):
                    remove_tree(path)
                for path in self._directory.glob("*/*"):
                    if _read(path) is None:
                        remove_tree(path)
                self._swept = True


def _read(path: Path) -> Kept | None:
    """What the name of a tree says; None when it is no name of ours."""
    try:
        used_ms, size, files, _ = path.name.split("-")
        return Kept(path, int(used_ms), int(size), int(files))
    except ValueError:
        return None


def _throw_away(path: Path) -> None:
    """Out of the pool at once, and then removed."""
    gone = path.with_name(f".gone-{path.name}")
    with contextlib.suppress(OSError):  # taken in this moment
        os.rename(path, gone)
        remove_tree(gone)
