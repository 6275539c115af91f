"""How content comes into the home's private repositories, and how a result goes back as a branch.

    <home>/repos/<project>.git       one private bare repository a project (see repository.py)
    <home>/repos/<project>.lock      held while it is made

From a user's git repository: a local clone whose object files are hard links (both sides only ever add or replace
whole files, so neither can spoil the other), made once, then fetched into. From a directory without git: its files,
within limits and without the default excludes. Nothing but `create_branch` writes into anything of the user's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from loom.workers.git import Git, GitError, quote_path
from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError
from loom.workers.workspaces.includes import remember_origin
from loom.workers.workspaces.inspection import DEFAULT_EXCLUDES, LIMITS, Limits, inspect, refused
from loom.workers.workspaces.repository import (
    BASE_REFS,
    EMPTY_TREE,
    Repository,
    check_oid,
    create_ref,
    hands_error,
    make_bare,
    neutralise,
    settle,
)
from loom.workers.workspaces.working import WITHOUT_LOOM, commit_tree, refuse_found, remove_tree

CLONE_MS = 30 * 60_000
"""Time limit of a first clone or a large fetch."""
LOCK_S = 1800.0
CLONE_TRIES = 3
"""A clone can meet the user's own `git gc` half-way; then it is made again."""

GC_WAITS_S = (0.2, 0.5, 1.0, 2.0)
"""So often, and after such waits, is a fetch made again that met the user's own `git gc`."""

TRACKED = ".loom/ is tracked by git in this commit; run `git rm -r --cached .loom`, commit, and try again"

T = TypeVar("T")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


class NotThere(HandsError):
    """What was asked for is not there: a revision, a repository, a first commit. Asking again does not help."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorClass.PERMANENT, message)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A base commit that is now kept in the project's repository."""

    repository: Path
    commit: str
    tree: str


def repository_path(home: Path, project: str) -> Path:
    """Where a project's private repository lies. Raises HandsError for a name that is not safe in a path."""
    if not _PROJECT.match(project) or ".." in project:
        raise NotThere(f"{project!r} cannot be a project's id: letters, digits, '.', '_', '-' only")
    return home / "repos" / f"{project}.git"


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One maker at a time, over processes."""
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(LOCK_S):
            while not _try_lock(handle):  # noqa: ASYNC110 (the lock is another process's; nobody can wake us)
                await asyncio.sleep(0.02)
        yield
    except TimeoutError:
        raise HandsError(
            ErrorClass.TRANSIENT, f"another process has been working on {path} for {LOCK_S:.0f} s"
        ) from None
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


async def fetch_project(home: Path, project: str, path: Path, revision: str = "HEAD") -> Fetched:
    """Brings a revision of the user's repository into the project's own and keeps it there by a ref.

    Raises HandsError: the revision does not exist, the repository has no commit yet, is a partial clone, is damaged.
    """
    user = await user_repository(path)
    commit = await _resolve(user, revision)
    target = repository_path(home, project)
    try:
        async with _locked(target):
            if not target.exists():
                await _clone(user.common, target)
            repository = Repository(target)
            if not await _complete(repository, commit):
                await _undisturbed(lambda: _fetch_base(repository, user.common, commit))
            await refuse_tracked_home(repository, commit)
            await repository.keep(BASE_REFS + commit, commit)
            await asyncio.to_thread(remember_origin, target, path)
            return Fetched(target, commit, await repository.tree_of(commit))
    except GitError as error:
        raise hands_error(error, f"{quote_path(os.fsencode(path))} cannot be fetched") from error


@dataclass(frozen=True, slots=True)
class UserRepository:
    """A user's repository: `common` is the git directory with objects and branches; `own` is where HEAD is, which is
    another one in a linked worktree."""

    common: Path
    own: Path

    @property
    def git(self) -> Git:
        return Git(directory=self.common)


async def user_repository(path: Path) -> UserRepository:
    try:
        common = await Git(cwd=path).run("rev-parse", "--path-format=absolute", "--git-common-dir")
        own = await Git(cwd=path).run("rev-parse", "--absolute-git-dir")
    except GitError as error:
        raise NotThere(f"{quote_path(os.fsencode(path))} is not in a git repository: {error.message}") from error
    if await Git(cwd=path).text("rev-parse", "--show-object-format") != "sha1":
        raise HandsError(
            ErrorClass.PERMANENT, "the repository uses SHA-256 object ids, which loom does not support yet"
        )
    return UserRepository(Path(os.fsdecode(common.removesuffix(b"\n"))), Path(os.fsdecode(own.removesuffix(b"\n"))))


async def _resolve(user: UserRepository, revision: str) -> str:
    try:
        return await Git(directory=user.own).text("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except GitError as error:
        if revision == "HEAD":
            raise NotThere("the repository has no commit yet; make a first commit") from error
        raise NotThere(f"there is no commit {revision!r} in the repository") from error


async def refuse_tracked_home(repository: Repository, commit: str) -> None:
    """Raises HandsError when the commit contains loom's own home: a database in its own history would never settle."""
    if await repository.git.run("ls-tree", "-z", "--full-tree", "--end-of-options", commit, ".loom"):
        raise HandsError(ErrorClass.PERMANENT, TRACKED)


async def _fetch_base(repository: Repository, source: Path, commit: str) -> None:
    await repository.git.run(
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-shallow", "--end-of-options",
        source, f"{commit}:{BASE_REFS}{commit}", timeout_ms=CLONE_MS,
    )  # fmt: skip


async def _complete(repository: Repository, commit: str) -> bool:
    """True when the commit is kept by a ref already: then everything that it reaches is here."""
    code, _, _ = await repository.git.call("show-ref", "--verify", "--quiet", BASE_REFS + commit)
    return code == 0


async def _clone(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".clone-", dir=target.parent) as name:
        for attempt in range(1, CLONE_TRIES + 1):
            fresh = Path(name) / f"{attempt}.git"
            try:
                await _clone_into(source, fresh, hard_links=attempt < CLONE_TRIES)
                break
            except GitError:
                if attempt == CLONE_TRIES:
                    raise
        settle(fresh, target)


async def _clone_into(source: Path, fresh: Path, *, hard_links: bool) -> None:
    """A bare clone without refs. git copies where it cannot link; borrowed objects (alternates) are always copied."""
    borrowed = (source / "objects" / "info" / "alternates").exists() or (source / "shallow").exists()
    how = "--no-local" if borrowed or not hard_links else "--no-tags"
    options = ("--quiet", "--bare", "--no-tags", how, "--template=")
    await Git(cwd=fresh.parent).run("clone", *options, "--", source, fresh, timeout_ms=CLONE_MS)
    git = Git(directory=fresh)
    refs = (await git.run("for-each-ref", "--format=%(refname)")).splitlines()
    await git.run("update-ref", "--stdin", stdin=b"".join(b"delete " + ref + b"\n" for ref in refs))
    await git.run("symbolic-ref", "HEAD", "refs/heads/main")
    if (fresh / "objects" / "info" / "alternates").exists():
        raise GitError("the clone borrows objects from another repository")
    neutralise(fresh)


# ------------------------------------------------------------------------------------------------------ without git


async def import_directory(home: Path, project: str, path: Path, limits: Limits = LIMITS) -> Fetched:
    """A commit of a directory that is not under git: what its .gitignore files do not hide, without the default excludes.

    The same content gives the same commit. Nothing is written into the directory. Raises HandsError (WORKSPACE) for
    nested repositories and beyond the limits.
    """
    target = await _own(home, project)
    prune = frozenset(os.fsencode(name) for name in DEFAULT_EXCLUDES) - {b".git"}
    found = await asyncio.to_thread(inspect, path, limits, prune=prune)
    if found.total > limits.total_bytes:
        raise refused(f"{quote_path(os.fsencode(path))} holds {found.total} bytes; the limit is {limits.total_bytes}")
    excludes = [
        spec for name in DEFAULT_EXCLUDES for spec in (f":(exclude,glob)**/{name}", f":(exclude,glob)**/{name}/**")
    ]
    scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=target.parent))
    try:
        git = Git(directory=target, tree=path, index=scratch / "index")
        await git.run("read-tree", "--empty")
        await refuse_found(git, found, limits)
        if found.large:
            raise refused(f"{quote_path(found.large[0][0])} is larger than {limits.file_bytes} bytes")
        await git.run("add", "--all", "--", *WITHOUT_LOOM, *excludes, timeout_ms=CLONE_MS)
        tree = await git.text("write-tree")
        await asyncio.to_thread(remember_origin, target, path)
        return await _keep(Repository(target), tree, "The directory as it was handed over")
    except GitError as error:
        raise refused(error.message) from error
    finally:
        remove_tree(scratch)


async def empty_project(home: Path, project: str) -> Fetched:
    """An empty commit, for tasks without a project."""
    target = await _own(home, project)
    try:
        repository = Repository(target)
        await repository.git.run("hash-object", "-t", "tree", "-w", "--stdin")
        return await _keep(repository, EMPTY_TREE, "Nothing yet")
    except GitError as error:
        raise hands_error(error, "the empty commit cannot be made") from error


async def _own(home: Path, project: str) -> Path:
    target = repository_path(home, project)
    try:
        async with _locked(target):
            if not target.exists():
                await make_bare(target)
    except GitError as error:
        raise hands_error(error, f"{target} cannot be made") from error
    return target


async def _keep(repository: Repository, tree: str, message: str) -> Fetched:
    commit = await commit_tree(repository, tree, message, 0)
    await repository.keep(BASE_REFS + commit, commit)
    return Fetched(repository.path, commit, tree)


# ----------------------------------------------------------------------------------------------------------- branch


async def branch_at(path: Path, name: str) -> str:
    """The commit that a branch of the user's repository names ("" : there is none). Raises HandsError."""
    user = await user_repository(path)
    _, found, _ = await user.git.call("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/heads/{name}")
    return found.decode().strip()


async def create_branch(path: Path, name: str, commit: str, repository: Path) -> bool:
    """Creates the branch in the user's repository: True when it was created now, False when it was there and equal.

    Objects are added and one ref is created. HEAD, index, work tree, FETCH_HEAD, reflogs and configuration stay as they
    are; no hook runs. Raises HandsError when the name is taken by another commit (nothing is ever forced).
    """
    check_oid(commit)
    user = await user_repository(path)
    ref = f"refs/heads/{name}"
    try:
        await user.git.run("check-ref-format", ref)
        _, found, _ = await user.git.call("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
        if found:
            return await create_ref(user.git, ref, commit)  # equal, or an error
        await _undisturbed(lambda: _bring_branch(user.git, ref, commit, repository))
    except GitError as error:
        raise hands_error(error, f"branch {name} cannot be created in {quote_path(os.fsencode(path))}") from error
    return True


async def _bring_branch(git: Git, ref: str, commit: str, repository: Path) -> None:
    """Objects and ref in one `git fetch`, as a pack: that is locked (.keep) until the ref names it, so that a `git gc
    --prune=now` of the user's in between takes nothing of it away. Of loose objects it would."""
    await git.run(
        "-c", "fetch.unpackLimit=1", "-c", "transfer.unpackLimit=1",
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules",
        "--update-shallow", "--end-of-options", repository, f"{commit}:{ref}", timeout_ms=CLONE_MS,
    )  # fmt: skip


async def _undisturbed(work: Callable[[], Awaitable[T]]) -> T:
    """The work, done again when git fails: a `git gc` of the user's may have met it half-way. Raises the last GitError."""
    for wait_s in GC_WAITS_S:
        with contextlib.suppress(GitError):
            return await work()
        await asyncio.sleep(wait_s)
    return await work()
