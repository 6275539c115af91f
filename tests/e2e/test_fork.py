"""Forks: a new task goes on from what another one came to; nothing is paid twice, and no decision is taken over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import Cli, Script, git, repository
from harness.scenarios import FILES, HEAD, RIGHT, Stage, planned, writes

pytestmark = pytest.mark.needs("git")

SHIPPED = Path(__file__).resolve().parents[2] / "bundles" / "code"


@pytest.fixture
def stage(loom: Cli, tmp_path: Path) -> Stage:
    project = repository(tmp_path / "project", FILES)
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    return Stage(loom, project)


def forked(stage: Stage, task: str, *words: str) -> dict[str, Any]:
    """The new task, once it waits or is over."""
    done = stage.loom("fork", task, *words, "--json", cwd=stage.project)
    assert done.code in (0, 1, 3), done
    return stage.settled(str(done.json["task"]["id"]))


def agents(found: dict[str, Any]) -> list[str]:
    """The agents that ran, in order."""
    return [spawn["agent"] for spawn in found["spawns"] if spawn["attempts"]]


def replays(stage: Stage) -> None:
    done = stage.loom("replay", "--all", cwd=stage.project)
    assert (0, True) == (done.code, "identical" in done.out), done
    assert 0 == stage.loom("daemon", "stop", "--workers", cwd=stage.project).code
    rebuilt = stage.loom("doctor", "--rebuild", cwd=stage.project)
    assert "the same rows" in rebuilt.out, rebuilt


def test_a_fork_goes_on_from_a_stage(stage: Stage) -> None:
    """From `implement`: scout, plan and its review are taken over, the work is done anew with a person's word, and what was
    spent there is not spent here; the origin is as it was, and both replay."""
    origin = stage.run(planned(), flow="medium")
    before = stage.settled(origin)
    found = forked(stage, origin, "--at", "implement", "-m", "Say it in one line.")
    assert ("accepted", origin) == (found["task"]["verdict"], found["task"]["spec"]["origin_task"])
    ran = agents(found)
    assert ["implementer", "checks"] == ran[:2]
    assert {"scout", "planner", "plan_reviewer", "classifier"}.isdisjoint(ran)
    prompt = next(spawn["prompt"] for spawn in found["spawns"] if spawn["agent"] == "implementer")
    assert "1. Drop the slice." in prompt, "the plan was taken over"
    assert "Say it in one line." in prompt
    thinking = [spawn for spawn in found["spawns"] if spawn["attempts"] and spawn["agent"] not in ("checks", "deliver")]
    assert len(thinking) == found["task"]["attempts"] < before["task"]["attempts"]
    assert before == stage.settled(origin)
    assert "" != git(stage.project, "branch", "--list", f"loom/{found['task']['id']}")
    replays(stage)


def test_settled_siblings_stay_and_decisions_do_not(stage: Stage) -> None:
    """From the end of a fan-out that lost a member: only that one runs; the gate that a person had passed asks again."""
    origin = stage.run(planned().drop("security"), flow="medium", policy="review-plan")
    stage.says(origin, "answer", "accept")
    assert "spawn_failed" == stage.settled(origin)["task"]["parked"]
    stage.model(planned())
    found = forked(stage, origin)
    assert ["security", "acceptance", "deliver"] == agents(found)
    assert "accepted" == found["task"]["verdict"]
    kept = {spawn["agent"]: spawn["outcome"] for spawn in found["spawns"] if not spawn["attempts"] and spawn["outcome"]}
    assert {"correctness": "approve", "challenger": "approve"} == kept
    assert {"review.correctness", "review.challenger", "review.security", "check.test"} <= {
        each["kind"] for each in found["evidence"] if each["outcome"] in ("approve", "passed")
    }
    again = forked(stage, origin, "--at", "plan_gate")
    assert (["plan"], []) == ([gate["role"] for gate in again["gates"]], again["decisions"])
    assert [] == agents(again)
    assert [] == [each for each in again["evidence"] if each["kind"].startswith("approval")]
    replays(stage)


def test_a_fork_under_another_bundle(stage: Stage, tmp_path: Path) -> None:
    """The one way to move work to other rules: a folder's bundle, in which nothing goes back from the last gate."""
    origin = stage.run(writes(Script.empty(), RIGHT), policy="supervised")
    mine = tmp_path / "mine"
    shutil.copytree(SHIPPED, mine, ignore=shutil.ignore_patterns("__pycache__"))
    table = mine / "bundle.py"
    old, new = 'Gate("final", "final", FINISH, rework="implement")', 'Gate("final", "final", FINISH)'
    assert 1 == table.read_text().count(old)
    table.write_text(table.read_text().replace(old, new))
    found = forked(stage, origin, "--bundle", str(mine))
    assert [] == agents(found), "all of it was taken over; the gate is asked"
    (gate,) = found["gates"]
    assert ["accept", "abandon"] == gate["answers"]
    assert found["task"]["spec"]["rules_digest"] != stage.settled(origin)["task"]["spec"]["rules_digest"]
    found = stage.says(found["task"]["id"], "answer", "accept")
    assert "accepted" == found["task"]["verdict"]
    assert f"{HEAD}{RIGHT}".strip() == git(stage.project, "show", f"loom/{found['task']['id']}:calc.py")
    replays(stage)


def test_a_fork_with_another_model(stage: Stage, tmp_path: Path) -> None:
    """The agents that are named get another chain, the others keep theirs."""
    origin = stage.run(writes(Script.empty(), RIGHT))
    replies = writes(Script.empty(), f"{RIGHT}# by another\n").write(tmp_path / "other.jsonl")
    found = forked(stage, origin, "--at", "implement", "--model", f"implementer=recorded:{replies}")
    assert "accepted" == found["task"]["verdict"]
    assert "# by another" in git(stage.project, "show", f"loom/{found['task']['id']}:calc.py")
    chains = {each["agent"]: each["chain"] for each in found["task"]["spec"]["bindings"]}
    assert "other.jsonl" in chains["implementer"][0]
    assert "other.jsonl" not in chains["scout"][0]


def test_a_place_that_is_none(stage: Stage) -> None:
    """A stage that was not entered, an entry of nobody, an entry after the verdict: exit 2, and nothing begins."""
    origin = stage.run(writes(Script.empty(), RIGHT))
    log = stage.loom("log", origin, "--json", cwd=stage.project)
    last = int(json.loads(log.out.splitlines()[-1])["seq"])
    for at in ("review", "99999", str(last)):
        done = stage.loom("fork", origin, "--at", at, cwd=stage.project)
        assert (2, True) == (done.code, "There is no" in done.err), done
    assert "stages that were entered: classify, implement, checks, final, finalize" in done.err
    assert 1 == len(stage.loom("tasks", "--json", cwd=stage.project).json["tasks"])
