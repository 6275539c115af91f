"""loom.toml: what it may say, and that everything else is an error that names the key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loom.workers.project_file import ProjectFileError, parse, read
from loom.workers.protocol import CheckCommand

WHOLE = b"""
[checks]
test = "make test 'a b'"
lint = ["ruff", "check"]
typecheck = "not applicable"
[workspace]
include = [".env.test", "data/*.bin"]
setup = ["make deps", ["pip", "install", "-e", "."]]
"""


def test_a_whole_file() -> None:
    """Strings are split as a shell would, arrays are words, a declaration is kept, the digest is of the bytes."""
    file = parse(WHOLE)
    assert (
        CheckCommand(name="test", argv=("make", "test", "a b")),
        CheckCommand(name="lint", argv=("ruff", "check")),
        CheckCommand(name="typecheck", declared=True),
    ) == file.checks
    assert ((".env.test", "data/*.bin"), (("make", "deps"), ("pip", "install", "-e", "."))) == (
        file.include,
        file.setup,
    )
    assert hashlib.sha256(WHOLE).hexdigest() == file.digest
    assert file.trusted().trusted


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[checks]\ntests = 'x'", "unknown field `tests`"),
        ("[check]\n", "unknown field `check`"),
        ("[checks]\ntest = 3", "checks.test"),
        ("[checks]\ntest = ''", "checks.test: a command line is needed"),
        ("[checks]\ntest = []", "checks.test: a command line is needed"),
        ('[checks]\ntest = "\'open"', "checks.test: No closing quotation"),
        ("[workspace]\ninclude = ['../x']", "must stay inside"),
        ("[workspace]\ninclude = ['/etc/passwd']", "must stay inside"),
        ("[checks", "loom.toml:"),
    ],
)
def test_errors_name_the_key(text: str, sentence: str) -> None:
    """A misspelt or malformed entry is an error, never silently nothing."""
    with pytest.raises(ProjectFileError) as caught:
        parse(text.encode())
    assert sentence in str(caught.value)


def test_reading(tmp_path: Path) -> None:
    """No file is None; a symlink or a huge file is refused."""
    assert read(tmp_path) is None
    (tmp_path / "loom.toml").write_bytes(b"#" * 70_000)
    with pytest.raises(ProjectFileError, match="larger than"):
        read(tmp_path)
    (tmp_path / "loom.toml").unlink()
    (tmp_path / "loom.toml").symlink_to("/etc/passwd")
    with pytest.raises(ProjectFileError, match="not a regular file"):
        read(tmp_path)


def test_required_labels_are_read_and_checked() -> None:
    """They stand at the top level, are part of what is trusted, and are names."""
    file = parse(b'requires = ["docker", "gpu"]')
    assert ("docker", "gpu") == file.requires == file.trusted().requires
    with pytest.raises(ProjectFileError, match="requires: 'Big GPU'"):
        parse(b'requires = ["Big GPU"]')
