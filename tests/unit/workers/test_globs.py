"""Path patterns of measures."""

from __future__ import annotations

import pytest

from loom.workers.protocol.globs import matcher


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("test_*.py", "a/b/test_x.py", True),
        ("test_*.py", "a/test_x.pyc", False),
        ("tests/**", "tests/a/b.py", True),
        ("tests/**", "other/tests/a.py", False),
        ("**/tests/**", "tests/a.py", True),
        ("**/tests/**", "pkg/tests/a.py", True),
        ("tests/", "tests/deep/a.py", True),
        ("tests/", "tests", False),
        ("docs/*.md", "docs/a/b.md", False),
        ("**/*.md", "README.md", True),
        ("*.[ch]", "src/x.c", True),
        ("[!a].py", "a.py", False),
        ("a?c", "a/c", False),
        ("TESTS/**", "tests/a.py", True),
        ("a+b(.py", "a+b(.py", True),
        ("*.py", "new\nline.py", True),
    ],
)
def test_pattern(pattern: str, path: str, expected: bool) -> None:
    """gitignore's meaning, but for letter case."""
    assert expected is matcher([pattern])(path.encode())


def test_bytes_that_are_not_utf8() -> None:
    """A path that is not UTF-8 is matched as it is."""
    assert matcher(["tests/*"])(b"tests/\xff.py")
