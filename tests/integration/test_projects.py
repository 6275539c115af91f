"""Projects between a user's repository and the home, over real git and through the side commands."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.repositories import ENVIRONMENT, commit_all, git, make_repository, tree_digest, write
from loom.workers.git import quote_path, unquote_path
from loom.workers.protocol import WorkspaceRef
from loom.workers.workspaces import fetch_project, prepare, publish, snapshot

pytestmark = pytest.mark.needs("git")


def side(*arguments: str | bytes | Path, code: int = 0) -> Any:
    """The JSON of a side command, or its sentence when it ends with another code than 0."""
    done = subprocess.run(
        [sys.executable, "-m", "loom.workers.project", *arguments], capture_output=True, timeout=60, check=False
    )
    assert code == done.returncode, done.stderr.decode()
    return json.loads(done.stdout) if code == 0 else done.stderr.decode().strip()


def result_on(home: Path, project: str, base: str, scratch: Path, task: str = "T000000001") -> str:
    """A published result commit that changes a.py."""

    async def work() -> str:
        ref = WorkspaceRef(
            source=str(home / f"repos/{project}.git"), commit=base, base=base, publish=f"refs/loom/{task}/s/1"
        )
        workspace = await prepare(ref, scratch)
        write(workspace.tree, {"a.py": f"{task}\n"})
        shot = await snapshot(workspace, message="Work", date_ms=0)
        await publish(workspace, shot.commit)
        return shot.commit

    return asyncio.run(work())


def hostile(user: Path, proof: Path) -> None:
    """Everything that a repository's configuration and hooks could run, planted; each would leave a proof."""
    script = proof.with_name("planted")
    script.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{proof}'\ncat\n")
    script.chmod(0o755)
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"):
        target = user / ".git/hooks" / hook
        target.parent.mkdir(exist_ok=True)
        target.write_text(script.read_text())
        target.chmod(0o755)
    git(user, "config", "core.hooksPath", str(user / ".git/hooks"))
    for key in ("core.fsmonitor", "filter.x.clean", "filter.x.smudge", "core.pager", "uploadpack.packObjectsHook"):
        git(user, "config", key, str(script))
    write(user, {".git/info/attributes": "* filter=x\n"})


def test_a_users_repository_stays_byte_identical(tmp_path: Path) -> None:
    """Probe, fetch and branch add objects and the one new ref: HEAD, index, tree, reflogs, configuration stay as they are."""
    user, home, proof = tmp_path / "user", tmp_path / "home", tmp_path / "proof"
    base = make_repository(user, {"a.py": "a\n", "b.py": "b\n"})
    write(user, {"b.py": "uncommitted\n", "untracked": "x"})
    hostile(user, proof)
    before, objects = tree_digest(user, lambda name: name.startswith((".git/objects", ".git/refs"))), _objects(user)
    refs = git(user, "for-each-ref")
    assert side("probe", "--path", user)["dirty"] is True
    fetched = side("fetch", "--home", home, "--project", "p", "--path", user)
    assert base == fetched["commit"]
    commit = result_on(home, "p", base, tmp_path / "scratch")
    branch = (
        "branch",
        "--home",
        home,
        "--project",
        "p",
        "--path",
        user,
        "--name",
        "loom/T000000001",
        "--commit",
        commit,
    )
    assert side(*branch)["created"] is True
    assert side(*branch)["created"] is False
    assert before == tree_digest(user, lambda name: name.startswith((".git/objects", ".git/refs")))
    assert not proof.exists(), proof.read_text()
    assert objects.items() <= _objects(user).items()
    assert {f"{commit} commit\trefs/heads/loom/T000000001"} == set(git(user, "for-each-ref").splitlines()) - set(
        refs.splitlines()
    )
    assert "T000000001" == git(user, "show", f"{commit}:a.py")


def _objects(user: Path) -> dict[str, str]:
    """Object files by content. Their times are left out: git renews the time of a loose object that it meets again, and
    the file is shared by a hard link."""
    top = user / ".git/objects"
    return {name: each.split()[1] for name, each in tree_digest(top).items() if (top / name).is_file()}


def test_a_branch_is_never_forced(tmp_path: Path) -> None:
    """A branch of that name that is elsewhere stays where it is, also when the result would be a fast-forward."""
    user, home = tmp_path / "user", tmp_path / "home"
    base = make_repository(user, {"a.py": "a\n"})
    side("fetch", "--home", home, "--project", "p", "--path", user)
    commit = result_on(home, "p", base, tmp_path / "scratch")
    git(user, "branch", "loom/T1", base)
    arguments = ("branch", "--home", home, "--project", "p", "--path", user, "--commit", commit, "--name")
    assert "already names" in side(*arguments, "loom/T1", code=4)
    assert base == git(user, "rev-parse", "loom/T1")
    git(user, "branch", "taken", base)
    assert "cannot be created" in side(*arguments, "taken/T1", code=4)


def test_the_home_survives_gc_and_deleted_branches(tmp_path: Path) -> None:
    """After the user deletes the branch and prunes everything, the base and the result are whole in the home."""
    user, home = tmp_path / "user", tmp_path / "home"
    make_repository(user, {"a.py": "a\n"})
    git(user, "checkout", "--quiet", "-b", "topic")
    write(user, {"only-here.py": "x\n"})
    base = commit_all(user, "Topic")
    side("fetch", "--home", home, "--project", "p", "--path", user, "--rev", "topic")
    git(user, "checkout", "--quiet", "main")
    git(user, "branch", "-D", "topic")
    git(user, "reflog", "expire", "--expire=now", "--all")
    git(user, "gc", "--quiet", "--prune=now", "--aggressive")
    assert "" == git(user, "rev-list", "--all", "--objects", base, check=False)
    repository = home / "repos/p.git"
    result_on(home, "p", base, tmp_path / "scratch")
    git(repository, "gc", "--quiet", "--prune=now")
    assert "" == git(repository, "fsck", "--full", "--strict", "--no-dangling")
    assert "x" == git(repository, "show", f"{base}:only-here.py")
    assert not (repository / "objects/info/alternates").exists()
    assert f"{base} commit\trefs/loom/base/{base}" in git(repository, "for-each-ref").splitlines()


def test_object_files_are_hard_links(tmp_path: Path) -> None:
    """The first clone costs no second copy of the objects."""
    make_repository(tmp_path / "user", {"a.py": "a\n"})
    side("fetch", "--home", tmp_path / "home", "--project", "p", "--path", tmp_path / "user")
    loose = [
        path for path in (tmp_path / "home/repos/p.git/objects").rglob("*") if path.is_file() and len(path.name) == 38
    ]
    assert loose
    assert all(2 == path.stat().st_nlink for path in loose)


def test_later_commits_are_fetched(tmp_path: Path) -> None:
    """A second fetch brings what came since; a fetch of the same commit changes nothing."""
    user, home = tmp_path / "user", tmp_path / "home"
    first = make_repository(user, {"a.py": "a\n"})
    side("fetch", "--home", home, "--project", "p", "--path", user)
    write(user, {"a.py": "b\n"})
    second = commit_all(user, "Second")
    assert second == side("fetch", "--home", home, "--project", "p", "--path", user)["commit"]
    assert second == side("fetch", "--home", home, "--project", "p", "--path", user, "--rev", second)["commit"]
    assert first == side("fetch", "--home", home, "--project", "p", "--path", user, "--rev", "HEAD~1")["commit"]
    assert "b" == git(home / "repos/p.git", "show", f"{second}:a.py")


def _shallow(user: Path, root: Path) -> Path:
    git(root, "clone", "--quiet", "--depth", "1", f"file://{user}", str(root / "shallow"))
    return root / "shallow"


def _borrowing(user: Path, root: Path) -> Path:
    git(root, "clone", "--quiet", "--shared", str(user), str(root / "borrowing"))
    return root / "borrowing"


def _worktree(user: Path, root: Path) -> Path:
    git(user, "worktree", "add", "--quiet", "-b", "side", str(root / "linked"))
    write(root / "linked", {"side.py": "s\n"})
    commit_all(root / "linked", "Side")
    return root / "linked"


def _subdirectory(user: Path, root: Path) -> Path:
    write(user, {"deep/er/x.py": ""})
    commit_all(user, "Deep")
    return user / "deep/er"


@pytest.mark.parametrize("shape", [_shallow, _borrowing, _worktree, _subdirectory])
def test_shapes_of_repositories(tmp_path: Path, shape: Callable[[Path, Path], Path]) -> None:
    """Shallow, borrowing and linked repositories and subdirectories are fetched whole, and get their branch."""
    user, home = tmp_path / "user", tmp_path / "home"
    make_repository(user, {"a.py": "a\n"})
    write(user, {"a.py": "b\n"})
    commit_all(user, "Second")
    place = shape(user, tmp_path)
    head = git(place, "rev-parse", "HEAD")
    assert head == side("fetch", "--home", home, "--project", "p", "--path", place)["commit"]
    assert not (home / "repos/p.git/objects/info/alternates").exists()
    commit = result_on(home, "p", head, tmp_path / "scratch")
    assert side("branch", "--home", home, "--project", "p", "--path", place, "--name", "loom/T", "--commit", commit)[
        "created"
    ]
    assert commit == git(place, "rev-parse", "loom/T")


def test_many_fetches_at_once(tmp_path: Path) -> None:
    """Processes that make the same project's repository at the same time all succeed, while the user collects garbage."""
    user, home = tmp_path / "user", tmp_path / "home"
    base = make_repository(user, {f"f{n}.py": f"{n}\n" for n in range(50)})
    with ThreadPoolExecutor(7) as pool:
        asked = [pool.submit(side, "fetch", "--home", home, "--project", "p", "--path", user) for _ in range(6)]
        pool.submit(git, user, "gc", "--quiet", "--prune=now").result()
        assert {base} == {each.result()["commit"] for each in asked}
    assert "" == git(home / "repos/p.git", "fsck", "--full", "--no-dangling")
    assert ["p.git", "p.lock"] == sorted(os.listdir(home / "repos"))


def test_two_tasks_beside_each_other(tmp_path: Path) -> None:
    """Many workspaces of one project publish at once without disturbing each other."""
    user, home = tmp_path / "user", tmp_path / "home"
    base = make_repository(user, {"a.py": "a\n"})
    asyncio.run(fetch_project(home, "p", user))
    with ThreadPoolExecutor(6) as pool:
        commits = list(pool.map(lambda n: result_on(home, "p", base, tmp_path / f"s{n}", f"T{n}"), range(12)))
    assert 12 == len(set(commits))
    assert commits == [git(home / "repos/p.git", "rev-parse", f"refs/loom/T{n}/s/1") for n in range(12)]


@pytest.mark.parametrize(
    ("files", "arguments", "code", "sentence"),
    [
        ({}, ["--rev", "nowhere"], 2, "there is no commit 'nowhere'"),
        ({}, ["--rev=--upload-pack=x"], 2, "there is no commit"),
        ({".loom/state.db": "x"}, [], 4, ".loom/ is tracked by git"),
    ],
)
def test_fetch_errors(
    tmp_path: Path, files: dict[str | bytes, str | bytes], arguments: list[str], code: int, sentence: str
) -> None:
    """Each trouble is one sentence and its exit code."""
    make_repository(tmp_path / "user", {"a.py": "", **files})
    said = side("fetch", "--home", tmp_path / "h", "--project", "p", "--path", tmp_path / "user", *arguments, code=code)
    assert sentence in said
    assert "\n" not in said


def test_no_commit_no_repository_bad_project(tmp_path: Path) -> None:
    """A repository without a commit, a directory without git, a project id with a path in it: refused with exit 2."""
    empty = tmp_path / "empty"
    empty.mkdir()
    fetch = ("fetch", "--home", tmp_path / "h", "--path", empty, "--project")
    assert "not in a git repository" in side(*fetch, "p", code=2)
    git(empty, "init", "--quiet")
    assert "no commit yet" in side(*fetch, "p", code=2)
    git(empty, "commit", "--quiet", "--allow-empty", "-m", "x")
    assert "cannot be a project's id" in side(*fetch, "../p", code=2)
    assert not (tmp_path / "h/repos/p.git").exists()


def test_directory_without_git(tmp_path: Path) -> None:
    """Content without caches, environments and ignored files becomes a base commit; the directory is not touched."""
    place, home = tmp_path / "dir", tmp_path / "home"
    odd = [b"caf\xe9.py", b"new\nline", "ü b.py".encode()]
    write(place, {"a.py": "a\n", ".gitignore": "secret.env\n", "secret.env": "s", ".venv/x": "", "p/__pycache__/y": ""})
    write(place, {"node_modules/m/.git/HEAD": "", ".loom/state.db": "", **dict.fromkeys(odd, "o")})
    (place / "run").symlink_to("a.py")
    before = tree_digest(place)
    first = side("import", "--home", home, "--project", "d", "--path", place)
    assert first == side("import", "--home", home, "--project", "d", "--path", place)
    assert before == tree_digest(place)
    names = git(home / "repos/d.git", "ls-tree", "-r", "-z", "--name-only", first["commit"]).split("\0")
    assert {".gitignore", "a.py", "run", *map(os.fsdecode, odd)} == set(names) - {""}
    commit = result_on(home, "d", first["commit"], tmp_path / "scratch")
    shown = side("diff", "--home", home, "--project", "d", "--base", first["commit"], "--commit", commit)
    assert ["a.py"] == [each["path"] for each in shown["paths"]]
    assert "+T000000001" in shown["diff"]


def test_directory_with_a_repository_inside_is_refused(tmp_path: Path) -> None:
    """A nested repository would be taken without its content: refused by name."""
    make_repository(tmp_path / "dir/inner", {"x": ""})
    said = side("import", "--home", tmp_path / "h", "--project", "d", "--path", tmp_path / "dir", code=4)
    assert "inner contains a git repository" in said


def test_task_without_a_project(tmp_path: Path) -> None:
    """An empty commit, the same each time, that a workspace can be made of."""
    first = side("empty", "--home", tmp_path, "--project", "none")
    assert first == side("empty", "--home", tmp_path, "--project", "none")
    result_on(tmp_path, "none", first["commit"], tmp_path / "scratch")


def test_probe_of_a_repository(tmp_path: Path) -> None:
    """Top level, commit, branch, languages, configuration with its hash, checks; from a subdirectory with an odd name."""
    user = tmp_path / "user"
    base = make_repository(
        user,
        {
            b"sub \xe9/x.py": "",
            "a.py": "",
            "tests/test_a.py": "import unittest\n",
            "loom.toml": '[checks]\nlint = "make lint"\n',
        },
    )
    found = side("probe", "--path", os.path.join(os.fsencode(user), b"sub \xe9"), "--json")
    assert (True, base, "main", False, False, "") == tuple(
        found[key] for key in ("is_git", "head", "branch", "dirty", "loom_tracked", "refusal")
    )
    assert os.fsencode(user) == unquote_path(found["top"])
    assert quote_path(os.fsencode(user) + b"/sub \xe9") == found["path"]
    assert {"Python": 3} == found["languages"]
    assert 64 == len(found["config_digest"])
    assert [{"name": "lint", "argv": ["make", "lint"]}] == found["setup"]["checks"]
    checks = {each["name"]: each for each in found["checks"]}
    assert ["python", "-m", "unittest", "discover", "-s", "tests", "-t", "tests"] == checks["test"]["command"]
    assert "loom.toml: make lint (when it is trusted)" == checks["lint"]["reason"]


def test_probe_says_what_is_special(tmp_path: Path) -> None:
    """Submodules, LFS, case clashes, a tracked .loom, no commit: a sentence each."""
    user = tmp_path / "user"
    base = make_repository(user, {"A.py": "", "a.py": "", ".gitattributes": "*.bin filter=lfs\n", ".loom/x": ""})
    git(user, "update-index", "--add", "--cacheinfo", f"160000,{base},sub")
    git(user, "commit", "--quiet", "-m", "sub")
    found = side("probe", "--path", user)
    assert found["loom_tracked"] is True
    assert ".loom/ is tracked" in found["refusal"]
    assert ["submodules", "names that", "files under Git LFS"] == [
        next(start for start in ("submodules", "names that", "files under Git LFS") if note.startswith(start))
        for note in found["notes"]
    ]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert side("probe", "--path", fresh)["is_git"] is False
    git(fresh, "init", "--quiet")
    assert "no commit yet" in side("probe", "--path", fresh)["refusal"]


def test_probe_errors(tmp_path: Path) -> None:
    """A misspelt key and a directory that is not there end with 2 and say which."""
    write(tmp_path, {"loom.toml": "[checks]\ntests = 'x'\n"})
    assert "unknown field `tests`" in side("probe", "--path", tmp_path, code=2)
    assert "there is no directory" in side("probe", "--path", tmp_path / "gone", code=2)


def test_without_git_it_says_so(tmp_path: Path) -> None:
    """Without git on PATH: exit 4 and the mend."""
    done = subprocess.run(
        [sys.executable, "-m", "loom.workers.project", "probe", "--path", tmp_path],
        env={**ENVIRONMENT, "PATH": str(tmp_path)}, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert 4 == done.returncode
    assert b"git is not installed" in done.stderr
