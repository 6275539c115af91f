"""What every test gets: an environment without loom's own settings, and an honest answer to "is this part here?"."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

KEPT = ("LOOM_TEST_", "LOOM_CI", "LOOM_SEED")
"""Settings of the tests themselves. Every other LOOM_* is the developer's, and must not reach a test."""

for _name in [name for name in os.environ if name.startswith("LOOM_") and not name.startswith(KEPT)]:
    del os.environ[_name]

os.environ["LOOM_MACHINE_SLOTS"] = "-1"
"""Tests that run side by side are not homes of one user that share a machine; the tests of just that say so."""

pytest.register_assert_rewrite("harness")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part is missing; under LOOM_CI a promised part that is missing is a failure."""
    for mark in item.iter_markers("needs"):
        for part in mark.args:
            if reason := PARTS[part]():
                if os.environ.get("LOOM_CI"):
                    pytest.fail(f"{part} is promised here and missing: {reason}", pytrace=False)
                pytest.skip(reason)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty directory that a home can be made in, readable by its owner only."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


def _sqlite3() -> str:
    return "" if shutil.which("sqlite3") else "the command sqlite3 is not installed"


def _git() -> str:
    return "" if shutil.which("git") else "git is not installed"


def _bubblewrap() -> str:
    """Installed is not enough: many hosts forbid user namespaces."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=10, check=False)
    return "" if done.returncode == 0 else f"bubblewrap does not run here: {done.stderr.strip()}"


def _claude() -> str:
    path = os.environ.get("LOOM_TEST_CLAUDE", "")
    return "" if path and Path(path).exists() else "LOOM_TEST_CLAUDE does not name an installed claude"


def _ssh_keygen() -> str:
    return "" if shutil.which("ssh-keygen") else "ssh-keygen is not installed"


PARTS: dict[str, Callable[[], str]] = {
    "sqlite3": _sqlite3,
    "git": _git,
    "bubblewrap": _bubblewrap,
    "claude": _claude,
    "ssh-keygen": _ssh_keygen,
}
"""Part → why a test cannot have it ("" = it can). `.ci/run` installs all of them."""
