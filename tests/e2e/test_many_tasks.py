"""Many tasks at once in one project: a branch each, and the user's repository is otherwise what it was, whatever he does.

The flow is pinned and the replies are recorded; the tool loop, the workspaces, the checks and the branches are real.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.cli import Cli, Done, Script, eventually
from harness.repositories import git, make_repository, tree_digest, write

pytestmark = pytest.mark.needs("git")

AT_ONCE = 6
"""Command lines that submit at the same time."""
FILES: dict[str | bytes, str | bytes] = {
    "pkg/__init__.py": "",
    "pkg/value.py": "VALUE = 1\n",
    "tests/test_value.py": "import unittest\nfrom pkg.value import VALUE\n\n\nclass T(unittest.TestCase):\n"
    "    def test_value(self):\n        self.assertGreater(VALUE, 0)\n",
    "loom.toml": '[checks]\nlint = "not applicable"\ntypecheck = "not applicable"\n',
    "data.txt": "".join(f"line {number}\n" for number in range(2_000)),
}
short_and_full = pytest.mark.parametrize(
    "count",
    [
        pytest.param(5, id="short"),
        pytest.param(50, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)


@pytest.fixture
def project(loom: Cli, tmp_path: Path) -> Path:
    """A trusted project with branches, a tag, a stash, staged and unstaged changes and an untracked file."""
    place = tmp_path / "project"
    make_repository(place, FILES)
    for name in ("one", "two", "three"):
        git(place, "branch", name)
    git(place, "tag", "v1")
    write(place, {"data.txt": "stashed\n"})
    git(place, "stash")
    write(place, {"staged.txt": "staged\n", "pkg/value.py": "VALUE = 2\n", "untracked.txt": "mine\n"})
    git(place, "add", "staged.txt")
    assert 0 == loom("init", cwd=place).code
    assert 0 == loom("projects", "trust", "--yes", cwd=place).code
    return place


def replies(folder: Path, number: int) -> str:
    """The option for replies that write one file, another one for each task."""
    script = (
        Script.empty()
        .say("implementer", "implement", "", calls=[("list", {})])
        .say("implementer", "implement", "", ordinal=1,
             calls=[("write", {"path": f"pkg/made_{number}.py", "content": f"MADE = {number}\n"})])
        .say("implementer", "implement", {"outcome": "done", "summary": f"Made number {number}."}, ordinal=2)
    )  # fmt: skip
    return f"*=recorded:{script.write(folder / f'replies-{number}.jsonl')}"


def submit(loom: Cli, project: Path, count: int, first: int = 0) -> list[str]:
    """The ids of so many tasks, handed over at the same time by as many command lines."""

    def one(number: int) -> str:
        args = ("--flow", "trivial", "--policy", "autonomous", "--detach")
        done = loom("run", f"Make {number}", *args, "--model", replies(loom.root, number), cwd=project)
        assert 0 == done.code, done
        return done.out.strip()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(first, first + count)))


def tasks(loom: Cli, project: Path) -> dict[str, tuple[str, str]]:
    """task → (status, verdict)."""
    listed: Done = loom("tasks", "--limit", "200", "--json", cwd=project)
    return {each["id"]: (each["status"], each["verdict"]) for each in listed.json["tasks"]}


def all_done(loom: Cli, project: Path, wanted: list[str]) -> Callable[[], bool]:
    def look() -> bool:
        found = tasks(loom, project)
        assert {"open", "done"} >= {found[task][0] for task in wanted}
        return all(found[task] == ("done", "accepted") for task in wanted)

    return look


def refs(project: Path) -> set[str]:
    return set(git(project, "for-each-ref", "--format=%(objectname) %(refname)").splitlines())


def made(project: Path, task: str) -> str:
    """What the task's branch adds to its base."""
    return git(project, "diff", "--name-status", f"loom/{task}~", f"loom/{task}")


def not_the_users(name: str) -> bool:
    """`.loom/`, the branches `loom/…`, and objects, which are added."""
    return name.startswith((".loom", ".git/refs/heads/loom", ".git/objects")) or name in (".git/refs/heads", ".git")


@short_and_full
def test_a_branch_each_and_nothing_else(loom: Cli, project: Path, count: int) -> None:
    """So many tasks at once, so many branches; every byte of the tree, the index and the other refs is as it was."""
    status = git(project, "status", "--short")  # first: it refreshes the index
    before, refs_before = tree_digest(project, not_the_users), refs(project)
    began = time.monotonic()
    made_tasks = submit(loom, project, count)
    submitted = time.monotonic() - began
    eventually(all_done(loom, project, made_tasks), within=30 + 4 * count, what="every verdict")
    print(f"{count} tasks: submitted in {submitted:.1f} s, done in {time.monotonic() - began:.1f} s")
    assert before == tree_digest(project, not_the_users)
    assert refs_before < refs(project)
    names = {ref.split()[1] for ref in refs(project) - refs_before}
    assert {f"refs/heads/loom/{task}" for task in made_tasks} == names
    assert [f"A\tpkg/made_{number}.py" for number in range(count)] == [made(project, task) for task in made_tasks]
    assert status == git(project, "status", "--short")
    git(project, "fsck", "--strict", "--no-dangling")
    replayed = loom("replay", "--all", "--json", cwd=project)
    assert (0, True) == (replayed.code, replayed.json["identical"])


@dataclass
class User:
    """Somebody who deletes branches and collects garbage in his repository, again and again."""

    project: Path
    deleted: list[str] = field(default_factory=list)
    collected: int = 0
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> User:
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._delete_one()
                git(self.project, "gc", "--quiet", "--prune=now", "--aggressive")
                self.collected += 1
            except (AssertionError, subprocess.SubprocessError) as error:
                self.faults.append(str(error))

    def _delete_one(self) -> None:
        """A branch of his own, else every fourth one of loom's."""
        branches = git(self.project, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
        own = [name for name in branches if name in ("one", "two", "three")]
        theirs = [name for name in branches if name.startswith("loom/")]
        if own or len(theirs) >= 4 * (1 + len([name for name in self.deleted if name.startswith("loom/")])):
            name = (own or theirs)[0]
            git(self.project, "branch", "--quiet", "-D", name)
            self.deleted.append(name)


@short_and_full
def test_a_user_who_deletes_branches_and_collects_garbage(loom: Cli, project: Path, count: int) -> None:
    """Branches deleted, the tasks' base amended away and pruned, gc all the time: every task ends with a whole branch."""
    git(project, "commit", "--quiet", "--message", "Base of the tasks")
    first = submit(loom, project, count // 2)
    base = git(project, "rev-parse", "HEAD")
    git(project, "commit", "--quiet", "--amend", "--message", "Said better")
    git(project, "reflog", "expire", "--expire=now", "--all")
    index = git(project, "ls-files", "--stage")
    status = git(project, "status", "--short")
    with User(project) as user:
        wanted = first + submit(loom, project, count - len(first), len(first))
        eventually(all_done(loom, project, wanted), within=60 + 6 * count, what="every verdict")
    assert [] == user.faults
    print(f"{count} tasks, {user.collected} collections, deleted: {user.deleted}")
    assert user.collected
    assert (index, status) == (git(project, "ls-files", "--stage"), git(project, "status", "--short"))
    left = [task for task in wanted if f"loom/{task}" not in user.deleted]
    assert {f"loom/{task}" for task in left} == set(
        git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads/loom").splitlines()
    )
    git(project, "fsck", "--strict", "--no-dangling")
    for task in left:
        assert f"A\tpkg/made_{wanted.index(task)}.py" == made(project, task)
    assert {base} == {git(project, "rev-parse", f"loom/{task}~") for task in first if task in left} or not left
    shown = [loom("diff", task, cwd=project) for task in (first[0], wanted[-1])]
    assert [0, 0] == [each.code for each in shown]
    git(project, "commit", "--quiet", "--all", "--message", "Work goes on")
