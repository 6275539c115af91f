"""What every end-to-end test has: a command line of its own, and nothing left running afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import REPLIES, Cli, sample


@pytest.fixture
def loom(tmp_path: Path) -> Iterator[Cli]:
    """`loom`, in an empty directory."""
    cli = Cli(tmp_path)
    yield cli
    cli.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The demo's project as a git repository: two of its six tests fail."""
    return sample(tmp_path / "project")


@pytest.fixture
def scripted() -> tuple[str, str]:
    """The option that lets the demo's replies play every agent."""
    return ("--model", f"*=recorded:{REPLIES}")
