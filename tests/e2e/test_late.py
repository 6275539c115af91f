"""Late results from outside: a worker that was frozen past its lease comes back with its work, and a person takes it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import Cli, eventually

pytestmark = [pytest.mark.needs("git"), pytest.mark.slow]

LEASE_MS = 2_000
AGENT_MS = 1_500
LONG_LEASE_MS, LONG_MS = 10_000, 14_000
"""The second try begins when the first one's lease is over, and ends so much later than the first one's work."""


@pytest.fixture
def stubbed(loom: Cli, project: Path) -> Cli:
    """A home whose agents take 1.5 s, cost nothing, and count their own starts; leases of 2 s."""
    loom.environ.update(LOOM_BENCH_EXECUTOR=f"sleep:{AGENT_MS}", LOOM_BENCH_STARTS=str(starts_file(loom)))
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("config", "set", "coordinator.lease_ms", str(LEASE_MS), cwd=project).code
    return loom


def starts_file(loom: Cli) -> Path:
    return loom.root / "starts"


def starts(loom: Cli) -> int:
    """How often an agent was really begun."""
    path = starts_file(loom)
    return len(path.read_text().splitlines()) if path.exists() else 0


def first_start_ms(loom: Cli) -> int:
    return int(starts_file(loom).read_text().split()[3])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def begun(loom: Cli, project: Path, workers: int) -> tuple[str, dict[str, int]]:
    """A task whose only agent has just been begun; the workers by name."""
    assert 0 == loom("config", "set", "coordinator.workers", str(workers), cwd=project).code
    args = ("--flow", "question", "--model", "*=stub:stub", "--detach", "--json")
    task = loom("run", "Who gets the cent?", *args, cwd=project).json["task"]["id"]
    eventually(lambda: starts(loom) == 1, what="the agent's start")
    found = loom("daemon", "status", "--json", cwd=project).json["workers"]
    return task, {worker["worker"]: worker["pid"] for worker in found}


def shown(loom: Cli, project: Path, task: str) -> dict[str, Any]:
    found: dict[str, Any] = loom("show", task, "--json", cwd=project).json
    return found


def ends(loom: Cli, project: Path, task: str) -> list[str]:
    return [attempt["end"] for spawn in shown(loom, project, task)["spawns"] for attempt in spawn["attempts"]]


def test_a_frozen_worker_comes_back_and_its_work_is_taken(stubbed: Cli, project: Path) -> None:
    """SIGSTOP past the lease, SIGCONT: its report is listed as late; taken, it ends the task, and no agent ran again."""
    loom = stubbed
    task, workers = begun(loom, project, 1)
    (pid,) = workers.values()
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: ends(loom, project, task) == ["lost"], what="the end of the lease")
    assert 0 == loom("pause", task, "-m", "let me see first", cwd=project).code
    os.kill(pid, signal.SIGCONT)
    (late,) = eventually(lambda: shown(loom, project, task)["late"], what="the late report")
    assert (True, False, "local-1") == (late["takeable"], late["taken"], late["worker"])
    assert f"loom take '{late['attempt']}'" in loom("show", task, cwd=project).out
    taken = loom("take", late["attempt"], "-m", "it is good", cwd=project)
    assert 0 == taken.code, taken
    found = shown(loom, project, task)
    assert ("done", "answered", ["taken"]) == (
        found["task"]["status"],
        found["task"]["verdict"],
        ends(loom, project, task),
    )
    assert (1, 1, 2) == (starts(loom), found["task"]["attempts"], found["task"]["tokens"])
    assert [True] == [each["taken"] for each in found["late"]]
    again = loom("take", late["attempt"], cwd=project)
    assert (4, True) == (again.code, "nothing more can happen" in again.err), again
    assert 0 == loom("replay", "--all", cwd=project).code
    assert 0 == loom("doctor", "--rebuild", cwd=project).code


def test_a_second_try_is_stopped_for_a_late_result(stubbed: Cli, project: Path) -> None:
    """Another worker is at it already: what it does is not needed any more."""
    loom = stubbed
    loom.environ.update(LOOM_BENCH_EXECUTOR=f"sleep:{LONG_MS}")
    assert 0 == loom("config", "set", "coordinator.lease_ms", str(LONG_LEASE_MS), cwd=project).code
    task, workers = begun(loom, project, 2)
    holder = next(w["worker"] for w in loom("daemon", "status", "--json", cwd=project).json["workers"] if w["attempts"])
    os.kill(workers[holder], signal.SIGSTOP)
    eventually(lambda: starts(loom) == 2, within=40, what="the second try")
    assert ["lost"] == ends(loom, project, task)
    assert [] == shown(loom, project, task)["late"]
    refused = loom("take", f"{task}/answer.1/responder#1", cwd=project)
    assert (2, True) == (refused.code, "no late result" in refused.err), refused
    eventually(lambda: now_ms() > first_start_ms(loom) + LONG_MS, what="the first try's end")
    os.kill(workers[holder], signal.SIGCONT)
    (late,) = eventually(lambda: shown(loom, project, task)["late"], what="the late report")
    assert 0 == loom("take", late["attempt"], cwd=project).code
    found = shown(loom, project, task)
    assert ("answered", ["taken", "stopped"]) == (found["task"]["verdict"], ends(loom, project, task))
    assert 0 == loom("replay", "--all", cwd=project).code
