"""At a terminal: the chain as it grows, a question at the gate, and Ctrl-C that never loses work."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.cli import REPLIES, Cli, eventually
from harness.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.needs("git")]

MODEL = ("--model", f"*=recorded:{REPLIES}")


def test_the_demo_asks(loom: Cli, tmp_path: Path) -> None:
    """`loom demo --ask`: the person sees what it is about, looks at the diff, accepts, and the branch stands."""
    with Terminal(loom, "demo", "--ask", "--dir", str(tmp_path / "demo"), cwd=tmp_path) as terminal:
        terminal.wait_for("Your decision: final")
        terminal.type("d")
        terminal.wait_for("+    for person in sorted(")
        terminal.type("nonsense")
        terminal.type("a")
        assert 0 == terminal.wait()
    assert "gate final" in terminal.text
    assert "accepted: the branch loom/" in terminal.text
    assert "\x1b[32m" in terminal.raw, "a terminal gets colour"


def test_a_person_revises_and_leaves(loom: Cli, project: Path) -> None:
    """revise asks for words, and they reach the record; "later" leaves the gate open: exit 3, with the line to type."""
    with Terminal(loom, "run", "Mend it", "--policy", "review-plan", *MODEL, cwd=project) as terminal:
        terminal.wait_for("Your decision: plan")
        terminal.wait_for("hand out")  # the plan is shown
        terminal.type("revise")
        terminal.wait_for("What shall be done differently?")
        terminal.type("Plan again")
        terminal.wait_for("-2", within=60)
        terminal.type("l")
        assert 3 == terminal.wait()
    task = loom("tasks", "--json", cwd=project).json["tasks"][0]["id"]
    found = loom("show", task, "--json", cwd=project).json
    assert "Plan again" == found["decisions"][1]["message"]
    gate = loom("gates", "--json", cwd=project).json["gates"][0]["id"]
    assert f"loom answer {gate} accept" in terminal.text


def frozen_workers(loom: Cli, project: Path) -> list[int]:
    """The home's workers, there and stopped: whatever is submitted waits."""
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("daemon", "start", cwd=project).code

    def working() -> list[int]:
        found = loom("daemon", "status", "--json", cwd=project).json["workers"]
        return [worker["pid"] for worker in found] if len(found) > 1 else []

    pids: list[int] = eventually(working, what="two workers")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def test_the_first_interrupt_detaches(loom: Cli, project: Path) -> None:
    """Ctrl-C leaves the task running and says how to cancel it; a second one within three seconds cancels it."""
    frozen_workers(loom, project)
    with Terminal(loom, "run", "Mend it", *MODEL, cwd=project) as terminal:
        terminal.wait_for("leaves it running")
        terminal.interrupt()
        terminal.wait_for("Detached")
        assert 130 == terminal.wait()
    task = loom("tasks", "--json", cwd=project).json["tasks"][0]
    assert ("open", True) == (task["status"], f"loom cancel {task['id']}" in terminal.text)
    with Terminal(loom, "run", "Mend it", *MODEL, cwd=project) as terminal:
        terminal.wait_for("leaves it running")
        terminal.interrupt()
        terminal.wait_for("Detached")
        terminal.interrupt()
        assert 1 == terminal.wait(), terminal.text
    newest = loom("tasks", "--json", cwd=project).json["tasks"][0]
    assert ("cancelled", True) == (newest["verdict"], newest["id"] != task["id"])


def test_who_waits_starts_a_killed_coordinator_again(loom: Cli, project: Path) -> None:
    """kill -9 of the coordinator under a run: the run goes on to its end, under the next epoch, and replays identically."""
    workers = frozen_workers(loom, project)
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    first = loom("daemon", "status", "--json", cwd=project).json
    with Terminal(loom, "run", "Mend it", *MODEL, cwd=project) as terminal:
        terminal.wait_for("leaves it running")
        os.kill(first["pid"], signal.SIGKILL)
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert 0 == terminal.wait(80), terminal.text
    again = loom("daemon", "status", "--json", cwd=project).json
    assert first["epoch"] + 1 == again["epoch"]
    assert 0 == loom("replay", "--all", cwd=project).code


@pytest.mark.parametrize("columns", [50, 200])
def test_a_run_fits_the_terminal(loom: Cli, project: Path, columns: int) -> None:
    """On a narrow and on a wide terminal, no line of the chain is longer than it."""
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    with Terminal(loom, "run", "Mend it", *MODEL, cwd=project, columns=columns) as terminal:
        assert 0 == terminal.wait(60)
    chain = [line for line in terminal.lines if line.startswith(("  ✓", "  ✗", "    "))]
    assert [] == [line for line in chain if len(line) > columns]
    assert any("challenger" in line and "block" in line for line in chain)
