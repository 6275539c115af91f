"""Working directories of attempts: made from a commit, taken as a commit, thrown away.

A workspace has no git directory inside: git runs with the project's private repository, an index in the attempt's
scratch, and the agent's directory as work tree. What the agent does to a `.git` of its own there is never read.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loom.workers.git import Git, GitError, quote_path
from loom.workers.protocol import Change, ChangedPath, ErrorClass, WorkspaceRef
from loom.workers.seams import HandsError
from loom.workers.workspaces.inspection import CACHES, LIMITS, LOOM, Found, Limits, inspect, refused, written_modules
from loom.workers.workspaces.repository import (
    Repository,
    check_oid,
    create_ref,
    diff,
    ensure,
    hands_error,
    open_repository,
)
from loom.workers.workspaces.trees import GITLINK, changed_paths, differences

if TYPE_CHECKING:
    from loom.workers.workspaces.pool import Pool

AUTHOR = "loom"
EMAIL = "loom@loom.invalid"
MAX_NEWLY_IGNORED = 200
"""Newly ignored paths that are named; the rest is counted in the last entry."""
REMOVE_S = 60.0
"""How long the system's own tools may take for a directory that Python could not remove."""
CHMOD = ("-exec", "chmod", "u+rwx", "{}", ";")
WITHOUT_LOOM = (".", ":(exclude,glob)**/.loom", ":(exclude,glob)**/.loom/**")
"""Pathspecs (gitglossary): the whole tree but loom's own directories, whatever a .gitignore says of them."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A working directory. `tree` is the agent's; everything else under `scratch` is not."""

    repository: Repository
    commit: str
    base: str
    scratch: Path
    tree: Path
    publish_ref: str = ""
    furnished: tuple[bytes, ...] = ()
    """Paths that were put there before the agent came (included files, what the set-up made): never part of a result."""

    def env(self) -> dict[str, str]:
        """What a command in the tree needs, so that a `git` it runs finds no repository above the tree."""
        return {"GIT_CEILING_DIRECTORIES": str(self.tree.parent)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An agent's directory as a commit. `diff`: the canonical diff base..commit; `digest`: its SHA-256, hex."""

    commit: str
    tree: str
    base: str
    diff: bytes
    digest: str
    paths: tuple[ChangedPath, ...]
    newly_ignored: tuple[str, ...]

    def change(self, diff_text_id: str) -> Change:
        """The wire's form of it, with the diff by text id."""
        return Change(
            commit=self.commit,
            tree=self.tree,
            base=self.base,
            digest=self.digest,
            diff=diff_text_id,
            paths=self.paths,
            newly_ignored=self.newly_ignored,
        )


async def prepare(
    ref: WorkspaceRef, scratch: Path, *, mirrors: Path | None = None, pool: Pool | None = None
) -> Workspace:
    """A new working directory `scratch/tree` with the commit's files, renewed from the pool's if it can be. Raises HandsError."""
    repository = await open_repository(ref.source, mirrors=mirrors, token=ref.token, pin=ref.pin)
    await ensure(repository, ref.commit, ref.base)
    tree = await (pool.checkout if pool else checkout)(repository, ref.commit, scratch / "tree")
    return Workspace(repository, ref.commit, ref.base or ref.commit, scratch, tree, ref.publish)


async def checkout(repository: Repository, commit: str, directory: Path) -> Path:
    """The files of a commit in a directory that must be empty or missing. No filter, hook or LFS program runs."""
    await ensure(repository, commit)
    await asyncio.to_thread(_empty, directory)
    with OwnIndex(directory.parent) as index:
        git = Git(directory=repository.path, tree=directory, index=index, extra={})
        try:
            await git.run("-c", "checkout.workers=1", "read-tree", "--reset", "-u", commit)
        except GitError as error:
            raise hands_error(error, f"commit {commit} cannot be checked out") from error
    return directory


def _empty(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise HandsError(ErrorClass.PERMANENT, f"{directory} is not empty: a checkout would mix with what is there")


class OwnIndex(contextlib.AbstractContextManager[Path]):
    """The path of an index file of its own, gone at the end. It holds no times of files, so that git compares contents:
    a file whose times were set back is still seen."""

    def __init__(self, where: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=".index-", dir=where)

    def __enter__(self) -> Path:
        return Path(self._folder.name) / "index"

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


async def furnished(workspace: Workspace) -> Workspace:
    """The workspace with what stands in its tree beside the commit marked as furniture, hidden by a .gitignore or not.

    Without it a file that only the user's own ignore rules hide (settings, keys) would be in the result.
    """
    with OwnIndex(workspace.scratch) as index:
        git = Git(directory=workspace.repository.path, tree=workspace.tree, index=index)
        try:
            await git.run("read-tree", workspace.commit)
            paths = (await git.run("ls-files", "-z", "--others")).split(b"\0")[:-1]
        except GitError as error:
            raise refused(error.message) from error
    return replace(workspace, furnished=tuple(path for path in paths if not path.endswith(b"/")))


async def snapshot(workspace: Workspace, *, message: str, date_ms: int, limits: Limits = LIMITS) -> Snapshot:
    """The agent's directory as a new commit on top of the workspace's; the same commit when no content differs.

    Raises HandsError, class WORKSPACE, for what cannot be taken: nested repositories, files over `limits`, contents in a
    submodule's directory. What the tree's own .gitignore hides is not in the commit, as git has it; what the base's
    would not have hidden is named in `newly_ignored`.
    """
    repository = workspace.repository
    with OwnIndex(workspace.scratch) as index:
        git = Git(directory=repository.path, tree=workspace.tree, index=index)
        try:
            await git.run("read-tree", workspace.commit)
            await _refuse(git, workspace, limits)
            await git.run("add", "--all", "--", *WITHOUT_LOOM)
            if workspace.furnished:
                names = b"".join(path + b"\0" for path in workspace.furnished)
                await git.run("update-index", "-z", "--force-remove", "--stdin", stdin=names)
            tree = await git.text("write-tree")
            ignored = await _newly_ignored(git, workspace)
        except GitError as error:
            raise refused(error.message) from error
    commit = await _commit(workspace, tree, message, date_ms)
    return await describe(repository, workspace.base, commit, tree, ignored)


async def describe(
    repository: Repository, base: str, commit: str, tree: str, newly_ignored: tuple[str, ...] = ()
) -> Snapshot:
    """Everything that the record says about base..commit. Raises HandsError for a gitlink that base has not."""
    changed = await differences(repository, base, commit)
    links = [each.path for each in changed if each.mode == GITLINK]
    if links:
        raise refused(
            f"{quote_path(links[0])} is a repository of its own; its content would be missing. Remove its .git"
        )
    canonical = await diff(repository, base, commit)
    return Snapshot(
        commit=commit,
        tree=tree,
        base=base,
        diff=canonical,
        digest=hashlib.sha256(canonical).hexdigest(),
        paths=await changed_paths(repository, base, commit),
        newly_ignored=newly_ignored,
    )


async def _refuse(git: Git, workspace: Workspace, limits: Limits) -> None:
    """Raises HandsError for what must not be taken, before git reads a byte of it."""
    found = await asyncio.to_thread(inspect, workspace.tree, limits)
    tracked = await _tracked(git)
    modules = [path for path, mode in tracked.items() if mode == GITLINK]
    written = await asyncio.to_thread(written_modules, workspace.tree, modules)
    if written:
        raise refused(f"{quote_path(written[0])} is a submodule; what was written there would be missing")
    await refuse_found(git, found, limits)
    if found.large:
        await _refuse_large(git, workspace, found, limits)


async def refuse_found(git: Git, found: Found, limits: Limits) -> None:
    """Raises HandsError for nested repositories that no .gitignore hides."""
    nested = await without_ignored(git, sorted(set(found.nested)))
    if nested:
        place = quote_path(nested[0])
        raise refused(
            f"{place} contains a git repository of its own (.git); its content would be missing. Remove its .git"
        )
    kept = found.files
    if kept > limits.files:
        raise refused(f"it has {kept} files; the limit is {limits.files}")


async def _refuse_large(git: Git, workspace: Workspace, found: Found, limits: Limits) -> None:
    sizes = {}
    for line in (await git.run("ls-tree", "-r", "-l", "-z", "--full-tree", workspace.commit)).split(b"\0")[:-1]:
        meta, _, path = line.partition(b"\t")
        sizes[path] = meta.split()[3]
    suspects = [path for path, size in found.large if sizes.get(path) != str(size).encode()]
    large = await without_ignored(git, suspects)
    if large:
        raise refused(
            f"{quote_path(large[0])} is larger than {limits.file_bytes} bytes; keep such files out by .gitignore"
        )


async def _tracked(git: Git) -> dict[bytes, str]:
    """path → mode of each entry in the index."""
    lines = (await git.run("ls-files", "-z", "--stage")).split(b"\0")[:-1]
    return {line.partition(b"\t")[2]: line[:6].decode() for line in lines}


async def without_ignored(git: Git, paths: list[bytes], *options: str) -> list[bytes]:
    """The paths that the tree's .gitignore files do not hide."""
    if not paths:
        return []
    output = await git.run("check-ignore", "-z", "--stdin", *options, stdin=b"\0".join(paths) + b"\0", ok=(0, 1))
    hidden = set(output.split(b"\0"))
    return [path for path in paths if path not in hidden]


async def _newly_ignored(git: Git, workspace: Workspace) -> tuple[str, ...]:
    """Files hidden now that the .gitignore files of the base would not hide; tools' caches are not named."""
    output = await git.run("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
    ignored = [path for path in output.split(b"\0")[:-1] if not CACHES.union({LOOM}).intersection(path.split(b"/"))]
    if not ignored:
        return ()
    with OwnIndex(workspace.scratch) as index, tempfile.TemporaryDirectory(dir=workspace.scratch) as rules:
        before = Git(directory=git.directory, tree=Path(rules), index=index)
        await before.run("read-tree", workspace.base)
        files = [path for path in await _tracked(before) if os.path.basename(path) == b".gitignore"]
        await before.run("checkout-index", "-z", "--stdin", stdin=b"".join(path + b"\0" for path in files))
        new = [quote_path(path) for path in sorted(await without_ignored(before, ignored, "--no-index"))]
    more = len(new) - MAX_NEWLY_IGNORED
    return tuple(new) if more <= 0 else (*new[:MAX_NEWLY_IGNORED], f"… and {more} more")


async def _commit(workspace: Workspace, tree: str, message: str, date_ms: int) -> str:
    try:
        if tree == await workspace.repository.tree_of(workspace.commit):
            return workspace.commit
        return await commit_tree(workspace.repository, tree, message, date_ms, parent=workspace.commit)
    except GitError as error:
        raise hands_error(error, "the commit cannot be made") from error


async def commit_tree(repository: Repository, tree: str, message: str, date_ms: int, *, parent: str = "") -> str:
    """A commit of the tree by the fixed author "loom": the same arguments, the same commit."""
    date = f"@{date_ms // 1000} +0000"
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", AUTHOR), ("EMAIL", EMAIL), ("DATE", date))
    }
    git = Git(directory=repository.path, extra=who)
    parents = ("-p", parent) if parent else ()
    text = message.replace("\0", "").rstrip("\n") + "\n"
    data = text.encode("utf-8", "replace")
    return (await git.run("commit-tree", tree, *parents, "-F", "-", stdin=data)).decode().strip()


async def publish(workspace: Workspace, commit: str, ref: str = "") -> None:
    """Puts the commit under the ref (default: the assignment's) in the source repository: created, or found equal."""
    ref = ref or workspace.publish_ref
    if not ref.startswith("refs/loom/"):
        raise HandsError(ErrorClass.PERMANENT, f"results are published under refs/loom/, not {ref!r}")
    repository = workspace.repository
    check_oid(commit)
    try:
        if repository.remote:
            await _push(repository, ref, commit)
        else:
            await create_ref(repository.git, ref, commit)
    except GitError as error:
        raise hands_error(error, f"the result cannot be published under {ref}") from error


async def _push(repository: Repository, ref: str, commit: str) -> None:
    """Raises HandsError (transient: the network), or GitError when the ref names another commit."""
    lease = f"--force-with-lease={ref}:"
    try:
        await repository.over_network(
            "push", "--quiet", lease, "--end-of-options", repository.remote, f"{commit}:{ref}"
        )
    except GitError as error:
        if "stale info" in error.stderr or "already exists" in error.stderr:
            raise
        raise HandsError(ErrorClass.TRANSIENT, f"the result cannot be pushed: {error.message}") from error


async def dispose(workspace: Workspace) -> None:
    """Removes the attempt's scratch, also what the agent made unreadable."""
    await asyncio.to_thread(remove_tree, workspace.scratch)


def remove_tree(directory: Path) -> None:
    """Removes a directory of ours whatever modes and depth its contents were given; symlinks are removed, never followed."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(directory, ignore_errors=True)
    if os.path.lexists(directory):
        for command in (
            ("find", directory, "-type", "d", "!", "-perm", "-700", *CHMOD),
            ("rm", "-rf", "--", directory),
        ):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(command, capture_output=True, timeout=REMOVE_S, check=False)
