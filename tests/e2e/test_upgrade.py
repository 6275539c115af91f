"""A bundle is upgraded while tasks are under way: each goes on, and replays, under the rules that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import Cli, Script, repository
from harness.scenarios import FILES, RIGHT, Stage, writes

pytestmark = pytest.mark.needs("git")

SHIPPED = Path(__file__).resolve().parents[2] / "bundles" / "code"
OLD, NEW = 'FINAL = Gate("final", "final", FINISH, rework="implement")', 'FINAL = Gate("final", "final", FINISH)'
"""What the upgrade changes: work cannot be sent back from the last gate any more."""


@pytest.fixture
def stage(loom: Cli, tmp_path: Path) -> Stage:
    """A project; the bundle `code` is installed as a distribution of its own, which can be upgraded."""
    site = tmp_path / "site"
    shutil.copytree(SHIPPED, site / "their_code", ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "their_code-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their_code\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[loom.bundles]\ncode = their_code\n")
    loom.environ["PYTHONPATH"] = str(site)
    project = repository(tmp_path / "project", FILES)
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    return Stage(loom, project)


def gate_of(stage: Stage, task: str) -> dict[str, Any]:
    gates = stage.loom("gates", "--json", cwd=stage.project).json["gates"]
    (gate,) = (each for each in gates if each["task"] == task)
    return dict(gate)


def digest_of(stage: Stage, task: str) -> str:
    return str(stage.loom("show", task, "--json", cwd=stage.project).json["task"]["spec"]["rules_digest"])


def test_running_tasks_go_on_under_their_rules(stage: Stage, tmp_path: Path) -> None:
    """Half done before the upgrade and a restart: revise is still offered, and works; a new task has the new gate; both
    replay, though the old bundle is installed nowhere any more."""
    script = writes(writes(Script.empty(), RIGHT, iteration=1), f"{RIGHT}# named\n", iteration=2)
    old = stage.run(script, policy="supervised")
    assert ["accept", "revise", "abandon"] == gate_of(stage, old)["answers"]

    table = tmp_path / "site" / "their_code" / "bundle.py"
    assert 1 == table.read_text().count(OLD)
    table.write_text(table.read_text().replace(OLD, NEW))
    assert 0 == stage.loom("daemon", "stop", "--workers", cwd=stage.project).code

    new = stage.run(writes(Script.empty(), RIGHT), policy="supervised")
    assert ["accept", "abandon"] == gate_of(stage, new)["answers"]
    assert digest_of(stage, old) != digest_of(stage, new)

    found = stage.says(old, "answer", "revise", "-m", "Name the rule.")
    assert 2 == len([spawn for spawn in found["spawns"] if spawn["agent"] == "implementer"])
    assert ["accept", "revise", "abandon"] == gate_of(stage, old)["answers"], "still by the rules it began with"
    for task in (old, new):
        assert "accepted" == stage.says(task, "answer", "accept")["task"]["verdict"]
    replayed = stage.loom("replay", "--all", cwd=stage.project)
    assert (0, True) == (replayed.code, "identical" in replayed.out), replayed
