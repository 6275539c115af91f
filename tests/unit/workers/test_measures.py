"""Facts measured on trees: what counts as empty, as touched, as a changed existing path, and as large."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.repositories import commit_all, git, make_repository, write
from loom.workers.protocol import Measure
from loom.workers.seams import HandsError
from loom.workers.workspaces import Repository, measure

TESTS = ("tests/**", "test_*.py")
BASE: dict[str | bytes, str | bytes] = {
    "a.py": "a\n",
    "tests/test_a.py": "assert True\n",
    "tests/empty.py": "",
    "tests/more/empty.py": "",
    "docs/x.md": "x\n",
}


def fact(
    tmp_path: Path, how: str, files: Mapping[str | bytes, str | bytes | None], patterns: tuple[str, ...] = TESTS
) -> str:
    """The measured fact after `files` were written (None: removed) over BASE."""
    base = make_repository(tmp_path, BASE)
    for name, content in files.items():
        if content is None:
            (tmp_path / str(name)).unlink()
        else:
            write(tmp_path, {name: content})
    commit = commit_all(tmp_path, "Second")
    asked = [Measure(fact="f", how=how, patterns=patterns)]
    return asyncio.run(measure(Repository(tmp_path / ".git"), asked, base=base, commit=commit))["f"]


@pytest.mark.parametrize(("files", "expected"), [({}, "yes"), ({"a.py": "b\n"}, "no")])
def test_empty(tmp_path: Path, files: dict[str | bytes, str | bytes | None], expected: str) -> None:
    """Empty means the same tree, also when there is another commit."""
    assert expected == fact(tmp_path, "empty", files)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.py": "b\n"}, "no"),
        ({"tests/new.py": "n\n"}, "yes"),
        ({"tests/test_a.py": "b\n"}, "yes"),
        ({"tests/test_a.py": None}, "no"),
        ({"deep/test_x.py": ""}, "yes"),
        ({b"tests/\xff.py": "x"}, "yes"),
        ({"Tests/New.py": "x"}, "yes"),
    ],
)
def test_paths(tmp_path: Path, files: dict[str | bytes, str | bytes | None], expected: str) -> None:
    """A created or modified path that matches; a removed one is neither."""
    assert expected == fact(tmp_path, "paths", files)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.py": "b\n", "docs/x.md": None}, "no"),
        ({"tests/new.py": "n\n"}, "no"),
        ({"tests/test_a.py": "assert True or x\n"}, "yes"),
        ({"tests/test_a.py": None}, "yes"),
        ({"tests/test_a.py": None, "tests/moved/test_a.py": "assert True\n"}, "no"),
        ({"tests/test_a.py": None, "attic/a.txt": "assert True\n"}, "yes"),
        ({"tests/test_a.py": "", "tests/moved/test_a.py": "assert True\n"}, "yes"),
        ({"tests/empty.py": None}, "yes"),
        ({"tests/empty.py": None, "tests/more/empty.py": None, "tests/one.py": ""}, "yes"),
        ({"tests/empty.py": None, "tests/more/empty.py": None, "tests/1.py": "", "tests/2.py": ""}, "no"),
    ],
)
def test_existing_changed(tmp_path: Path, files: dict[str | bytes, str | bytes | None], expected: str) -> None:
    """Existing content that changed or went; a move among matching paths is none, and an old copy does not stand in."""
    assert expected == fact(tmp_path, "existing-changed", files)


def test_a_file_that_became_a_link_was_changed(tmp_path: Path) -> None:
    """The same bytes as the target of a symlink are not the same content."""
    base = make_repository(tmp_path, {"tests/t.py": "x"})
    (tmp_path / "tests/t.py").unlink()
    (tmp_path / "tests/t.py").symlink_to("x")
    commit = commit_all(tmp_path, "Link")
    assert git(tmp_path, "rev-parse", f"{base}:tests/t.py") == git(tmp_path, "rev-parse", f"{commit}:tests/t.py")
    asked = [Measure(fact="f", how="existing-changed", patterns=TESTS)]
    assert {"f": "yes"} == asyncio.run(measure(Repository(tmp_path / ".git"), asked, base=base, commit=commit))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.py": "b\n"}, "small"),
        ({"a.py": "b\n" * 200}, "medium"),
        ({"a.py": "b\n" * 500}, "large"),
        ({"image": bytes(range(256))}, "medium"),
    ],
)
def test_size(tmp_path: Path, files: dict[str | bytes, str | bytes | None], expected: str) -> None:
    """By lines added and removed; a binary file is never a small change."""
    assert expected == fact(tmp_path, "size", files)


def test_unknown_measure_is_an_error(tmp_path: Path) -> None:
    """A fact that cannot be measured is not guessed."""
    with pytest.raises(HandsError, match="cannot measure 'mood'"):
        fact(tmp_path, "mood", {})
