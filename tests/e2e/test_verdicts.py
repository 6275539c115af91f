"""What leads to a verdict and what never does: stalls, unreadable reviews, a lost sibling, and what no policy accepts.

Everything is real but the models' words, which stand in a file. Each test asserts on `--json` and on what a person reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.cast import claude_environ, environ
from harness.cli import Cli, Done, Script, eventually, git, repository
from harness.standin import Say, StandIn, Use

pytestmark = pytest.mark.needs("git")

WRONG, STILL_WRONG = "    return sum(prices[1:])\n", "    return sum(prices[:-1])\n"
RIGHT = "    return sum(prices)\n"
HEAD = "def total(prices):\n"
TEST = """import unittest

from calc import total


class TotalTest(unittest.TestCase):
    def test_every_price_counts(self):
        self.assertEqual(60, total([10, 20, 30]))

    def test_nothing_costs_nothing(self):
        self.assertEqual(0, total([]))
"""
FILES = {"calc.py": HEAD + WRONG, "tests/__init__.py": "", "tests/test_calc.py": TEST, ".gitignore": ".loom/\n"}
DECLARED = {"loom.toml": '[checks]\nlint = "not applicable"\ntypecheck = "not applicable"\n'}
DONE = {"outcome": "done", "summary": "The first price counts, too."}
MESSAGE = "total() takes the price of a thing that is given back as if it were bought."
ATTEMPTS = 40
"""The budget of a task that names none."""


@pytest.fixture
def project(loom: Cli, tmp_path: Path) -> Path:
    """A small package with a wrong function and a test that fails; trusted to have no linter and no type checker."""
    made = repository(tmp_path / "project", FILES | DECLARED)
    assert 0 == loom("projects", "trust", "--yes", str(made)).code
    return made


@dataclass
class Course:
    """A task that was begun with scripted replies; `words`: what the terminal showed."""

    loom: Cli
    project: Path
    words: Done
    task: str

    def show(self) -> dict[str, Any]:
        """Everything about it, as it is now."""
        found: dict[str, Any] = self.loom("show", self.task, "--json", cwd=self.project).json
        return found

    def said(self) -> str:
        """What `loom show` tells a person."""
        return self.loom("show", self.task, cwd=self.project).out

    def gate(self) -> dict[str, Any]:
        """What waits for a person."""
        gates = self.loom("gates", "--json", cwd=self.project).json["gates"]
        (gate,) = (each for each in gates if each["task"] == self.task)
        return dict(gate)

    def answer(self, *words: str) -> dict[str, Any]:
        """A person's word at the open gate; everything about the task, once it waits again or is over."""
        done = self.loom("answer", self.task, *words, cwd=self.project)
        assert 0 == done.code, done
        return self.settled()

    def settled(self) -> dict[str, Any]:
        """Everything about it, once it waits for a person or is over."""

        def found() -> dict[str, Any]:
            now = self.show()
            return now if now["task"]["status"] == "done" or now["task"]["gate"] else {}

        there: dict[str, Any] = eventually(found, within=40, what="a gate or the end")
        return there

    def branch(self) -> str:
        """What calc.py is on the branch; "" when there is no branch."""
        return git(self.project, "show", f"loom/{self.task}:calc.py") if self.has_branch() else ""

    def has_branch(self) -> bool:
        return "" != git(self.project, "branch", "--list", f"loom/{self.task}")


def begin(loom: Cli, project: Path, script: Script, *options: str, flow: str = "trivial") -> Course:
    """Runs a task until it is over or waits for a person; every gate is a policy's."""
    model = f"*=recorded:{script.write(project.parent / 'replies.jsonl')}"
    words = loom(
        "run", "Mend total()", "--flow", flow, "--policy", "autonomous", "--model", model, *options, cwd=project
    )
    (task,) = loom("tasks", "--json", cwd=project).json["tasks"]
    return Course(loom, project, words, task["id"])


def of(found: dict[str, Any], agent: str) -> list[dict[str, Any]]:
    """The spawns of one agent, in order."""
    return [spawn for spawn in found["spawns"] if spawn["agent"] == agent]


def waits(course: Course, *said: str) -> dict[str, Any]:
    """The task was not accepted and waits for a person, who is told these words by the run and by `loom show`."""
    assert 3 == course.words.code, course.words
    found = course.show()
    assert ("open", "") == (found["task"]["status"], found["task"]["verdict"])
    assert not course.has_branch()
    shown = course.said()
    for word in said:
        assert word in course.words.out, f"{word!r} is not in\n{course.words}"
        assert word in shown, f"{word!r} is not in\n{shown}"
    return found


def accepted(found: dict[str, Any]) -> bool:
    return ("done", "accepted") == (found["task"]["status"], found["task"]["verdict"])


CHECKED = {"check.test": "passed", "check.lint": "not_applicable", "check.typecheck": "not_applicable"}


def checks_of(found: dict[str, Any]) -> dict[str, str]:
    """Check → its latest outcome."""
    return {each["kind"]: each["outcome"] for each in found["evidence"] if each["kind"].startswith("check.")}


# ----------------------------------------------------------------------------------------------------------- scripts


def implements(
    script: Script,
    body: str,
    files: dict[str, str] | None = None,
    *,
    removes: tuple[str, ...] = (),
    iteration: int | None = None,
) -> Script:
    """The implementer writes the body of total() and these files, removes others, and says that it is done."""
    calls = [("remove", {"path": path}) for path in removes]
    calls += [
        ("write", {"path": path, "content": text}) for path, text in {"calc.py": HEAD + body, **(files or {})}.items()
    ]
    script.say("implementer", "implement", "", iteration=iteration, calls=calls)
    return script.say("implementer", "implement", DONE, iteration=iteration, ordinal=1)


def verdict(agent: str, outcome: str = "approve", *findings: dict[str, Any]) -> dict[str, Any]:
    """A reviewer's answer."""
    answer: dict[str, Any] = {"outcome": outcome, "summary": f"The {agent} says {outcome}.", "findings": list(findings)}
    if agent in ("correctness", "challenger"):
        answer["facts"] = {f"{agent}_unproved": "no"}
    return answer


def blocker(line: int = 2, message: str = MESSAGE) -> dict[str, Any]:
    """A blocking finding, at a line of calc.py."""
    case = {"evidence": "total([-1]) gives -1; a thing that is given back is no bill.", "suggestion": ""}
    return {
        "severity": "blocking",
        "category": "wrong result",
        "path": "calc.py",
        "line": line,
        "message": message,
        **case,
    }


def planned() -> Script:
    """Scout and planner have spoken, every round of work brings another right version, everybody approves."""
    notes = {"outcome": "done", "summary": "It leaves the first one out.", "notes": "calc.py: the slice is wrong."}
    plan = {"outcome": "done", "summary": "Take all.", "plan": "1. Drop the slice."}
    script = Script.empty().say("scout", "scout", notes).say("planner", "plan", plan)
    script.say("plan_reviewer", "plan_review", verdict("plan_reviewer"))
    for iteration in range(1, 6):
        implements(script, f"{RIGHT}# {iteration}\n", iteration=iteration)
    for agent in ("correctness", "challenger", "security"):
        script.say(agent, "review", verdict(agent))
    return script.say("acceptance", "acceptance", verdict("acceptance"))


# ------------------------------------------------------------------------------------------------------------ reviews


def test_a_stall_is_a_persons_and_acceptance_by_name_ends_it(loom: Cli, project: Path) -> None:
    """The same blocker for ever: parked within the budget, never accepted; accepted by name with a reason, it completes."""
    script = planned()
    for iteration in range(1, 6):
        line = 2 + iteration  # the place moves by itself; the trouble is the same
        script.say("challenger", "review", verdict("challenger", "block", blocker(line)), iteration=iteration)
    course = begin(loom, project, script, flow="medium")
    why = "the same blocker came back after 2 reworks: f3"
    found = waits(course, "for you: trouble", why, 'accept --accept f3="…" | revise -m "…" | retry | abandon')
    assert ("stall", 3, 3) == (found["task"]["parked"], len(of(found, "implementer")), len(of(found, "challenger")))
    assert 0 < found["task"]["attempts"] <= ATTEMPTS
    assert [] == of(found, "acceptance")
    assert f"blocker  f3 {MESSAGE}" in course.words.out

    bare = loom("answer", course.task, "accept", cwd=project)
    assert (2, True) == (bare.code, '--accept f3="…"' in bare.err), bare
    found = course.answer("accept", "--accept", "f3=nothing is ever given back here")
    assert accepted(found), course.said()
    later = [spawn["agent"] for spawn in found["spawns"] if spawn["stage"] not in ("scout", "plan", "plan_review")][-2:]
    assert (["acceptance", "deliver"], []) == (later, of(found, "adjudicator"))
    assert ("accepted", "nothing is ever given back here") == tuple(
        found["findings"][-1][key] for key in ("status", "reason")
    )
    assert HEAD + RIGHT + "# 3" == course.branch()
    assert "nothing is ever given back here" in course.said()
    assert 0 == loom("replay", course.task, cwd=project).code


def test_an_unreadable_review_is_repaired_once_then_a_persons(loom: Cli, project: Path) -> None:
    """One repair attempt each: the reviewer's is readable, the acceptance's is not; a person retries when it is mended."""
    prose = "Looks good to me, ship it!"
    script = planned().say("correctness", "review", prose)
    script.say("correctness", "review", verdict("correctness"), ordinal=900)
    script.say("acceptance", "acceptance", prose).say("acceptance", "acceptance", "As I said: ship it!", ordinal=900)
    course = begin(loom, project, script, flow="simple")
    unreadable = "the answer is not of the agent's output type"
    found = waits(course, f"acceptance failed: {unreadable}", "retry | accept", "revise", "abandon")

    (repaired,), (lost,) = of(found, "correctness"), of(found, "acceptance")
    for spawn in (repaired, lost):
        ends = [(each["end"], each["error_class"]) for each in spawn["attempts"]]
        assert (("failed", "unparseable"), 2) == (ends[0], len(ends))
        asked_again = spawn["attempts"][1]["prompt"]
        assert (True, True) == (prose in asked_again, unreadable in asked_again), asked_again
    assert ("approve", True) == (repaired["outcome"], repaired["attempts"][1]["repaired"])
    assert ("failed", "", "unparseable") == (lost["status"], lost["outcome"], lost["attempts"][1]["error_class"])
    (trouble,) = found["findings"]
    assert ("harness", "harness.unparseable", "open") == (trouble["origin"], trouble["category"], trouble["status"])
    assert "spawn_failed" == found["task"]["parked"]
    assert [] == [each for each in found["evidence"] if each["kind"] == "review.acceptance"]
    assert 2 == course.said().count(f"try 1: unparseable: {unreadable}")
    assert 1 == course.said().count(f"try 2: unparseable: {unreadable}")

    script.say("acceptance", "acceptance", verdict("acceptance")).write(project.parent / "replies.jsonl")
    found = course.answer("retry")
    assert accepted(found), course.said()
    assert [1, 2, 3] == [each["number"] for each in of(found, "acceptance")[0]["attempts"]]
    assert 2 == len(of(found, "correctness")[0]["attempts"]), "what was repaired stays"


def test_only_the_sibling_that_failed_runs_again(loom: Cli, project: Path) -> None:
    """Three reviewers, one without a model: the others' results stay, and each retry starts that one alone."""
    course = begin(loom, project, planned().drop("security"), flow="medium")
    found = waits(course, "security failed:", "has no reply for agent security, stage review", "retry | accept")
    before = {spawn["id"]: len(spawn["attempts"]) for spawn in found["spawns"]}
    assert {"correctness": "settled", "challenger": "settled", "security": "failed"} == {
        spawn["agent"]: spawn["status"] for spawn in found["spawns"] if spawn["stage"] == "review" and spawn["attempts"]
    }
    assert {1} == set(before.values()) - {0}

    in_vain = loom("retry", course.task, cwd=project)
    assert 0 == in_vain.code, in_vain
    found = course.settled()
    assert "spawn_failed" == found["task"]["parked"]
    planned().write(project.parent / "replies.jsonl")
    found = course.answer("retry")
    assert accepted(found), course.said()
    after = {spawn["id"]: len(spawn["attempts"]) for spawn in found["spawns"] if spawn["id"] in before}
    again = {spawn: (tries, after[spawn]) for spawn, tries in before.items() if tries != after[spawn]}
    assert {f"{course.task}/review.1/security": (1, 3)} == again


def test_an_approval_with_a_blocker_in_its_list_is_none(loom: Cli, project: Path) -> None:
    """It is unreadable: asked again, the reviewer blocks, and the work goes back; or says the same, and a person decides."""
    both = verdict("correctness", "approve", blocker())
    script = planned().say("correctness", "review", both).say("correctness", "review", both, ordinal=900)
    script.say("correctness", "review", verdict("correctness", "block", blocker()), ordinal=900, iteration=1)
    course = begin(loom, project, script, flow="simple")
    found = waits(course, "correctness failed: approve with a blocking finding in the list")

    first, second = of(found, "correctness")
    assert ["unparseable", ""] == [each["error_class"] for each in first["attempts"]]
    assert ["unparseable", "unparseable"] == [each["error_class"] for each in second["attempts"]]
    assert ("block", "") == (first["outcome"], second["outcome"])
    assert [False, True] == [MESSAGE in spawn["prompt"] for spawn in of(found, "implementer")]
    assert "approve" not in {each["outcome"] for each in found["evidence"] if each["kind"].startswith("review.")}
    assert [] == of(found, "acceptance")


# ----------------------------------------------------------------------------------------------------------- policies


WEAKER = TEST.replace("60, total([10, 20, 30])", "50, total([10, 20, 30])")


@pytest.mark.parametrize("how", ["edited", pytest.param("removed", marks=pytest.mark.slow)])
def test_no_policy_accepts_changed_tests(loom: Cli, project: Path, how: str) -> None:
    """All is green since the test was bent, or taken away: a person is asked, with that reason; the person may accept."""
    place, removed = ("tests/test_calc.py", ()) if how == "edited" else ("tests/test_other.py", ("tests/test_calc.py",))
    script = implements(Script.empty(), f"{WRONG}# as it was\n", {place: WEAKER}, removes=removed)
    course = begin(loom, project, script)
    found = waits(
        course, "for you: final", "reserved for a person: fact tests_changed=yes", 'accept | revise -m "…" | abandon'
    )
    assert CHECKED == checks_of(found)
    assert ("final", "", []) == (course.gate()["role"], found["task"]["parked"], found["decisions"])
    found = course.answer("accept", "-m", "the promise changed")
    assert accepted(found)
    assert [("final", "accept", "person")] == [(e["role"], e["word"], e["by"]["kind"]) for e in found["decisions"]]


def test_no_policy_accepts_an_empty_change(loom: Cli, project: Path) -> None:
    """Nothing was changed: a person is asked before anything is checked, and again when all of it is green."""
    (project / "calc.py").write_text(HEAD + RIGHT)
    git(project, "commit", "--quiet", "--all", "--message", "Mended already")
    course = begin(loom, project, Script.empty().say("implementer", "implement", DONE))
    found = waits(course, "for you: trouble", "it is done, and nothing was changed", "retry | accept")
    assert ("asked", "yes", []) == (found["task"]["parked"], found["task"]["facts"]["empty"], of(found, "checks"))
    found = course.answer("accept")
    assert (CHECKED, "final", "") == (checks_of(found), course.gate()["role"], found["task"]["verdict"])
    assert "reserved for a person: fact empty=yes" in course.said()
    implements(Script.empty(), f"{RIGHT}# all of them\n").write(project.parent / "replies.jsonl")
    found = course.answer("revise", "-m", "Say it in a comment, too")
    assert accepted(found), course.said()
    assert f"{HEAD}{RIGHT}# all of them" == course.branch()


def test_a_helper_that_is_hidden_does_not_count(loom: Cli, project: Path) -> None:
    """An edited .gitignore hides what the work needs: the clean checkout lacks it, the check fails, no policy accepts."""
    script = Script.empty()
    for iteration in range(1, 5):
        body = f"    from helper import add\n\n    return add(prices)\n# {iteration}\n"
        hidden = {".gitignore": ".loom/\nhelper.py\n", "helper.py": "add = sum\n"}
        implements(script, body, hidden, iteration=iteration)
    course = begin(loom, project, script)
    found = waits(
        course, "for you: trouble", "the same blocker came back after 2 reworks: f3", 'accept --accept f3="…"'
    )
    assert ["failed"] * 3 == [spawn["outcome"] for spawn in of(found, "checks")]
    prompts = [spawn["prompt"] for spawn in of(found, "implementer")]
    assert [False, True, True] == ["No module named 'helper'" in prompt for prompt in prompts]
    left_out = "not part of the result, since the changed .gitignore hides it: helper.py"
    assert [left_out] * 3 == [spawn["attempts"][-1]["notes"] for spawn in of(found, "implementer")]
    assert 3 == course.said().count(left_out)
    assert "helper.py" not in loom("diff", course.task, "--stat", cwd=project).out
    found = course.answer("accept", "--accept", "f3=let me see")
    assert ("final", "") == (course.gate()["role"], found["task"]["verdict"])
    assert "evidence is missing: check.test" in course.said()


def test_a_failed_check_goes_back_with_its_output(loom: Cli, project: Path) -> None:
    """The implementer is shown what the test said, and its second version is accepted by the policy; the branch stands."""
    script = implements(Script.empty(), STILL_WRONG, iteration=1)
    course = begin(loom, project, implements(script, RIGHT, iteration=2))
    found = course.show()
    assert (0, True) == (course.words.code, accepted(found)), course.words
    assert ["failed", "passed"] == [spawn["outcome"] for spawn in of(found, "checks")]
    first, second = (spawn["prompt"] for spawn in of(found, "implementer"))
    assert (False, True) == ("60 != 30" in first, "AssertionError: 60 != 30" in second)
    assert HEAD + RIGHT.rstrip() == course.branch()
    assert [("final", "accept", "policy")] == [(e["role"], e["word"], e["by"]["kind"]) for e in found["decisions"]]
    for word in ("failed", "back to implement", "accepted", f"loom/{course.task}"):
        assert word in course.words.out, course.words
    assert "test_every_price_counts" in course.said()


@pytest.mark.parametrize("settings", ["none", pytest.param("untrusted", marks=pytest.mark.slow)])
def test_a_skipped_check_is_a_persons(loom: Cli, tmp_path: Path, settings: str) -> None:
    """No linter configured, or a configuration that nobody trusted: skipped is not passed, and no policy accepts."""
    project = repository(tmp_path / "project", FILES | (DECLARED if settings == "untrusted" else {}))
    course = begin(loom, project, implements(Script.empty(), RIGHT))
    found = waits(course, "for you: final", "evidence is missing: check.lint, check.typecheck")
    assert {"check.test": "passed", "check.lint": "skipped", "check.typecheck": "skipped"} == checks_of(found)
    assert "no linter that loom knows (ruff) is configured" in course.said()
    assert accepted(course.answer("accept"))


@pytest.mark.needs("claude")
def test_a_nested_repository_is_refused(loom: Cli, tmp_path: Path) -> None:
    """An agent with a shell makes a repository inside: its content would be missing, so nothing is taken; a person decides."""
    project = repository(tmp_path / "project", FILES)
    command = "git init -q vendor && echo 'add = sum' > vendor/helper.py"
    with StandIn() as api:
        api.script("implementer", Use("Bash", command=command), Say('{"outcome": "done", "summary": "Made."}'))
        loom.environ |= environ(api) | claude_environ()
        options = ("--flow", "trivial", "--policy", "autonomous", "--model", "*=claude:implementer")
        words = loom("run", "Mend total()", *options, cwd=project)
    (task,) = loom("tasks", "--json", cwd=project).json["tasks"]
    course = Course(loom, project, words, task["id"])
    found = waits(course, "implementer failed:", "vendor contains a git repository of its own", "retry | revise")
    (trouble,) = found["findings"]
    assert ("harness", "harness.workspace") == (trouble["origin"], trouble["category"])
    assert ("spawn_failed", []) == (found["task"]["parked"], found["subjects"])
    assert ["retry", "revise", "abandon"] == course.gate()["answers"], "nothing was made that could be accepted"
