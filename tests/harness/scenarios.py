"""Real runs that end in every way a task can: for the histories that must replay for ever, and for what is asked of them.

    with started() as stage:                     # a project, a home, a coordinator, workers: all real but the models' words
        task = SCENARIOS["gates"](stage)         # runs a task to its end
        stage.save(task, path, "…")

Each scenario is one function; its docstring is the note that its history file begins with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli import Cli, Script, eventually, repository
from loom.coordinator.home import Home
from loom.transports.histories import HomeRuns, save

HEAD, WRONG, RIGHT = "def total(prices):\n", "    return sum(prices[1:])\n", "    return sum(prices)\n"
TEST = """import unittest

from calc import total


class TotalTest(unittest.TestCase):
    def test_every_price_counts(self):
        self.assertEqual(60, total([10, 20, 30]))
"""
FILES = {
    "calc.py": HEAD + WRONG,
    "tests/__init__.py": "",
    "tests/test_calc.py": TEST,
    ".gitignore": ".loom/\n",
    "loom.toml": '[checks]\nlint = "not applicable"\ntypecheck = "not applicable"\n',
}
DONE = {"outcome": "done", "summary": "The first price counts, too."}
MESSAGE = "total() takes the price of a thing that is given back as if it were bought."


@dataclass
class Stage:
    """Where scenarios are played."""

    loom: Cli
    project: Path

    def run(self, script: Script, *options: str, policy: str = "autonomous", flow: str = "trivial") -> str:
        """A task to its end or to a person; returns its id."""
        pinned = ("--flow", flow) if flow else ()
        words = ("--policy", policy, *pinned, "--model", self.model(script), "--json", *options)
        done = self.loom("run", "Mend total()", *words, cwd=self.project)
        assert done.code in (0, 1, 3), done
        return str(done.json["task"]["id"])

    def model(self, script: Script) -> str:
        """The option that lets these replies play every agent."""
        return f"*=recorded:{script.write(self.loom.root / 'replies.jsonl')}"

    def says(self, task: str, *words: str) -> dict[str, Any]:
        """A person's command about a task (`answer`, `retry` …); what it came to, once it waits again or is over."""
        done = self.loom(words[0], task, *words[1:], cwd=self.project)
        assert 0 == done.code, done
        return self.settled(task)

    def settled(self, task: str) -> dict[str, Any]:
        """Everything about the task, once it waits for a person or is over."""

        def found() -> dict[str, Any]:
            now: dict[str, Any] = self.loom("show", task, "--json", cwd=self.project).json
            return now if now["task"]["status"] == "done" or now["task"]["gate"] else {}

        there: dict[str, Any] = eventually(found, within=60, what="a gate or the end")
        return there

    @property
    def home(self) -> Home:
        return Home(self.project / ".loom")

    def save(self, task: str, path: Path, note: str) -> int:
        """The task's history as a file."""
        with HomeRuns(self.home, (task,)) as runs:
            return save(path, runs, note)


@contextmanager
def started() -> Iterator[Stage]:
    """A small package with a wrong function and a test that fails, in a new directory; nothing is left running."""
    with tempfile.TemporaryDirectory(prefix="loom-") as folder:
        root = Path(folder)
        loom = Cli(root)
        try:
            project = repository(root / "project", FILES)
            assert 0 == loom("projects", "trust", "--yes", str(project)).code
            yield Stage(loom, project)
        finally:
            loom.close()


# ------------------------------------------------------------------------------------------------------------- replies


def writes(script: Script, body: str, *, iteration: int | None = None, removes: tuple[str, ...] = ()) -> Script:
    """The implementer writes the body of total(), and says that it is done."""
    calls = [("remove", {"path": path}) for path in removes]
    calls.append(("write", {"path": "calc.py", "content": HEAD + body}))
    script.say("implementer", "implement", "", iteration=iteration, calls=calls)
    return script.say("implementer", "implement", DONE, iteration=iteration, ordinal=1)


def verdict(agent: str, outcome: str = "approve", line: int = 0) -> dict[str, Any]:
    """A reviewer's answer; with a line, a blocker there."""
    answer: dict[str, Any] = {"outcome": outcome, "summary": f"The {agent} says {outcome}.", "findings": []}
    if line:
        answer["findings"].append(
            {
                "severity": "blocking",
                "category": "wrong result",
                "path": "calc.py",
                "line": line,
                "message": MESSAGE,
                "evidence": "total([-1]) gives -1.",
                "suggestion": "",
            }
        )
    if agent in ("correctness", "challenger"):
        answer["facts"] = {f"{agent}_unproved": "no"}
    return answer


def planned() -> Script:
    """Everybody has spoken and approves; each round of work brings another right version."""
    triage = {"outcome": "done", "summary": "One slice is wrong.", "facts": {"flow": "medium", "risk": "low"}}
    notes = {"outcome": "done", "summary": "It leaves the first one out.", "notes": "calc.py: the slice is wrong."}
    plan = {"outcome": "done", "summary": "Take all.", "plan": "1. Drop the slice."}
    script = Script.empty().say("classifier", "classify", triage).say("scout", "scout", notes)
    script.say("planner", "plan", plan).say("plan_reviewer", "plan_review", verdict("plan_reviewer"))
    for iteration in range(1, 6):
        writes(script, f"{RIGHT}# {iteration}\n", iteration=iteration)
    for agent in ("correctness", "challenger", "security"):
        script.say(agent, "review", verdict(agent))
    return script.say("acceptance", "acceptance", verdict("acceptance"))


# ----------------------------------------------------------------------------------------------------------- scenarios


def question(stage: Stage) -> str:
    """A question, answered: flow question."""
    triage = {"outcome": "done", "summary": "A question.", "facts": {"flow": "question", "risk": "low"}}
    answer = {"outcome": "done", "summary": "Answered.", "answer": "The first price is left out."}
    script = Script.empty().say("classifier", "classify", triage)
    return stage.run(script.say("responder", "answer", answer), flow="")


def trivial(stage: Stage) -> str:
    """The shortest way to a result: flow trivial, decided by policies."""
    return stage.run(writes(Script.empty(), RIGHT))


def simple(stage: Stage) -> str:
    """Flow simple; the reviewer's first answer cannot be read and is repaired."""
    script = planned().say("correctness", "review", "Looks good to me, ship it!")
    return stage.run(script.say("correctness", "review", verdict("correctness"), ordinal=900), flow="simple")


def medium(stage: Stage) -> str:
    """Flow medium, chosen by the classifier, decided by policies; a member of the fan-out is skipped by its guard."""
    return stage.run(planned(), flow="", policy="on-blockers")


def gates(stage: Stage) -> str:
    """Every gate a person's: revise at the plan, revise at the end, then accept."""
    task = stage.run(planned(), flow="", policy="supervised")
    stage.says(task, "answer", "accept")
    stage.says(task, "answer", "revise", "-m", "Say what happens to an empty list, too.")
    stage.says(task, "answer", "accept")
    stage.says(task, "answer", "revise", "-m", "Name the sum.")
    assert "accepted" == stage.says(task, "answer", "accept")["task"]["verdict"]
    return task


def abandoned(stage: Stage) -> str:
    """A person gives up at the last gate."""
    task = stage.run(writes(Script.empty(), RIGHT), policy="supervised")
    assert "abandoned" == stage.says(task, "answer", "abandon")["task"]["verdict"]
    return task


def rework(stage: Stage) -> str:
    """A failed check and a blocker send the work back, once each."""
    script = planned().say("challenger", "review", verdict("challenger", "block", 2), iteration=1)
    lines = [line for line in script.lines if not (line.get("agent") == "implementer" and line["iteration"] == 1)]
    return stage.run(writes(Script(lines), WRONG + "# tried\n", iteration=1), flow="medium")


def stall(stage: Stage) -> str:
    """The same blocker for ever parks the task; a person accepts it by name."""
    script = planned()
    for iteration in range(1, 6):
        script.say("challenger", "review", verdict("challenger", "block", 2 + iteration), iteration=iteration)
    task = stage.run(script, flow="medium")
    assert "stall" == stage.settled(task)["task"]["parked"]
    stage.says(task, "answer", "accept", "--accept", "f3=nothing is ever given back here")
    return task


def fanout(stage: Stage) -> str:
    """One of three reviewers fails on every binding; retry runs that one alone, and again in vain; then accepted without."""
    task = stage.run(planned().drop("security"), flow="medium")
    stage.says(task, "retry")
    assert "spawn_failed" == stage.settled(task)["task"]["parked"]
    named = [w for f in stage.settled(task)["findings"] if f["status"] == "open" for w in ("--accept", f"{f['id']}=no")]
    stage.says(task, "answer", "accept", *named)
    return task


def person_needed(stage: Stage) -> str:
    """A test was taken away and nothing was checked: no policy accepts that; a person does."""
    task = stage.run(writes(Script.empty(), RIGHT, removes=("tests/test_calc.py",)))
    found = stage.says(task, "answer", "accept")
    assert "accepted" == found["task"]["verdict"], found["task"]
    return task


def cancelled(stage: Stage) -> str:
    """Paused, resumed, and cancelled while a person is waited for."""
    task = stage.run(writes(Script.empty(), RIGHT), policy="supervised")
    stage.loom("pause", task, cwd=stage.project)
    stage.loom("resume", task, cwd=stage.project)
    assert "cancelled" == stage.says(task, "cancel", "-m", "not needed any more")["task"]["verdict"]
    return task


def asked(stage: Stage) -> str:
    """The implementer is stuck; a person sends it back with a word, and it works."""
    stuck = {"outcome": "stuck", "summary": "I do not know what a price is."}
    script = Script.empty().say("implementer", "implement", stuck, iteration=1)
    task = stage.run(writes(script, RIGHT, iteration=2))
    assert "asked" == stage.settled(task)["task"]["parked"]
    assert "accepted" == stage.says(task, "answer", "revise", "-m", "A number.")["task"]["verdict"]
    return task


def budget(stage: Stage) -> str:
    """The rounds are used up by other blockers each time; a person raises them, and it ends well."""
    script = planned()
    for iteration in range(1, 6):
        said = verdict("challenger", "block", 2)
        said["findings"][0]["message"] = f"Case {'abcdef'[iteration]} is wrong."
        script.say("challenger", "review", said, iteration=iteration)
    script.say("challenger", "review", verdict("challenger"), iteration=6)
    task = stage.run(writes(script, f"{RIGHT}# 6\n", iteration=6), flow="medium")
    assert "rounds" == stage.settled(task)["task"]["parked"]
    assert "accepted" == stage.says(task, "answer", "raise")["task"]["verdict"]
    return task


def forked(stage: Stage) -> str:
    """A fork of a run that lost a member of its fan-out: results are taken over, that one runs, the gate asks again."""
    origin = stage.run(planned().drop("security"), flow="medium", policy="review-final")
    stage.model(planned())
    done = stage.loom("fork", origin, "--json", "-m", "The replies are there now.", cwd=stage.project)
    task = str(done.json["task"]["id"])
    assert "accepted" == stage.says(task, "answer", "accept")["task"]["verdict"]
    return task


SCENARIOS: dict[str, Callable[[Stage], str]] = {
    each.__name__: each
    for each in (
        question, trivial, simple, medium, gates, abandoned, rework, stall, fanout, person_needed, cancelled, asked, budget, forked,
    )
}  # fmt: skip
"""Name of the history → how it is made."""
