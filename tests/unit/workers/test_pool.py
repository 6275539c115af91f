"""Working trees that are used again: whatever an agent left, the next one finds a fresh checkout."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.repositories import commit_all, git, make_repository, write
from loom.workers.git import Git
from loom.workers.workspaces import POOL_LIMITS, Pool, PoolLimits, Repository, checkout, fetch_project
from loom.workers.workspaces.renewal import plan_of, renewed
from loom.workers.workspaces.working import remove_tree

HOUR_MS = 3_600_000
FILES: dict[str | bytes, str | bytes] = {
    "a.py": "a = 1\n",
    "b.py": "b = 1\n",
    "lib/c.py": "c = 1\n",
    "lib/deep/d.py": "d = 1\n",
    "lib/deep/e.py": "e = 1\n",
    "run.sh": "#!/bin/sh\n",
    ".gitignore": "*.log\n/build/\n",
    ".gitattributes": "* text=auto eol=lf\n*.bin filter=x diff=x\n",
    "empty": "",
    b"caf\xe9 \n new": "odd\n",
    '"q"': "quoted\n",
}


class Place:
    """A project, its private repository, and a pool; `picture` is what a fresh checkout of the base looks like."""

    def __init__(self, root: Path, limits: PoolLimits = POOL_LIMITS) -> None:
        self.root = root
        self.user = root / "user"
        make_repository(self.user, FILES)
        (self.user / "run.sh").chmod(0o755)
        (self.user / "link").symlink_to("lib/c.py")
        (self.user / "vendored").mkdir()
        git(self.user, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendored")
        self.commit = commit_all(self.user, "More")
        self.repository = Repository(asyncio.run(fetch_project(root / "home", "p1", self.user)).repository)
        self.now_ms = 1_700_000_000_000
        self.held: list[int] = []
        self.pool = Pool(root / "pool", limits, lambda: self.now_ms)
        self.fresh = asyncio.run(checkout(self.repository, self.commit, root / "fresh/tree"))
        self.picture = picture(self.fresh)

    def checkout(self, name: str, commit: str = "") -> Path:
        return asyncio.run(self.pool.checkout(self.repository, commit or self.commit, self.root / name / "tree"))

    def give(self, tree: Path, commit: str = "") -> bool:
        return asyncio.run(self.pool.give(self.repository, commit or self.commit, tree))

    def hold(self, tree: Path) -> set[int]:
        """The inodes of a tree's files, held open, so that no new file gets one of them."""
        self.held += [
            os.open(path, os.O_RDONLY) for path in tree.rglob("*") if path.is_file() and not path.is_symlink()
        ]
        return inodes(tree)

    def next_commit(self, files: dict[str | bytes, str | bytes]) -> str:
        write(self.user, files)
        commit = commit_all(self.user, "Next")
        asyncio.run(fetch_project(self.root / "home", "p1", self.user))
        return commit


def picture(tree: Path) -> dict[bytes, tuple[str, bytes, int, tuple[str, ...]]]:
    """Every path below and the tree itself: mode with type, content, names of the inode (of files), extended attributes."""
    found = {}
    root = os.fsencode(tree)
    for folder, names, files in os.walk(root):
        for path in [os.path.join(folder, name) for name in (*names, *files)] + [folder]:
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
            marks = tuple(os.listxattr(path, follow_symlinks=False))
            found[os.path.relpath(path, root)] = (f"{status.st_mode:o}", content, links, marks)
    return found


def inodes(tree: Path) -> set[int]:
    """Inodes of the regular files of a tree."""
    return {path.stat().st_ino for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for descriptor in place.held:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------- hostile agents


def _untracked(tree: Path) -> None:
    write(
        tree,
        {"x.log": "ignored", "build/out": "o", "new.py": "n", "lib/.loom/y": "y", b"\xff\n": "odd", "vendored/z": "z"},
    )


def _nested(tree: Path) -> None:
    make_repository(tree / "lib/nested", {"c.py": "c"})
    write(tree / "lib/deep", {".git": "gitdir: /elsewhere\n"})


def _own_git(tree: Path) -> None:
    """A .git with hooks, filters, exclusions, alternates, refs, and an index that hides changes."""
    git(tree, "init", "--quiet")
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "--message", "mine")
    git(tree, "config", "filter.x.smudge", "cat >/dev/null; echo planted")
    git(tree, "config", "core.worktree", "/")
    git(tree, "--work-tree=.", "update-index", "--assume-unchanged", "a.py")
    git(tree, "--work-tree=.", "update-index", "--skip-worktree", "b.py")
    write(tree / ".git", {"info/attributes": "* filter=x\n", "info/exclude": "*\n"})
    write(tree / ".git", {"objects/info/alternates": "/elsewhere\n", "refs/heads/evil": "0" * 40})
    write(tree, {"a.py": "a = 6\n", "b.py": "b = 6\n"})
    for name in ("hooks/post-checkout", "hooks/post-index-change"):
        write(tree / ".git", {name: f"#!/bin/sh\necho ran >> '{tree.parent}/proof'\n"})
        (tree / ".git" / name).chmod(0o755)


def _git_elsewhere(tree: Path) -> None:
    make_repository(tree.parent / "elsewhere", {"x": "x"})
    (tree / ".git").symlink_to(tree.parent / "elsewhere/.git")


def _attributes(tree: Path) -> None:
    write(tree, {".gitattributes": "* text eol=crlf ident\n", "lib/.gitattributes": "* -text filter=x\n"})


def _times_set_back(tree: Path) -> None:
    before = (tree / "a.py").stat()
    write(tree, {"a.py": "a = 9\n"})
    os.utime(tree / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def _directory_is_link(tree: Path) -> None:
    (tree / "lib").rename(tree.parent / "outside")
    (tree / "lib").symlink_to(tree.parent / "outside")


def _deep_directory_is_link(tree: Path) -> None:
    (tree / "lib/deep").rename(tree / "hidden")
    (tree / "lib/deep").symlink_to("../hidden")


def _file_is_link(tree: Path) -> None:
    (tree / "a.py").rename(tree / "real.py")
    (tree / "a.py").symlink_to("real.py")
    (tree / "link").unlink()
    (tree / "link").symlink_to("/etc/passwd")


def _kinds(tree: Path) -> None:
    for name in ("a.py", "lib/c.py", "lib/deep/d.py", "link"):
        (tree / name).unlink()
    os.mkfifo(tree / "a.py")
    (tree / "lib/c.py").mkdir()
    (tree / "link").write_text("a file")
    with socket.socket(socket.AF_UNIX) as planted:
        here = Path.cwd()
        os.chdir(tree / "lib/deep")
        planted.bind("d.py")
        os.chdir(here)
    shutil.rmtree(tree / "vendored")
    (tree / "vendored").write_text("no submodule")


def _modes(tree: Path) -> None:
    (tree / "a.py").chmod(0o4755)
    (tree / "b.py").chmod(0o666)
    (tree / "run.sh").chmod(0o644)
    (tree / "empty").chmod(0)
    (tree / "lib").chmod(0o3777)
    (tree / "lib/deep").chmod(0)
    (tree / "vendored").chmod(0o500)
    (tree / "build").mkdir(mode=0)


def _hard_links(tree: Path) -> None:
    os.link(tree / "a.py", tree.parent / "other-name")
    os.link(tree / "b.py", tree / "lib/b2.py")


def _marks(tree: Path) -> None:
    os.setxattr(tree / "a.py", "user.note", b"hello")
    os.setxattr(tree / "lib", "user.note", b"hello")


def _huge(tree: Path) -> None:
    for name in ("a.py", "huge"):
        with (tree / name).open("wb") as file:
            file.truncate(1 << 40)


def _deep(tree: Path) -> None:
    there = os.open(tree, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("d", dir_fd=there)
        below = os.open("d", os.O_RDONLY, dir_fd=there)
        os.close(there)
        there = below
    os.close(there)


def _all_gone(tree: Path) -> None:
    shutil.rmtree(tree / "lib")
    (tree / "b.py").unlink()


def _nothing(tree: Path) -> None:
    """Left as it was."""


HOSTILE: tuple[Callable[[Path], None], ...] = (
    _nothing, _untracked, _nested, _own_git, _git_elsewhere, _attributes, _times_set_back, _directory_is_link,
    _deep_directory_is_link, _file_is_link, _kinds, _modes, _hard_links, _marks, _huge, _deep, _all_gone,
)  # fmt: skip


@pytest.mark.parametrize("agent", HOSTILE, ids=lambda agent: agent.__name__.strip("_"))
def test_the_next_attempt_finds_a_fresh_checkout(place: Place, agent: Callable[[Path], None]) -> None:
    """Byte for byte and mode for mode, made of what the agent left alone, and none of the agent's hooks ran."""
    first = place.checkout("first")
    before = place.hold(first)
    agent(first)
    assert place.give(first)
    assert not os.path.lexists(first)
    second = place.checkout("second")
    assert place.picture == picture(second)
    assert before & inodes(second), "nothing was used again: the test would prove nothing"
    assert [second] == list(second.parent.iterdir()), "nothing is left beside the tree"
    assert not (first.parent / "proof").exists()


@pytest.mark.parametrize("agent", HOSTILE, ids=lambda agent: agent.__name__.strip("_"))
def test_renewal_believes_nothing(place: Place, agent: Callable[[Path], None]) -> None:
    """The same when the agent's very tree is renewed, without the pool's choice of what it keeps."""
    tree = place.checkout("first")
    agent(tree)
    outside = {path: picture(path) for path in (place.root / "first").iterdir() if path != tree and path.is_dir()}
    plan = asyncio.run(plan_of(place.repository, place.commit))
    assert asyncio.run(renewed(place.repository, place.commit, plan, tree, place.root / "second"))
    assert place.picture == picture(place.root / "second")
    assert outside == {path: picture(path) for path in outside}, "something outside of the tree was touched"
    remove_tree(tree)


def test_a_second_name_does_not_reach_the_next_attempt(place: Place) -> None:
    """What is written through a hard link that the agent kept does not appear in the renewed tree."""
    first = place.checkout("first")
    os.link(first / "a.py", place.root / "mine")
    place.give(first)
    second = place.checkout("second")
    (place.root / "mine").write_text("evil\n")
    assert "a = 1\n" == (second / "a.py").read_text()


def test_a_link_in_place_of_the_tree_is_not_followed(place: Place) -> None:
    """A tree that is a symlink to a good one gives nothing, and the good one keeps its files."""
    (place.root / "link").symlink_to(place.fresh)
    assert not place.give(place.root / "link")
    assert place.picture == picture(place.fresh)


def test_times_are_of_now(place: Place) -> None:
    """A file's old time does not come along: make would think that nothing has changed, or everything."""
    first = place.checkout("first")
    os.utime(first / "a.py", ns=(1, 1))
    place.give(first)
    assert abs((place.checkout("second") / "a.py").stat().st_mtime - place.fresh.stat().st_mtime) < 600


def test_what_is_not_the_commits_is_not_kept(place: Place) -> None:
    """Secrets in ignored files do not lie in the pool: only files at paths of the commit do."""
    first = place.checkout("first")
    write(first, {".env": "KEY=s3cret", "build/x": "s3cret"})
    place.give(first)
    (kept,) = place.pool.kept()
    assert set(picture(kept.path)) <= set(place.picture)


def test_another_commit_takes_what_is_equal(place: Place) -> None:
    """A tree used for one commit serves the next: changed, new and vanished files are as that one has them."""
    first = place.checkout("first")
    before = place.hold(first)
    place.give(first)
    (place.user / "b.py").unlink()
    commit = place.next_commit({"a.py": "a = 3\n", "more/f.py": "f\n"})
    second = place.checkout("second", commit)
    assert picture(asyncio.run(checkout(place.repository, commit, place.root / "new/tree"))) == picture(second)
    assert before & inodes(second)


@pytest.mark.parametrize(
    ("rule", "encoding"),
    [("text eol=crlf", "ascii"), ("ident", "ascii"), ("text working-tree-encoding=UTF-16LE", "utf-16-le")],
)
def test_a_commit_that_converts_is_checked_out_anew(place: Place, rule: str, encoding: str) -> None:
    """Where a checkout's bytes are not the blob's, equal hashes would prove nothing."""
    commit = place.next_commit({"lib/.gitattributes": f"*.py {rule}\n", "lib/c.py": "$Id$\n".encode(encoding)})
    first = place.checkout("first", commit)
    before = place.hold(first)
    place.give(first, commit)
    second = place.checkout("second", commit)
    fresh = asyncio.run(checkout(place.repository, commit, place.root / "new/tree"))
    blob = asyncio.run(place.repository.git.run("cat-file", "blob", f"{commit}:lib/c.py"))
    assert blob != (fresh / "lib/c.py").read_bytes(), "the rule converts nothing"
    assert picture(fresh) == picture(second)
    assert not before & inodes(second)


def test_a_tree_that_is_not_proved_is_thrown_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """When something is in the renewed tree that was not planned, it is made anew."""
    first = place.checkout("first")
    before = place.hold(first)
    place.give(first)
    run = Git.run

    async def planting(self: Git, *arguments: str, **options: bytes) -> bytes:
        output = await run(self, *arguments, **options)  # type: ignore[arg-type]
        if "checkout-index" in arguments and self.tree is not None:
            (self.tree / "planted").write_text("x")
        return output

    monkeypatch.setattr(Git, "run", planting)
    second = place.checkout("second")
    assert place.picture == picture(second)
    assert not before & inodes(second)


# ------------------------------------------------------------------------------------------------- slots and deaths


async def test_slots_never_share_a_tree(tmp_path: Path) -> None:
    """Six attempts at once on three kept trees: each has a tree of its own, and each is a fresh checkout."""
    place = await asyncio.to_thread(Place, tmp_path)
    for round_number in range(3):
        names = [tmp_path / f"r{round_number}-{n}/tree" for n in range(6)]
        trees = await asyncio.gather(*(place.pool.checkout(place.repository, place.commit, each) for each in names))
        found = [inodes(tree) for tree in trees]
        assert sum(map(len, found)) == len(set().union(*found))
        assert all(place.picture == picture(tree) for tree in trees)
        await asyncio.gather(*(place.pool.give(place.repository, place.commit, tree) for tree in trees[:3]))
        assert 3 == len(place.pool.kept()) or round_number


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from loom.workers.workspaces import Pool, Repository, renewal
root, repository, commit, where, what = sys.argv[1:]
count = 0
def stop(*_):
    print("here", flush=True)
    signal.pause()
real = os.rename
def rename(*arguments, **options):
    global count
    count += "src_dir_fd" in options
    if count == 4:
        stop()
    return real(*arguments, **options)
if where == "moving":
    os.rename = rename
elif where == "pruning":
    os.unlink = stop
elif where == "proving":
    renewal._proved = stop
else:
    renewal._complete = stop
pool, root = Pool(Path(root) / "pool", now_ms=lambda: 1_700_000_000_000), Path(root)
if what == "give":
    asyncio.run(pool.give(Repository(Path(repository)), commit, root / "first/tree"))
else:
    asyncio.run(pool.checkout(Repository(Path(repository)), commit, root / "dying/tree"))
"""


@pytest.mark.parametrize(
    ("where", "what"),
    [("moving", "checkout"), ("proving", "checkout"), ("completing", "checkout"), ("pruning", "give")],
)
def test_a_half_renewed_tree_is_never_used(place: Place, where: str, what: str) -> None:
    """kill -9 in the middle: the pool has no such tree, what was begun is swept, and the attempt begun again is whole."""
    first = place.checkout("first")
    write(first, {"a.py": "a = 7\n", "planted": "x"})
    if what == "checkout":
        place.give(first)
    arguments = [str(place.root), str(place.repository.path), place.commit, where, what]
    with subprocess.Popen([sys.executable, "-c", DYING, *arguments], stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdout is not None
        assert "here\n" == dying.stdout.readline()
        os.kill(dying.pid, signal.SIGKILL)
    after = Pool(place.root / "pool", now_ms=lambda: place.now_ms)
    assert [] == after.kept()
    remove_tree(place.root / "dying")  # as an attempt does that begins again
    again = asyncio.run(after.checkout(place.repository, place.commit, place.root / "dying/tree"))
    assert place.picture == picture(again)
    assert [] == list((place.root / "pool").glob("*/.*"))


def test_a_half_renewed_tree_would_do_no_harm(place: Place) -> None:
    """Even if one came into the pool under a good name: what is taken is proved, not believed."""
    first = place.checkout("first")
    place.give(first)
    (kept,) = place.pool.kept()
    write(kept.path, {"a.py": "a = 9\n", "planted": "x", "lib/c.py": "half"})
    shutil.rmtree(kept.path / "lib/deep")
    assert place.picture == picture(place.checkout("second"))


# ------------------------------------------------------------------------------------------------------------ limits


def _given(place: Place, number: int) -> Iterator[Path]:
    """So many trees, given a second after one another."""
    trees = [asyncio.run(checkout(place.repository, place.commit, place.root / f"g{n}/tree")) for n in range(number)]
    for tree in trees:
        place.now_ms += 1_000
        place.give(tree)
        yield tree


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (POOL_LIMITS, 4),
        (replace(POOL_LIMITS, trees_a_project=2), 2),
        (replace(POOL_LIMITS, trees=3), 3),
        (replace(POOL_LIMITS, total_bytes=250), 2),
        (replace(POOL_LIMITS, tree_bytes=20), 0),
        (replace(POOL_LIMITS, tree_files=3), 0),
        (replace(POOL_LIMITS, free_bytes=1 << 60), 0),
        (replace(POOL_LIMITS, age_ms=1_500), 2),
    ],
    ids=["project", "less", "all", "bytes", "large", "files", "disk", "age"],
)
def test_the_pool_is_bounded(tmp_path: Path, limits: PoolLimits, left: int) -> None:
    """Each limit throws away the oldest, or takes nothing in; what is thrown away is off the disk."""
    place = Place(tmp_path, limits)
    list(_given(place, 6))
    kept = place.pool.kept()
    assert left == len(kept)
    assert [place.now_ms - 1_000 * n for n in reversed(range(left))] == [each.used_ms for each in kept]
    assert left == len(list((tmp_path / "pool").glob("*/*"))) + len(list((tmp_path / "pool").glob("*/.*")))


@pytest.mark.parametrize("later_ms", [25 * HOUR_MS, -HOUR_MS], ids=["old", "clock set back"])
def test_an_old_tree_is_not_used(place: Place, later_ms: int) -> None:
    """Beyond its age, or of a time to come, a tree is not taken; the attempt has a new one."""
    first = place.checkout("first")
    place.give(first)
    (kept,) = place.pool.kept()
    before = place.hold(kept.path)
    place.now_ms += later_ms
    second = place.checkout("second")
    assert not before & inodes(second)
    assert place.picture == picture(second)


def test_projects_do_not_share_trees(place: Place, tmp_path: Path) -> None:
    """A tree of one project is never taken for another, even for an equal commit."""
    place.give(place.checkout("first"))
    other = Repository(asyncio.run(fetch_project(tmp_path / "home", "p2", place.user)).repository)
    asyncio.run(place.pool.checkout(other, place.commit, tmp_path / "second/tree"))
    assert 1 == len(place.pool.kept())
