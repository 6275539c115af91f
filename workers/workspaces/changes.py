"""A base that includes what the user has not committed: a commit on top of HEAD, made in the home's repository.

The user's index, branches and files are only read. What their .gitignore files hide stays out, as with `git add --all`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from loom.workers.git import Git, GitError
from loom.workers.workspaces.projects import Fetched, fetch_project
from loom.workers.workspaces.repository import BASE_REFS, Repository, hands_error
from loom.workers.workspaces.working import Workspace, remove_tree, snapshot

MESSAGE = "The uncommitted changes that the task starts with"


async def fetch_with_changes(home: Path, project: str, path: Path) -> Fetched:
    """HEAD and the uncommitted changes of the work tree around `path`. Without changes it is HEAD itself.

    Raises HandsError as `fetch_project` and `snapshot`.
    """
    fetched = await fetch_project(home, project, path)
    try:
        top = await Git(cwd=path).run("rev-parse", "--show-toplevel")
    except GitError as error:
        raise hands_error(error, f"{path} has no work tree") from error
    repository = Repository(fetched.repository)
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".changes-", dir=fetched.repository.parent))
    try:
        tree = Path(os.fsdecode(top.removesuffix(b"\n")))
        workspace = Workspace(repository, fetched.commit, fetched.commit, scratch, tree)
        shot = await snapshot(workspace, message=MESSAGE, date_ms=time.time_ns() // 1_000_000)
    finally:
        await asyncio.to_thread(remove_tree, scratch)
    await repository.keep(BASE_REFS + shot.commit, shot.commit)
    return Fetched(fetched.repository, shot.commit, shot.tree)
