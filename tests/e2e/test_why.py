"""`loom why` over a home: a task, its gate, an agent, a stage; for people and for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import Cli, Script, repository
from harness.scenarios import FILES, RIGHT, WRONG, Stage, writes

pytestmark = pytest.mark.needs("git")


def test_why(loom: Cli, tmp_path: Path) -> None:
    """A failed check, a rework, a gate: each is explained back to the submit; what is not there is exit 2."""
    project = repository(tmp_path / "project", FILES)
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    stage = Stage(loom, project)
    script = writes(writes(Script.empty(), WRONG + "# tried\n", iteration=1), RIGHT, iteration=2)
    task = stage.run(script, policy="supervised")

    def why(*words: str) -> str:
        done = loom("why", *words, cwd=project)
        assert 0 == done.code, done
        return done.out

    standing = why(task)
    assert f"{task}  a person is asked at final (gate {task}-1, final): this decision is a person's" in standing
    assert "← entry" in standing
    assert why(f"{task}-1").startswith(f"gate {task}-1  a person is asked at final")
    again = why(task, "implementer")
    assert "implementer runs again: the work went back to implement, round 2" in again
    assert "checks found f1: " in again
    assert "served by recorded/" in again
    assert again.splitlines()[0] == why(f"{task}/implement.2/implementer#1").splitlines()[0]
    assert "stage checks was entered for the 2. time, because said implementer=done" in why(task, "checks.2")
    found = loom("why", task, "--json", cwd=project).json
    assert (task, "task") == (found["task"], found["about"])
    assert "submitted it: supervised, flow trivial" in found["chain"][-1]["what"]
    assert "submitted it" in why(task, "--all")
    none = loom("why", task, "review", cwd=project)
    assert (2, True) == (none.code, "its stages so far: classify, implement, checks, final" in none.err), none
