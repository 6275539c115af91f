"""`loom push` into a real bare remote that counts: once, never forced, and after a kill in the middle never blindly again."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.cli import REPLIES, Cli, eventually, git

pytestmark = [pytest.mark.needs("git"), pytest.mark.slow]

MODEL = ("--model", f"*=recorded:{REPLIES}")


class Remote:
    """A bare repository, `origin` of the project, whose hooks count what it took."""

    def __init__(self, root: Path, project: Path) -> None:
        self.root, self.path = root, root / "remote.git"
        git(root, "init", "--quiet", "--bare", "--initial-branch", "main", str(self.path))
        git(project, "remote", "add", "origin", self.path.as_uri())
        self.hook("pre-receive", f"cat >> {root}/asked")
        self.hook("post-receive", f"cat >> {root}/took")

    def hook(self, name: str, body: str) -> None:
        path = self.path / "hooks" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def counted(self, what: str) -> int:
        path = self.root / what
        return len(path.read_text().splitlines()) if path.exists() else 0

    def at(self, branch: str) -> str:
        return git(self.path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


@pytest.fixture
def accepted(loom: Cli, project: Path) -> dict[str, Any]:
    """A task that was accepted, as `loom show --json` has it."""
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    done = loom("run", "Mend it", *MODEL, "--json", cwd=project)
    assert 0 == done.code, done
    found: dict[str, Any] = done.json
    return found


@pytest.fixture
def remote(tmp_path: Path, project: Path) -> Remote:
    return Remote(tmp_path, project)


def ends_of(loom: Cli, project: Path, task: str, agent: str = "push") -> list[str]:
    """How the attempts of the last act ended."""
    spawns = loom("show", task, "--json", cwd=project).json["spawns"]
    spawn = next(each for each in reversed(spawns) if each["agent"] == agent)
    return [attempt["end"] for attempt in spawn["attempts"]]


def reconciles(loom: Cli, project: Path, task: str) -> list[str]:
    """Of each grant of a push: the attempt in doubt that it names."""
    lines = [json.loads(line) for line in loom("log", task, "--json", cwd=project).out.splitlines()]
    grants = [each["fields"] for each in lines if each["kind"] == "AttemptGranted"]
    return [each.get("reconciles", "") for each in grants if each["spawn"].endswith("/push")]


def test_a_push_is_recorded_and_done_once(loom: Cli, project: Path, accepted: dict[str, Any], remote: Remote) -> None:
    """The remote has the accepted commit under both names; who asked and why is on record; twice is once; it replays."""
    task, work = accepted["task"]["id"], accepted["task"]["work"]
    done = loom("push", task, "-m", "for the others", cwd=project)
    assert 0 == done.code, done
    assert f"branch loom/{task} was pushed to origin at {work[:12]}" in done.out
    assert (work, 1, 1) == (remote.at(f"loom/{task}"), remote.counted("asked"), remote.counted("took"))
    again = loom("push", task, "--json", cwd=project)
    assert (0, True) == (again.code, again.json["pushed"]), again
    assert "is at" in again.json["sentence"]
    assert (1, 1) == (remote.counted("asked"), remote.counted("took"))
    assert 0 == loom("push", task, "--as", "feature/cents", cwd=project).code
    assert (work, 2) == (remote.at("feature/cents"), remote.counted("took"))
    found = loom("show", task, "--json", cwd=project).json
    assert ("done", "accepted") == (found["task"]["status"], found["task"]["verdict"])
    assert accepted["task"]["delivered"] == found["task"]["delivered"]
    lines = [json.loads(line) for line in loom("log", task, "--json", cwd=project).out.splitlines()]
    asked = [each for each in lines if each["kind"] == "TaskReopened"]
    assert "for the others" == asked[0]["fields"]["reason"]["value"]
    assert {"person"} == {each["fields"]["by"]["kind"] for each in asked}
    assert 0 == loom("replay", "--all", cwd=project).code
    assert 0 == loom("doctor", "--rebuild", cwd=project).code


def test_what_cannot_be_pushed_is_refused_in_words(
    loom: Cli, project: Path, accepted: dict[str, Any], remote: Remote
) -> None:
    """No such remote, another commit there, no verdict: exit code and sentence; nothing waits for anybody afterwards."""
    task = accepted["task"]["id"]
    refused = loom("push", task, "--remote", "upstream", cwd=project)
    assert (1, True) == (refused.code, "its remotes: origin" in refused.err), refused
    (project / "other.txt").write_text("other\n")
    git(project, "add", "other.txt")
    git(project, "commit", "--quiet", "--message", "other")
    git(project, "push", "--quiet", "origin", f"main:refs/heads/loom/{task}")
    taken = remote.at(f"loom/{task}")
    refused = loom("push", task, cwd=project)
    assert (1, True) == (refused.code, "nothing is ever forced" in refused.err), refused
    assert (taken, 1) == (remote.at(f"loom/{task}"), remote.counted("took"))
    assert [] == loom("gates", "--json", cwd=project).json["gates"]
    assert 2 == loom("push", task, "--remote", "https://example.org/x.git", cwd=project).code
    open_task = loom("run", "Mend it", *MODEL, "--policy", "supervised", "--json", cwd=project).json["task"]["id"]
    refused = loom("push", open_task, cwd=project)
    assert (4, True) == (refused.code, "has no verdict yet" in refused.err), refused


@pytest.mark.parametrize("hook", ["post-receive", "pre-receive"])
def test_a_worker_that_is_killed_in_a_push(
    loom: Cli, project: Path, accepted: dict[str, Any], remote: Remote, hook: str
) -> None:
    """kill -9 of the worker after the remote took the commit (or before): in doubt; the reconcile looks, and the remote takes
    it exactly once in all."""
    task, work = accepted["task"]["id"], accepted["task"]["work"]
    loom("daemon", "start", cwd=project)
    # The remote itself says when: it has counted, tells us that the moment is there, and never comes to its end by itself.
    once = f"[ -e {remote.root}/moment ] || {{ touch {remote.root}/moment; sleep 600; }}"
    counted = "took" if hook == "post-receive" else "asked"
    remote.hook(hook, f"cat >> {remote.root}/{counted}; {once}")
    assert 0 == loom("push", task, "--detach", cwd=project).code
    eventually((remote.root / "moment").exists, what="the push")
    for worker in workers_with_children(loom):
        worker.send_signal(signal.SIGKILL)
    done = eventually(
        lambda: (found := loom("show", task, "--json", cwd=project).json)["task"]["status"] == "done" and found,
        within=60,
        what="the reconcile",
    )
    assert ["in_doubt", "reported"] == ends_of(loom, project, task)
    spawn = next(each for each in reversed(done["spawns"]) if each["agent"] == "push")
    assert ["", f"{spawn['id']}#1"] == reconciles(loom, project, task)
    assert (work, 1) == (remote.at(f"loom/{task}"), remote.counted("took"))
    assert ("by" if hook == "post-receive" else "had not") in spawn["attempts"][-1]["notes"]
    assert 0 == loom("replay", "--all", cwd=project).code


def workers_with_children(loom: Cli) -> list[psutil.Process]:
    """The workers that run something just now."""
    found = [each for each in loom.processes() if "loom.workers" in each.cmdline() and each.children()]
    assert found
    assert os.getpid() not in [each.pid for each in found]
    return found
