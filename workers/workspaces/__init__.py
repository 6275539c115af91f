"""Workspaces: git is the transport. A spawn works on a commit and an editing spawn's result is a new commit.

All of it is asyncio; all of it raises `HandsError` (class WORKSPACE when the tree cannot be taken as a commit, else
TRANSIENT or PERMANENT) and never anything of git's. Paths in results are text; one that is not UTF-8 stands in git's
C-quoted form (`loom.workers.git.quote_path`, `unquote_path`).

The hands' way through it (`scratch` is a private, empty or missing directory of the attempt):

    workspace = await prepare(assign.workspace, scratch)             # workspace.tree: the agent's directory
    …the agent works in workspace.tree, with workspace.env() added to its environment…
    shot = await snapshot(workspace, message="…", date_ms=now_ms)    # Snapshot; nothing in workspace.tree is run or followed
    await publish(workspace, shot.commit)                            # under assign.workspace.publish: created or equal
    change = shot.change(text_id_of(shot.diff))                      # protocol.Change
    facts = await measure(workspace.repository, assign.measures, base=workspace.base, commit=shot.commit)
    fresh = await checkout(workspace.repository, shot.commit, scratch / "checks")     # for checks and reviews
    await dispose(workspace)                                         # removes scratch

Signatures:

    prepare(ref: WorkspaceRef, scratch: Path, *, mirrors: Path | None = None, pool: Pool | None = None) -> Workspace
    snapshot(workspace: Workspace, *, message: str, date_ms: int, limits: Limits = LIMITS) -> Snapshot
    furnished(workspace: Workspace) -> Workspace          # what is there beside the commit now is never part of a result
    publish(workspace: Workspace, commit: str, ref: str = "") -> None
    checkout(repository: Repository, commit: str, directory: Path) -> Path
    diff(repository: Repository, base: str, commit: str) -> bytes              # canonical diff
    interdiff(repository: Repository, previous: str, commit: str) -> bytes     # previous..commit, same options
    changed_paths(repository: Repository, base: str, commit: str) -> tuple[ChangedPath, ...]
    measure(repository: Repository, measures: Sequence[Measure], *, base: str, commit: str) -> dict[str, str]
    dispose(workspace: Workspace) -> None
    Pool(directory: Path, limits: PoolLimits = POOL_LIMITS)     # used trees, renewed: see pool.py and renewal.py
    open_repository(source: str, *, mirrors: Path | None = None) -> Repository
    fetch_project(home: Path, project: str, path: Path, revision: str = "HEAD") -> Fetched       # user's git → repos/
    import_directory(home: Path, project: str, path: Path, limits: Limits = LIMITS) -> Fetched  # no git there
    empty_project(home: Path, project: str) -> Fetched                                            # no project at all
    copy_included(repository: Repository, tree: Path, patterns: Sequence[str]) -> tuple[str, ...]     # trusted includes
    create_branch(path: Path, name: str, commit: str, repository: Path) -> bool        # True: created now
    branch_at(path: Path, name: str) -> str                                            # the commit it names, "" : none
"""

from __future__ import annotations

from loom.workers.workspaces.includes import copy_included
from loom.workers.workspaces.inspection import DEFAULT_EXCLUDES, LIMITS, Limits
from loom.workers.workspaces.measures import measure
from loom.workers.workspaces.pool import POOL_LIMITS, Pool, PoolLimits
from loom.workers.workspaces.projects import (
    Fetched,
    branch_at,
    create_branch,
    empty_project,
    fetch_project,
    import_directory,
    repository_path,
)
from loom.workers.workspaces.repository import Repository, diff, interdiff, open_repository
from loom.workers.workspaces.trees import changed_paths
from loom.workers.workspaces.working import (
    Snapshot,
    Workspace,
    checkout,
    dispose,
    furnished,
    prepare,
    publish,
    snapshot,
)

__all__ = [
    "DEFAULT_EXCLUDES",
    "LIMITS",
    "POOL_LIMITS",
    "Fetched",
    "Limits",
    "Pool",
    "PoolLimits",
    "Repository",
    "Snapshot",
    "Workspace",
    "branch_at",
    "changed_paths",
    "checkout",
    "copy_included",
    "create_branch",
    "diff",
    "dispose",
    "empty_project",
    "fetch_project",
    "furnished",
    "import_directory",
    "interdiff",
    "measure",
    "open_repository",
    "prepare",
    "publish",
    "repository_path",
    "snapshot",
]
