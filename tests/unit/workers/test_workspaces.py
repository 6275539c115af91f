"""Workspaces over real git: from a user's repository to a result commit."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import pytest

from harness.repositories import commit_all, git, make_repository, write
from loom.workers.protocol import ErrorClass, WorkspaceRef
from loom.workers.seams import HandsError
from loom.workers.workspaces import (
    LIMITS,
    Limits,
    Snapshot,
    Workspace,
    checkout,
    diff,
    dispose,
    fetch_project,
    interdiff,
    open_repository,
    prepare,
    publish,
    snapshot,
)

T = TypeVar("T")
DATE_MS = 1_700_000_000_000
PROJECT = "p1"
REF = "refs/loom/T123456789/s1/1"


def do(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(work)


class Place:
    """A user's repository, its private repository, and one workspace."""

    def __init__(self, root: Path, files: dict[str | bytes, str | bytes]) -> None:
        self.user = root / "user"
        self.base = make_repository(self.user, files)
        self.fetched = do(fetch_project(root / "home", PROJECT, self.user))
        self.root = root
        self.workspace = self.prepare(self.base)

    def prepare(self, commit: str, scratch: str = "scratch") -> Workspace:
        ref = WorkspaceRef(source=str(self.fetched.repository), commit=commit, base=self.base, publish=REF)
        return do(prepare(ref, self.root / scratch))

    @property
    def tree(self) -> Path:
        return self.workspace.tree

    def snap(self, limits: Limits = LIMITS) -> Snapshot:
        return do(snapshot(self.workspace, message="Work", date_ms=DATE_MS, limits=limits))

    def refusal(self, limits: Limits = LIMITS) -> str:
        with pytest.raises(HandsError) as caught:
            self.snap(limits)
        assert ErrorClass.WORKSPACE == caught.value.error_class
        return caught.value.message


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, {"a.py": "a = 1\n", "lib/b.py": "b = 1\n", ".gitignore": "*.log\n/build/\n"})


def test_change_comes_back(place: Place) -> None:
    """Created, modified and deleted files stand in the commit, the paths, and the canonical diff with its digest."""
    write(place.tree, {"a.py": "a = 2\nc = 3\n", "new.py": "n\n", "x.log": "ignored"})
    (place.tree / "lib/b.py").unlink()
    shot = place.snap()
    assert [("a.py", "M", 2, 1), ("lib/b.py", "D", 0, 1), ("new.py", "A", 1, 0)] == [
        (each.path, each.status, each.added, each.removed) for each in shot.paths
    ]
    assert hashlib.sha256(b"n\n").hexdigest() == shot.paths[2].digest
    assert "" == shot.paths[1].digest
    assert hashlib.sha256(shot.diff).hexdigest() == shot.digest
    assert b"+a = 2" in shot.diff
    assert () == shot.newly_ignored


def test_result_is_deterministic(place: Place) -> None:
    """The same content, message and date give the same commit; the author is loom."""
    write(place.tree, {"a.py": "a = 2\n"})
    first = place.snap()
    assert first.commit == place.snap().commit
    shown = git(place.fetched.repository, "show", "-s", "--format=%an %at %P %s", first.commit)
    assert f"loom 1700000000 {place.base} Work" == shown


def test_nothing_done_is_an_empty_change(place: Place) -> None:
    """An untouched tree gives the workspace's own commit, no paths, and an empty diff."""
    shot = place.snap()
    assert (place.base, (), b"") == (shot.commit, shot.paths, shot.diff)
    assert place.fetched.tree == shot.tree


def test_times_set_back_do_not_hide_a_change(place: Place) -> None:
    """A changed file of the same size and time is seen: contents are compared."""
    path = place.tree / "a.py"
    before = path.stat()
    path.write_text("a = 9\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ["a.py"] == [each.path for each in place.snap().paths]


def test_next_round_builds_on_the_last(place: Place) -> None:
    """A second workspace starts at the first result; the diff is from the base, the interdiff from the first result."""
    write(place.tree, {"a.py": "a = 2\n"})
    first = place.snap()
    do(publish(place.workspace, first.commit))
    place.workspace = place.prepare(first.commit, "second")
    write(place.tree, {"lib/b.py": "b = 2\n"})
    second = place.snap()
    assert ["a.py", "lib/b.py"] == [each.path for each in second.paths]
    between = do(interdiff(place.workspace.repository, first.commit, second.commit))
    assert b"lib/b.py" in between
    assert b"a.py" not in between


def test_publish_creates_or_finds_equal(place: Place) -> None:
    """Publishing twice is fine; another commit under the same ref is refused and changes nothing."""
    write(place.tree, {"a.py": "a = 2\n"})
    first = place.snap()
    do(publish(place.workspace, first.commit))
    do(publish(place.workspace, first.commit))
    write(place.tree, {"a.py": "a = 3\n"})
    with pytest.raises(HandsError, match="already names"):
        do(publish(place.workspace, place.snap().commit))
    assert first.commit == git(place.fetched.repository, "rev-parse", REF)
    with pytest.raises(HandsError, match="under refs/loom/"):
        do(publish(place.workspace, first.commit, "refs/heads/main"))


def test_hidden_file_is_not_in_the_commit(place: Place) -> None:
    """A file hidden by an edited .gitignore is missing from a clean checkout, and named as newly ignored."""
    write(place.tree, {".gitignore": "*.log\n/build/\nhelper.py\n", "helper.py": "x", "build/x": "", "sub/t.log": ""})
    write(place.tree, {"deep/.gitignore": "*\n", "deep/secret.py": "x", ".pytest_cache/.gitignore": "*"})
    shot = place.snap()
    assert [".gitignore"] == [each.path for each in shot.paths]
    assert ("deep/.gitignore", "deep/secret.py", "helper.py") == shot.newly_ignored
    fresh = do(checkout(place.workspace.repository, shot.commit, place.root / "fresh"))
    assert not (fresh / "helper.py").exists()
    assert (fresh / "a.py").exists()
    place.workspace = place.prepare(shot.commit, "next")
    write(place.tree, {"helper.py": "x", "build/x": ""})
    assert ("helper.py",) == place.snap().newly_ignored, "it is measured at the base, in every round"


def test_tracked_file_stays_tracked(place: Place) -> None:
    """Ignoring a file of the base does not take it out of the commit, nor hide its change."""
    write(place.tree, {".gitignore": "*\n", "a.py": "a = 5\n"})
    assert [".gitignore", "a.py"] == [each.path for each in place.snap().paths]


@pytest.mark.parametrize("kind", ["directory", "file", "empty"])
def test_nested_repository_is_refused(place: Place, kind: str) -> None:
    """A repository inside the tree, in any form, is harness trouble: its content would silently be missing."""
    nested = place.tree / "lib/vendored"
    if kind == "directory":
        make_repository(nested, {"c.py": "c"})
    elif kind == "file":
        write(nested, {".git": "gitdir: /elsewhere\n", "c.py": "c"})
    else:
        (nested / ".git").mkdir(parents=True)
    assert "lib/vendored contains a git repository of its own" in place.refusal()


def test_ignored_nested_repository_is_left_alone(place: Place) -> None:
    """What the base ignores may hold a repository: it would not be in the commit anyway."""
    make_repository(place.tree / "build/dependency", {"c.py": "c"})
    assert () == place.snap().paths


def test_top_level_git_is_never_read(place: Place) -> None:
    """The agent's own .git at the top, with hooks, filters and a monitor, runs nothing and changes nothing."""
    proof = place.root / "proof"
    script = place.root / "planted"
    script.write_text(f"#!/bin/sh\necho ran >> '{proof}'\ncat\n")
    script.chmod(0o755)
    git(place.tree, "init", "--quiet")
    for key in (
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "core.fsmonitor",
        "diff.x.command",
        "diff.x.textconv",
    ):
        git(place.tree, "config", key, str(script))
    for hook in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
        shutil.copy(script, place.tree / ".git/hooks" / hook)
    write(place.tree, {".gitattributes": "* filter=x diff=x merge=x\n", "a.py": "a = 2\n"})
    shot = place.snap()
    do(publish(place.workspace, shot.commit))
    fresh = do(checkout(place.workspace.repository, shot.commit, place.root / "fresh"))
    assert b"+a = 2" in do(diff(place.workspace.repository, place.base, shot.commit))
    assert "a = 2\n" == (fresh / "a.py").read_text()
    assert [".gitattributes", "a.py"] == [each.path for each in shot.paths]
    assert not proof.exists()
    git(place.tree, "add", "a.py")
    assert proof.exists(), "the planted filter would have run in the agent's own repository"


def test_attributes_cannot_hide_the_diff(place: Place) -> None:
    """`-diff` and `binary` in a .gitattributes do not turn a text change into an unreadable patch."""
    write(place.tree, {".gitattributes": "*.py binary -diff\n", "a.py": "a = 2\n"})
    assert b"+a = 2" in place.snap().diff


def test_loom_directory_is_never_content(place: Place) -> None:
    """.loom stays out even when a .gitignore asks for it."""
    write(place.tree, {".gitignore": "!.loom/\n", ".loom/state.db": "x", "sub/.loom/y": "y", "z.py": ""})
    assert [".gitignore", "z.py"] == [each.path for each in place.snap().paths]


def test_symlinks_are_kept_and_not_followed(place: Place) -> None:
    """A symlink out of the tree is a symlink in the commit; what it points to is not read."""
    outside = place.root / "outside"
    write(outside, {"secret": "s3cret"})
    (place.tree / "link").symlink_to(outside)
    (place.tree / "a.py").unlink()
    (place.tree / "a.py").symlink_to("/etc/passwd")
    shot = place.snap()
    assert [("a.py", "T"), ("link", "A")] == [(each.path, each.status) for each in shot.paths]
    assert b"s3cret" not in shot.diff
    fresh = do(checkout(place.workspace.repository, shot.commit, place.root / "fresh"))
    assert "/etc/passwd" == os.readlink(fresh / "a.py")


def test_odd_names_survive(place: Place) -> None:
    """Spaces, umlauts, newlines, quotation marks and bytes that are not UTF-8 come back as they were."""
    names = [b"with space.py", "Übung/ä.py".encode(), b"new\nline.py", b"caf\xe9.py", b'"q".py', b"-dash", b":(top)x"]
    write(place.tree, dict.fromkeys(names, "x\n"))
    shot = place.snap()
    assert {
        b'"caf\\351.py"'.decode(),
        '"\\"q\\".py"',
        "new\nline.py",
        "Übung/ä.py",
        "with space.py",
        "-dash",
        ":(top)x",
    } == {each.path for each in shot.paths}
    fresh = do(checkout(place.workspace.repository, shot.commit, place.root / "fresh"))
    assert all(os.path.exists(os.path.join(os.fsencode(fresh), name)) for name in names)


def test_large_files_are_refused(place: Place) -> None:
    """A file over the limit is refused by name before git reads it, unless it is ignored or as it was in the base."""
    write(place.tree, {"build/big": "x" * 2000, "big.bin": "x" * 2000})
    assert "big.bin is larger than 1000 bytes" in place.refusal(Limits(file_bytes=1000))
    (place.tree / "big.bin").unlink()
    assert () == place.snap(Limits(file_bytes=1000)).paths
    assert "files; the limit is 2" in place.refusal(Limits(files=2))


def test_untouched_large_file_of_the_base(tmp_path: Path) -> None:
    """A large file that the base has already is no reason to refuse."""
    place = Place(tmp_path, {"asset": "x" * 5000, "a.py": ""})
    write(place.tree, {"a.py": "a\n"})
    assert ["a.py"] == [each.path for each in place.snap(Limits(file_bytes=1000)).paths]


def test_binary_content_is_in_the_diff(place: Place) -> None:
    """Binary content is in the canonical diff, whole: applying it to the base gives the same tree."""
    write(place.tree, {"image.bin": bytes(range(256)), "a.py": "a = 7\n"})
    shot = place.snap()
    target = place.root / "applied"
    git(place.root, "clone", "--quiet", str(place.user), str(target))
    git(target, "apply", "--index", "-", stdin=shot.diff)
    assert shot.tree == git(target, "write-tree")
    assert (0, 0) == next((each.added, each.removed) for each in shot.paths if each.path == "image.bin")


def test_no_rename_is_guessed(place: Place) -> None:
    """A moved file is one path gone and one created, in the paths and in the diff, whatever git would guess."""
    (place.tree / "lib/b.py").rename(place.tree / "moved.py")
    shot = place.snap()
    assert [("lib/b.py", "D"), ("moved.py", "A")] == [(each.path, each.status) for each in shot.paths]
    assert b"rename" not in shot.diff
    assert b"+b = 1" in shot.diff


def test_special_file_in_place_of_gitignore_is_refused(place: Place) -> None:
    """A FIFO named .gitignore, which git would wait on, is refused."""
    os.mkfifo(place.tree / "lib/.gitignore")
    assert "lib/.gitignore is not a regular file" in place.refusal()


def test_submodules_stay_as_they_are(tmp_path: Path) -> None:
    """A submodule of the base is an empty directory, unchanged in the result; what is written into it is refused."""
    user = tmp_path / "user"
    other = make_repository(tmp_path / "other", {"o.py": ""})
    make_repository(user, {"a.py": "a\n"})
    git(user, "update-index", "--add", "--cacheinfo", f"160000,{other},sub")
    git(user, "commit", "--quiet", "-m", "sub")
    base = git(user, "rev-parse", "HEAD")
    fetched = do(fetch_project(tmp_path / "home", PROJECT, user))
    ref = WorkspaceRef(source=str(fetched.repository), commit=base, base=base)
    workspace = do(prepare(ref, tmp_path / "scratch"))
    write(workspace.tree, {"a.py": "b\n"})
    assert ["a.py"] == [each.path for each in do(snapshot(workspace, message="m", date_ms=0)).paths]
    write(workspace.tree, {"sub/new.py": "x"})
    with pytest.raises(HandsError, match="sub is a submodule"):
        do(snapshot(workspace, message="m", date_ms=0))


def test_a_mirror_fetches_and_pushes(place: Place) -> None:
    """A repository that is not a path here is worked on through a mirror, and the result is pushed to it."""
    url = f"file://{place.fetched.repository}"
    ref = WorkspaceRef(source=url, commit=place.base, base=place.base, publish=REF)
    workspace = do(prepare(ref, place.root / "far", mirrors=place.root / "mirrors"))
    write(workspace.tree, {"a.py": "far\n"})
    shot = do(snapshot(workspace, message="m", date_ms=DATE_MS))
    do(publish(workspace, shot.commit))
    do(publish(workspace, shot.commit))
    assert shot.commit == git(place.fetched.repository, "rev-parse", REF)
    write(workspace.tree, {"a.py": "further\n"})
    with pytest.raises(HandsError, match="cannot be published"):
        do(publish(workspace, do(snapshot(workspace, message="m", date_ms=DATE_MS)).commit))


def test_dispose_removes_everything(place: Place) -> None:
    """Also what the agent made unreadable is removed, and nothing that a symlink points to."""
    outside = place.root / "outside"
    write(outside, {"kept": ""})
    write(place.tree, {"locked/x": ""})
    (place.tree / "link").symlink_to(outside)
    (place.tree / "locked").chmod(0)
    do(dispose(place.workspace))
    assert not place.workspace.scratch.exists()
    assert (outside / "kept").exists()


def test_checkout_needs_an_empty_directory(place: Place) -> None:
    """A fresh checkout never mixes with what an agent left; a commit that is not there is named."""
    with pytest.raises(HandsError, match="not empty"):
        do(checkout(place.workspace.repository, place.base, place.tree))
    with pytest.raises(HandsError, match="is not in"):
        do(checkout(place.workspace.repository, "0" * 39 + "1", place.root / "f"))
    with pytest.raises(HandsError, match="not a commit id"):
        do(checkout(place.workspace.repository, "--output=x", place.root / "g"))


def test_unknown_source_is_an_error(tmp_path: Path) -> None:
    """A source that is not there, or is elsewhere without mirrors, is said."""
    for source in (str(tmp_path / "none"), "https://example.org/x.git"):
        with pytest.raises(HandsError, match=r"no project repository|no mirrors"):
            do(open_repository(source))


def test_two_thousand_files_are_quick(tmp_path: Path) -> None:
    """A new tree of 2,000 files takes well under a second (the bar on a quiet machine is 300 ms)."""
    place = Place(tmp_path, {f"d{n % 50}/f{n}.py": f"x = {n}\n" for n in range(2000)})
    started = time.monotonic()
    place.prepare(place.base, "timed")
    took = time.monotonic() - started
    print(f"prepared in {took * 1000:.0f} ms")
    assert took < 3.0
    assert place.base == place.snap().commit
    assert commit_all(place.user, "another") != place.base
