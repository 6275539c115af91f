"""A project's private bare repository: commits in, trees and canonical diffs out.

Its configuration is ours alone, so git may read it without asking whom to trust. Refs in it: `refs/loom/base/<commit>`
keeps each base that a task names; `refs/loom/<task>/<spawn>/<attempt>` keeps each result. Objects are never borrowed
(alternates), so whatever the user does to the user's repository does not matter here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from loom.workers.git import Git, GitError, GitTimeout
from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError

BASE_REFS = "refs/loom/base/"
ZERO = "0" * 40
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree without entries: git's own constant for SHA-1."""

CONFIG = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
	symlinks = true
[gc]
	auto = 0
[uploadpack]
	allowAnySHA1InWant = true
[receive]
	denyNonFastForwards = true
	denyDeletes = true
"""
ATTRIBUTES = "* !diff !filter !merge\n"
"""$GIT_DIR/info/attributes outranks every .gitattributes: no tree decides how its diff looks or names a driver."""

DIFF_OPTIONS = (
    "--binary",
    "--full-index",
    "--no-renames",
    "--no-textconv",
    "--no-ext-diff",
    "--no-color",
    "--no-indent-heuristic",
    "--diff-algorithm=myers",
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--submodule=short",
    "--ignore-submodules=none",
)
"""The canonical diff. Changing one of these changes every digest: it would need a new protocol number."""
MAX_DIFF = 64 * 1024 * 1024
"""Bytes of a canonical diff (a blob's limit on the wire)."""

NETWORK_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""So often, and after such waits, is something tried again that failed on the way to another host."""
FINAL = ("returned error: 403", "returned error: 404", "pinned public key", "fatal: couldn't find remote ref")
"""What trying again does not mend."""

_OID = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class Repository:
    """A bare repository on this host. `remote`: the URL that it mirrors ("" : it is the project's own); token, pin: what
    opens the URL, and whose key its server must have."""

    path: Path
    remote: str = ""
    token: str = field(default="", repr=False)
    pin: str = ""

    @property
    def git(self) -> Git:
        return Git(directory=self.path)

    async def over_network(self, *arguments: str) -> None:
        """Runs git against `remote`; what may pass by itself is tried again for a while. Raises GitError."""
        git = Git(directory=self.path, protocols="file:https" if self.pin else "file:http:https", config=self._config())
        for wait_s in NETWORK_WAITS_S:
            try:
                await git.run(*arguments)
            except GitError as error:
                if any(word in error.stderr for word in FINAL):
                    raise
                await asyncio.sleep(wait_s)
            else:
                return
        await git.run(*arguments)

    def _config(self) -> tuple[tuple[str, str], ...]:
        """A pin stands for the certificate's authority and its names: the key itself is the one that was promised."""
        slow = (("http.lowSpeedLimit", "1000"), ("http.lowSpeedTime", "30"), ("http.followRedirects", "false"))
        header = (("http.extraHeader", f"Authorization: Bearer {self.token}"),) if self.token else ()
        pinned = (("http.pinnedPubkey", self.pin), ("http.sslVerify", "false")) if self.pin else ()
        return (*slow, *header, *pinned)

    async def tree_of(self, commit: str) -> str:
        return await self.git.text("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")

    async def has(self, commit: str) -> bool:
        code, _, _ = await self.git.call("cat-file", "-e", f"{commit}^{{commit}}")
        return code == 0

    async def keep(self, ref: str, commit: str) -> None:
        """Creates the ref, or finds it equal. Raises GitError when it names another commit."""
        await create_ref(self.git, ref, commit)


def check_oid(commit: str) -> str:
    """The commit id itself. Raises HandsError when it is not 40 hexadecimal digits (an option or a revision in disguise)."""
    if not _OID.match(commit):
        raise HandsError(ErrorClass.PERMANENT, f"{commit!r} is not a commit id of 40 hexadecimal digits")
    return commit


async def create_ref(git: Git, ref: str, commit: str) -> bool:
    """True when it was created now, False when it was there and equal; GitError when it is there and different."""
    code, _, error = await git.call("update-ref", "--end-of-options", ref, commit, ZERO)
    if code == 0:
        return True
    _, found, _ = await git.call("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
    present = found.decode().strip()
    if present == commit:
        return False
    if present:
        raise GitError(f"{ref} already names {present}, not {commit}; nothing was changed")
    raise GitError(f"{ref} cannot be created: {error.splitlines()[0] if error else 'git said nothing'}")


def hands_error(error: GitError, what: str) -> HandsError:
    """What the kernel can act on, of what git said."""
    error_class = ErrorClass.TRANSIENT if isinstance(error, GitTimeout) else ErrorClass.PERMANENT
    return HandsError(error_class, f"{what}: {error.message}", status=max(error.code, 0))


def neutralise(directory: Path) -> None:
    """Makes a bare repository ours: our configuration and attributes, no hooks, nothing borrowed."""
    (directory / "config").write_text(CONFIG)
    info = directory / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text(ATTRIBUTES)
    (info / "exclude").write_text("")
    shutil.rmtree(directory / "hooks", ignore_errors=True)


async def make_bare(directory: Path) -> None:
    """A new, empty private repository; appears whole or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=directory.parent) as name:
        fresh = Path(name) / "repository.git"
        await Git(cwd=directory.parent).run(
            "init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--object-format=sha1", "--", fresh
        )
        neutralise(fresh)
        settle(fresh, directory)


def settle(fresh: Path, directory: Path) -> None:
    """Gives a finished directory its name, unless another process was quicker."""
    try:
        os.rename(fresh, directory)
    except OSError:
        if not (directory / "HEAD").exists():
            raise


async def open_repository(source: str, *, mirrors: Path | None = None, token: str = "", pin: str = "") -> Repository:
    """The repository of a workspace reference: the path itself on the same host, else a mirror of the URL in `mirrors`."""
    if "://" not in source:
        path = Path(source)
        if not await asyncio.to_thread((path / "HEAD").is_file):
            raise HandsError(ErrorClass.PERMANENT, f"there is no project repository at {source}")
        return Repository(path)
    if mirrors is None:
        raise HandsError(ErrorClass.PERMANENT, f"{source} is not on this host and this worker keeps no mirrors")
    path = mirrors / (hashlib.sha256(source.encode()).hexdigest()[:32] + ".git")
    if not (path / "HEAD").exists():
        with contextlib.suppress(FileExistsError):
            await make_bare(path)
    return Repository(path, source, token, pin)


async def ensure(repository: Repository, *commits: str) -> None:
    """Makes sure that the commits are there, fetching them when the repository is a mirror."""
    missing = [commit for commit in commits if commit and not await repository.has(check_oid(commit))]
    if not missing:
        return
    if not repository.remote:
        raise HandsError(ErrorClass.PERMANENT, f"commit {missing[0]} is not in {repository.path}")
    try:
        await repository.over_network(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options", repository.remote,
            *(f"{commit}:{BASE_REFS}{commit}" for commit in missing),
        )  # fmt: skip
    except GitError as error:
        if all([await repository.has(commit) for commit in missing]):
            return  # another attempt of this worker was quicker
        raise HandsError(ErrorClass.TRANSIENT, f"commits cannot be fetched: {error.message}") from error


async def diff(repository: Repository, base: str, commit: str) -> bytes:
    """The canonical diff base..commit: the same bytes everywhere, binary content included, no rename guessed."""
    arguments = ("-r", "-p", *DIFF_OPTIONS, check_oid(base), check_oid(commit))
    try:
        return await repository.git.run("diff-tree", *arguments, max_output=MAX_DIFF)
    except GitError as error:
        if "wrote more than" in error.message:
            message = f"the diff is larger than {MAX_DIFF} bytes; keep generated files out of the change"
            raise HandsError(ErrorClass.WORKSPACE, message) from error
        raise hands_error(error, "the diff cannot be made") from error


async def interdiff(repository: Repository, previous: str, commit: str) -> bytes:
    """What changed since the commit that was judged before: previous..commit, with the options of the canonical diff."""
    await ensure(repository, previous, commit)
    return await diff(repository, previous, commit)
