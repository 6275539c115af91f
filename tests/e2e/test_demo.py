"""`loom demo`: the main job, from an empty directory to a branch whose tests pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import REPLIES, Cli, Script, git

pytestmark = pytest.mark.needs("git")

TASK = "The shares of a bill have to add up to the bill."


def its_tests_pass(project: Path, commit: str, scratch: Path) -> bool:
    """Whether the sample's tests pass on a clean checkout of a commit."""
    scratch.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=project, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=scratch, input=archive.stdout, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."],
        cwd=scratch,
        capture_output=True,
        check=False,
    )
    assert b"Ran " in done.stderr, done.stderr
    return done.returncode == 0


def test_the_demo_ends_with_a_branch_whose_its_tests_pass(loom: Cli, tmp_path: Path) -> None:
    """Exit 0; one branch beside main; the tests fail at the base and pass at the branch; the replay is identical."""
    done = loom("demo", "--dir", str(tmp_path / "demo"))
    assert 0 == done.code, done
    project = tmp_path / "demo"
    branches = git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    assert 2 == len(branches), done
    branch = next(name for name in branches if name.startswith("loom/"))
    assert not its_tests_pass(project, "main", tmp_path / "base")
    assert its_tests_pass(project, branch, tmp_path / "branch")
    assert "" == git(project, "status", "--porcelain")
    assert [] == loom.processes()
    for words in ("written in advance", "identical", branch, "state.db", "block · 1 blocking", "back to implement"):
        assert words in done.out, f"{words!r} is not in\n{done}"


def run(loom: Cli, project: Path, replies: Path, *more: str) -> tuple[int, Any]:
    done = loom("run", TASK, "--project", str(project), "--model", f"*=recorded:{replies}", "--json", *more)
    return done.code, done.json


def test_a_changed_reply_changes_the_course(loom: Cli, project: Path, tmp_path: Path) -> None:
    """A challenger that approves at once: no rework, and the flawed first version is what is accepted."""

    def approve(reply: dict[str, Any]) -> None:
        reply.update(outcome="approve", findings=[])

    replies = Script.of_demo().change("challenger", approve, iteration=1).write(tmp_path / "replies.jsonl")
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    code, found = run(loom, project, replies)
    assert (0, "accepted") == (code, found["task"]["verdict"])
    assert {1} == {spawn["iteration"] for spawn in found["spawns"] if spawn["agent"] == "implementer"}


def test_a_reviewer_that_is_never_content_ends_at_a_person(loom: Cli, project: Path, tmp_path: Path) -> None:
    """The same blocker again and again is never accepted: the task parks, exit 3."""
    lines = [
        line for line in Script.of_demo().lines if not (line.get("agent") == "challenger" and line["iteration"] == 2)
    ]
    for line in lines:
        if line.get("agent") == "challenger":
            del line["iteration"]
        if line.get("agent") in ("implementer", "correctness") and line["iteration"] == 2:
            del line["iteration"]  # these serve every later round as well
    replies = Script(lines).write(tmp_path / "replies.jsonl")
    code, found = run(loom, project, replies)
    assert (3, "open", "") == (code, found["task"]["status"], found["task"]["verdict"])
    assert ("trouble", "stall") == (found["gates"][-1]["role"], found["task"]["parked"])


def test_the_record_says_that_replies_were_scripted(loom: Cli, project: Path) -> None:
    """Every model of the run is named as what it is: recorded, scripted, and from which file."""
    _, found = run(loom, project, REPLIES)
    served = {
        attempt["execution"]["served_by"]
        for spawn in found["spawns"]
        for attempt in spawn["attempts"]
        if spawn["agent"] not in ("checks", "deliver")
    }
    assert {f"recorded/scripted:{REPLIES.name}"} == served
