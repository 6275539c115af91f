"""The file tools do what they say, and never outside the tree."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loom.workers.harnesses.files import MAX_FILE, Refused, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("one\ntwo\ntwo\nfour\n")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]")
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "folder").mkdir()
    (root / "leaves").symlink_to(tmp_path / "outside")
    (root / "leads").symlink_to(tmp_path / "folder")
    (root / "stays").symlink_to("src/a.py")
    (root / "inward").symlink_to(".git")
    os.mkfifo(root / "pipe")
    return Tree(root)


BAD = ["/etc/passwd", "../outside", "src/../../outside", "leaves", "leads/x", ".git/config", ".GIT/config", ".loom/x",
       "sub/.loom/x", "inward/config", "a\0b", "leads/../src/a.py"]  # fmt: skip


@pytest.mark.parametrize("path", BAD)
@pytest.mark.parametrize("tool", ["read", "edit", "write", "remove", "list"])
def test_no_tool_leaves_the_tree(tree: Tree, path: str, tool: str) -> None:
    """Absolute paths, '..', links that leave, git's and loom's directories: refused, and nothing outside is touched."""
    calls: dict[str, Callable[[], str]] = {
        "read": lambda: tree.read(path),
        "edit": lambda: tree.edit(path, "secret", "public"),
        "write": lambda: tree.write(path, "public"),
        "remove": lambda: tree.remove(path),
        "list": lambda: tree.list(path),
    }
    with pytest.raises(Refused):
        calls[tool]()
    assert "secret" == (tree.root.parent / "outside").read_text()
    assert [] == list((tree.root.parent / "folder").iterdir())
    assert "[core]" == (tree.root / ".git" / "config").read_text()


def test_a_listing_names_every_file_and_enters_no_link(tree: Tree) -> None:
    """Files with their sizes, links as they are, nothing of .git."""
    lines = tree.list().splitlines()
    assert "src/a.py  17" in lines
    assert {"inward", "leads", "leaves", "pipe", "src/a.py", "stays"} >= {line.split("  ")[0] for line in lines}
    assert not any("config" in line for line in lines)


def test_reading_gives_the_lines_that_were_asked_for(tree: Tree) -> None:
    """A range, the whole, and a link that stays; what is no text file is refused with the reason."""
    assert "src/a.py: lines 2–3 of 4\ntwo\ntwo\n" == tree.read("src/a.py", 2, 2)
    assert "stays: lines 1–4 of 4\none\ntwo\ntwo\nfour\n" == tree.read("stays")
    (tree.root / "binary").write_bytes(b"\xff\xfe\0")
    (tree.root / "huge").write_bytes(b"x" * (MAX_FILE + 1))
    for path, words in [
        ("binary", "not UTF-8"),
        ("huge", "more than"),
        ("none", "no such file"),
        ("src", "not a file"),
        ("pipe", "not a file"),
    ]:
        with pytest.raises(Refused, match=words):
            tree.read(path)


def test_an_edit_is_exact(tree: Tree) -> None:
    """Exactly one place, or every one on demand; a text that is not there, or there twice, changes nothing."""
    tree.edit("src/a.py", "one\n", "1\n")
    for old, words in [("three", "does not have"), ("two", "2 times"), ("", "old is empty")]:
        with pytest.raises(Refused, match=words):
            tree.edit("src/a.py", old, "x")
    assert "1\ntwo\ntwo\nfour\n" == (tree.root / "src" / "a.py").read_text()
    tree.edit("src/a.py", "two", "2", every=True)
    assert "1\n2\n2\nfour\n" == (tree.root / "src" / "a.py").read_text()


def test_writing_makes_directories_and_keeps_modes(tree: Tree) -> None:
    """A new file with its directories; a replaced file keeps its executable bit."""
    tree.write("new/deep/b.txt", "ä\n")
    assert "ä\n" == (tree.root / "new" / "deep" / "b.txt").read_text()
    script = tree.root / "run.sh"
    script.write_text("old")
    script.chmod(0o755)
    tree.write("run.sh", "new")
    assert ("new", 0o755) == (script.read_text(), script.stat().st_mode & 0o777)
    with pytest.raises(Refused, match="more than"):
        tree.write("big", "x" * (MAX_FILE + 1))
    with pytest.raises(Refused):
        tree.write("src", "a directory")


def test_removing_takes_the_link_and_not_its_target(tree: Tree) -> None:
    """One file at a time; a link that stays goes, its target remains."""
    tree.remove("stays")
    assert not (tree.root / "stays").is_symlink()
    assert (tree.root / "src" / "a.py").exists()
    tree.remove("src/a.py")
    for path in ("src", "none"):
        with pytest.raises(Refused, match="is not a file"):
            tree.remove(path)


def test_odd_names_go_around(tree: Tree) -> None:
    """A name that is not UTF-8 is listed in git's quoted form and read by it; spaces and umlauts are plain."""
    Path(os.fsdecode(os.fsencode(tree.root) + b"/bad\xff name")).write_text("x\n")
    (tree.root / "größe neu.txt").write_text("y\n")
    shown = [line.rsplit("  ", 1)[0] for line in tree.list().splitlines()]
    quoted = next(name for name in shown if "bad" in name)
    assert quoted.isascii()
    assert "x\n" == tree.read(quoted).split("\n", 1)[1]
    assert "größe neu.txt" in shown
