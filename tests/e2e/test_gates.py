"""Decisions: without a terminal they wait, are answered elsewhere, once, and their words reach the next agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.cli import Cli, Done, Script, eventually, git

pytestmark = pytest.mark.needs("git")

TASK = "The shares of a bill have to add up to the bill."


def start(loom: Cli, project: Path, *options: str) -> Done:
    """A task that is run to its end or to a person."""
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    return loom("run", TASK, "--json", *options, cwd=project)


def gates(loom: Cli, project: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = loom("gates", "--json", cwd=project).json["gates"]
    return found


def shown(loom: Cli, project: Path, task: str) -> dict[str, Any]:
    found: dict[str, Any] = loom("show", task, "--json", cwd=project).json
    return found


def settled(loom: Cli, project: Path, task: str) -> dict[str, Any]:
    """The task, once it waits for a person or is over."""

    def found() -> dict[str, Any]:
        now = shown(loom, project, task)
        return now if now["task"]["status"] == "done" or now["task"]["gate"] else {}

    there: dict[str, Any] = eventually(found, within=40, what="a gate or the end")
    return there


def test_supervised_without_a_terminal(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """Exit 3 with the line to type; gates lists it; an answer goes on; a second one is refused; the last one accepts."""
    words = loom("run", TASK, "--policy", "supervised", *scripted, cwd=project)
    assert 3 == words.code, words
    (gate,) = gates(loom, project)
    assert {"id", "task", "role", "answers"} <= gate.keys()
    assert ("classify", f"loom answer {gate['id']} accept" in words.out) == (gate["role"], True)
    task = gate["task"]
    assert 0 == loom("answer", gate["id"], "accept", cwd=project).code
    again = loom("answer", gate["id"], "accept", cwd=project)
    assert (4, True) == (again.code, "already" in again.err), again
    for role in ("plan", "final"):
        (gate,) = wait_for_gate(loom, project)
        assert role == gate["role"]
        assert 0 == loom("answer", task, "accept", cwd=project).code
    found = settled(loom, project, task)
    assert "accepted" == found["task"]["verdict"]
    people = [decision["by"]["kind"] for decision in found["decisions"]]
    assert ["person"] * 3 == people
    assert f"loom/{task}" in git(project, "branch", "--list", "loom/*")


def wait_for_gate(loom: Cli, project: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = eventually(lambda: gates(loom, project), within=40, what="a gate")
    return found


def test_a_message_reaches_the_next_prompt(loom: Cli, project: Path, tmp_path: Path) -> None:
    """Revise with a message: the implementer's next prompt has the person's words, the ones before have not."""
    lines = Script.of_demo().lines
    for line in lines:
        if line.get("agent") in ("implementer", "correctness", "challenger") and line["iteration"] == 2:
            del line["iteration"]
    replies = Script(lines).write(tmp_path / "replies.jsonl")
    done = start(loom, project, "--policy", "review-final", "--model", f"*=recorded:{replies}")
    assert 3 == done.code, done
    task = done.json["task"]["id"]
    said = "Use the word Übertrag in a comment"
    assert 2 == loom("answer", task, "revise", cwd=project).code, "revise without a word says nothing"
    assert 0 == loom("answer", task, "revise", "-m", said, cwd=project).code
    (gate,) = wait_for_gate(loom, project)
    found = shown(loom, project, task)
    prompts = [spawn["prompt"] for spawn in found["spawns"] if spawn["agent"] == "implementer"]
    assert [False, False, True] == [said in prompt for prompt in prompts]
    assert "largest remainder" not in prompts[0].lower()
    assert "f1" in prompts[1], "the blocker reached the second round"
    assert 0 == loom("answer", gate["id"], "abandon", "-m", "enough", cwd=project).code
    assert "abandoned" == shown(loom, project, task)["task"]["verdict"]


def test_accepting_over_a_blocker_takes_a_reason(loom: Cli, project: Path, tmp_path: Path) -> None:
    """A stalled blocker: accept without a reason is refused, a wrong name too; with the reason it completes, and stands."""
    lines = Script.of_demo().lines
    lines = [line for line in lines if not (line.get("agent") == "challenger" and line["iteration"] == 2)]
    for line in lines:
        if line.get("agent") == "challenger" or (line.get("iteration") == 2 and line["agent"] != "acceptance"):
            del line["iteration"]
    replies = Script(lines).write(tmp_path / "replies.jsonl")
    done = start(loom, project, "--model", f"*=recorded:{replies}")
    assert 3 == done.code, done
    task = done.json["task"]["id"]
    (gate,) = gates(loom, project)
    blockers = [blocker["id"] for blocker in gate["blockers"]]
    assert ("trouble", 1) == (gate["role"], len(blockers))
    bare = loom("answer", task, "accept", cwd=project)
    assert (2, True) == (bare.code, f"--accept {blockers[0]}=" in bare.err), bare
    wrong = loom("answer", task, "accept", "--accept", f"{blockers[0]}=known", "--accept", "f99=x", cwd=project)
    assert (4, True) == (wrong.code, "f99" in wrong.err), wrong
    assert 0 == loom("answer", task, "accept", "--accept", f"{blockers[0]}=known and harmless", cwd=project).code
    found = settled(loom, project, task)
    accepted = next(finding for finding in found["findings"] if finding["id"] == blockers[0])
    assert "accepted" == accepted["status"]
    assert "accepted" == found["task"]["verdict"]


def test_an_answer_that_is_not_offered(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """raise at a gate of the flow, a budget with accept, an unknown gate: exit 2, and the gate stays open."""
    start(loom, project, "--policy", "supervised", *scripted)
    (gate,) = gates(loom, project)
    for args in (("raise",), ("accept", "--budget", "3"), ("accept", "--tree", "HEAD"), ("nod",)):
        assert 2 == loom("answer", gate["id"], *args, cwd=project).code
    assert 2 == loom("answer", "nosuchgate", "accept", cwd=project).code
    assert [gate["id"]] == [each["id"] for each in gates(loom, project)]


def test_a_persons_own_commit_goes_on(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """Revise with --tree: the person's commit is what is judged and delivered."""
    done = start(loom, project, "--policy", "review-final", *scripted)
    task = done.json["task"]["id"]
    git(project, "switch", "--quiet", "--create", "mine")
    source = project / "sharebill" / "split.py"
    source.write_text(source.read_text().replace("weight // whole for", "weight // whole + 0 for"))
    git(project, "commit", "--quiet", "--all", "--message", "Mine")
    mine = git(project, "rev-parse", "HEAD")
    answered = loom("answer", task, "revise", "--tree", "mine", cwd=project)
    assert 0 == answered.code, answered
    found = shown(loom, project, task)
    assert mine == found["subjects"][-1]["work"]


def test_pause_resume_cancel(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """A paused task says so, twice is refused, resumed it goes on, cancelled it is over and stays so."""
    start(loom, project, "--policy", "supervised", *scripted)
    task = gates(loom, project)[0]["task"]
    assert 0 == loom("pause", task, "-m", "lunch", cwd=project).code
    assert "paused" == loom("tasks", "--json", cwd=project).json["tasks"][0]["state"]
    assert 4 == loom("pause", task, cwd=project).code
    assert 0 == loom("resume", task[:4], cwd=project).code
    assert 0 == loom("cancel", task, cwd=project).code
    assert 4 == loom("cancel", task, cwd=project).code
    assert ("cancelled", []) == (shown(loom, project, task)["task"]["verdict"], gates(loom, project))
    assert 0 == loom("replay", "--all", cwd=project).code
