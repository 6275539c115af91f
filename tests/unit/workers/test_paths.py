"""Paths as text: git's C-quoted form, there and back, held against git itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.repositories import git, make_repository
from loom.workers.git import quote_path, unquote_path


@given(st.binary(min_size=1))
def test_every_path_comes_back(path: bytes) -> None:
    """Any bytes survive the way to text and back."""
    assert path == unquote_path(quote_path(path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"plain name.py", "plain name.py"),
        ("Übung.py".encode(), "Übung.py"),
        (b"new\nline", "new\nline"),
        (b"\xff\n\t\\x", '"\\377\\n\\t\\\\x"'),
        (b'"quoted"', '"\\"quoted\\""'),
    ],
)
def test_text_form(path: bytes, text: str) -> None:
    """UTF-8 stands as it is; what is not, and what would look quoted, is quoted."""
    assert text == quote_path(path)


def test_git_quotes_the_same(tmp_path: Path) -> None:
    """The quoted form is the one that git prints for a path that is not UTF-8."""
    path = b'caf\xe9 "x"\n\\\x01.txt'
    make_repository(tmp_path, {path: "x"})
    assert quote_path(path) == git(tmp_path, "ls-files")


@pytest.mark.parametrize("text", ['"open', '"', '"\\q"', '"\\777"'])
def test_broken_quoting_is_refused(text: str) -> None:
    """Quoting that no git wrote is an error, not another path."""
    with pytest.raises(ValueError, match=r"quot|byte|escape"):
        unquote_path(text)
