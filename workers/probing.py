"""What a directory is, seen from outside and without running anything of it: for `loom run`, `projects` and `doctor`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from loom.workers.discovery import plans
from loom.workers.git import Git, GitError, quote_path
from loom.workers.project_file import ProjectFile, read
from loom.workers.protocol import ProjectSetup
from loom.workers.workspaces.inspection import DEFAULT_EXCLUDES
from loom.workers.workspaces.projects import TRACKED, UserRepository, user_repository
from loom.workers.workspaces.repository import CONFIG
from loom.workers.workspaces.trees import GITLINK

MAX_WALKED = 50_000
LANGUAGES = {
    ".py": "Python", ".js": "JavaScript", ".mjs": "JavaScript", ".jsx": "JavaScript", ".ts": "TypeScript", ".tsx": "TypeScript",
    ".go": "Go", ".rs": "Rust", ".java": "Java", ".kt": "Kotlin", ".c": "C", ".h": "C", ".cc": "C++", ".cpp": "C++", ".hpp": "C++",
    ".cs": "C#", ".rb": "Ruby", ".php": "PHP", ".swift": "Swift", ".scala": "Scala", ".sh": "Shell", ".sql": "SQL",
    ".html": "HTML", ".css": "CSS", ".md": "Markdown", ".rst": "reStructuredText",
}  # fmt: skip


class FoundCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A check that would run; `command` empty: it would be skipped for `reason`."""

    name: str
    command: tuple[str, ...] = ()
    reason: str = ""


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a project's directory. Paths as text (quoted when they are not UTF-8).

    `head`: the commit of HEAD ("" : none yet). `dirty`: uncommitted changes (None: not known). `setup`: what loom.toml
    says, to be used only when its `config_digest` is trusted. `notes`: sentences for people. `refusal`: why a task
    cannot be run on it as it is ("" : it can).
    """

    path: str
    is_git: bool
    top: str
    head: str = ""
    branch: str = ""
    dirty: bool | None = None
    loom_tracked: bool = False
    languages: dict[str, int] = {}
    config_digest: str = ""
    setup: ProjectSetup = ProjectSetup()
    checks: tuple[FoundCheck, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


async def probe(path: Path) -> Probed:
    """Looks at a directory. Raises ProjectFileError (loom.toml), HandsError, GitMissing, or OSError (no such directory)."""
    path = await asyncio.to_thread(path.absolute)
    await asyncio.to_thread(os.listdir, path)
    top = await _top(path)
    root = top or path
    file = await asyncio.to_thread(read, root)
    shown = quote_path(os.fsencode(path))
    checks = await asyncio.to_thread(_checks, root, file)
    if top is None:
        names = await asyncio.to_thread(_walked, path)
        return _probed(shown, shown, names, file, checks, is_git=False)
    return await _probed_git(shown, top, file, checks)


async def _top(path: Path) -> Path | None:
    """The top level of the work tree around the path, None when there is none."""
    code, output, error = await Git(cwd=path).call("rev-parse", "--show-toplevel")
    if code == 0:
        return Path(os.fsdecode(output.removesuffix(b"\n")))
    if "not a git repository" in error:
        return None
    if "work tree" in error:
        raise GitError("this is a bare repository; run loom in a work tree of it")
    raise GitError(f"git cannot read the repository here: {error.splitlines()[0] if error else code}")


async def _probed_git(shown: str, top: Path, file: ProjectFile | None, checks: tuple[FoundCheck, ...]) -> Probed:
    user = await user_repository(top)
    code, output, _ = await Git(directory=user.own).call("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    head = output.decode().strip() if code == 0 else ""
    entries = await _listed(user, head)
    branch = await Git(directory=user.own).call("symbolic-ref", "--quiet", "--short", "HEAD")
    tracked = any(path.split(b"/")[0] == b".loom" for path, _ in entries)
    notes = await _notes(user, head, entries)
    return _probed(
        shown,
        quote_path(os.fsencode(top)),
        [path for path, _ in entries],
        file,
        checks,
        is_git=True,
        head=head,
        branch=branch[1].decode("utf-8", "replace").strip(),
        dirty=await _dirty(user, top, head) if head else None,
        loom_tracked=tracked,
        notes=notes,
        refusal=TRACKED if tracked else "" if head else "the repository has no commit yet; make a first commit",
    )


def _probed(
    path: str,
    top: str,
    names: list[bytes],
    file: ProjectFile | None,
    checks: tuple[FoundCheck, ...],
    *,
    is_git: bool,
    head: str = "",
    branch: str = "",
    dirty: bool | None = None,
    loom_tracked: bool = False,
    notes: tuple[str, ...] = (),
    refusal: str = "",
) -> Probed:
    counted = Counter(LANGUAGES.get(os.path.splitext(os.fsdecode(name))[1].lower(), "") for name in names)
    del counted[""]
    return Probed(
        path=path,
        is_git=is_git,
        top=top,
        head=head,
        branch=branch,
        dirty=dirty,
        loom_tracked=loom_tracked,
        languages=dict(counted.most_common()),
        config_digest=file.digest if file else "",
        setup=file.trusted() if file else ProjectSetup(),
        checks=checks,
        notes=notes,
        refusal=refusal,
    )


def _checks(root: Path, file: ProjectFile | None) -> tuple[FoundCheck, ...]:
    """The checks that would run untrusted, and those that loom.toml names in their place once it is trusted."""
    own = {check.name: check for check in file.checks} if file else {}
    found = []
    for plan in plans(root):
        named = own.get(plan.name)
        reason = plan.reason
        if named is not None:
            reason = "declared not applicable in loom.toml" if named.declared else f"loom.toml: {' '.join(named.argv)}"
            reason += " (when it is trusted)"
        command = ("python", *plan.commands[0]) if plan.commands else ()
        found.append(FoundCheck(name=plan.name, command=command, reason=reason))
    return tuple(found)


def _walked(path: Path) -> list[bytes]:
    found: list[bytes] = []
    for _, names, files in os.walk(path):
        names[:] = [name for name in names if name not in DEFAULT_EXCLUDES]
        found += [os.fsencode(name) for name in files]
        if len(found) > MAX_WALKED:
            break
    return found


async def _listed(user: UserRepository, head: str) -> list[tuple[bytes, str]]:
    """(path, mode) of every entry of HEAD, and of the index for `.loom`, which may be added and not yet committed."""
    listing = b""
    if head:
        listing += await user.git.run("ls-tree", "-r", "-z", "--full-tree", head)
    found = [(line.partition(b"\t")[2], line[:6].decode()) for line in listing.split(b"\0")[:-1]]
    staged = await Git(directory=user.own).call("ls-files", "-z", "--", ".loom")
    return found + [(path, "100644") for path in staged[1].split(b"\0")[:-1]]


async def _notes(user: UserRepository, head: str, entries: list[tuple[bytes, str]]) -> tuple[str, ...]:
    notes = []
    modules = [path for path, mode in entries if mode == GITLINK]
    if modules:
        notes.append(
            f"submodules ({quote_path(modules[0])}…) are empty directories in workspaces and cannot be changed by a task"
        )
    paths = sorted({path for path, _ in entries})
    folded = Counter(path.lower() for path in paths)
    clash = next((path for path in paths if folded[path.lower()] > 1), None)
    if clash is not None:
        notes.append(f"names that differ only in letter case ({quote_path(clash)}) need a case-sensitive file system")
    for path, _ in entries:
        if os.path.basename(path) == b".gitattributes":
            code, text, _ = await user.git.call("cat-file", "blob", b"%s:%s" % (head.encode(), path))
            if code == 0 and b"filter=lfs" in text:
                notes.append("files under Git LFS are their pointer files in workspaces; no LFS content is fetched")
                break
    return tuple(notes)


async def _dirty(user: UserRepository, top: Path, head: str) -> bool | None:
    """Whether the work tree differs from HEAD, asked through a git directory of our own with a copy of the index: the
    user's configuration could name filters and monitors to run. None when that cannot be told (a split index)."""
    with tempfile.TemporaryDirectory(prefix="loom-probe-") as name:
        own = Path(name)
        await asyncio.to_thread(_stand_in, own, user, head)
        git = Git(directory=own, tree=top, index=own / "index", objects=user.common / "objects", cwd=top)
        code, output, _ = await git.call(
            "-c", "core.bare=false", "status", "--porcelain", "-z", "--ignore-submodules=all"
        )
        return bool(output) if code == 0 else None


def _stand_in(own: Path, user: UserRepository, head: str) -> None:
    (own / "refs").mkdir()
    (own / "objects").mkdir()
    (own / "info").mkdir()
    (own / "HEAD").write_text(head + "\n")
    (own / "config").write_text(CONFIG)
    if (user.own / "index").exists():
        shutil.copyfile(user.own / "index", own / "index")
    if (user.common / "info" / "exclude").is_file():
        shutil.copyfile(user.common / "info" / "exclude", own / "info" / "exclude")
