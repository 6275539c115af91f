"""Letting everything go."""

from __future__ import annotations

import pytest

from harness.cli import Cli, eventually


@pytest.mark.needs("git")
def test_workers_that_are_just_being_started_leave_too(loom: Cli) -> None:
    """`daemon stop --workers` right after the start: the workers' Hello comes after the wish, and they go all the same."""
    assert 0 == loom("daemon", "start", cwd=loom.root).code
    stopped = loom("daemon", "stop", "--workers", cwd=loom.root, timeout=25)
    assert 0 == stopped.code, stopped
    eventually(lambda: loom.processes() == [], what="the end of every process")
