"""Real packages: their source archives as git repositories, a *medium* task on each, their own test suites as the checks.

The stand-in API plays the agents, by scripts written in advance; all else is real: loom's processes, git, the tools, Claude Code.
Three packages, three ways in which a project's checks can be: all found by files (iniconfig), one of them missing, so that a
person has the last word (inflection), declared by a configuration that a person trusts (cachetools).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import cast as c
from harness.cast import Cast, approves, blocks, edits, finding, reads, says, writes
from harness.cli import Cli, Done, eventually, git
from harness.packages import CACHETOOLS, INFLECTION, INICONFIG, unpacked
from harness.standin import StandIn, Use

pytestmark = [pytest.mark.needs("git"), pytest.mark.timeout(300)]

RUN_S = 240
SURE = {"correctness_unproved": "no"}
SURE_TOO = {"challenger_unproved": "no"}


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


# ------------------------------------------------------------------------------------------------------- what must hold


def suite(project: Path, commit: str, scratch: Path, *command: str, **extra: str) -> tuple[int, str]:
    """(exit code, output) of a project's tests on a clean checkout of a commit; `extra`: files put there before."""
    scratch.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=project, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=scratch, input=archive.stdout, check=True)
    for name, content in extra.items():
        (scratch / name).write_text(content)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=scratch, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def accepted(loom: Cli, project: Path, done: Done) -> dict[str, Any]:
    """What holds of every accepted task: branch, evidence about exactly its tree, a whole record, an identical replay."""
    assert 0 == done.code, done
    shown: dict[str, Any] = done.json
    task = shown["task"]
    assert ("accepted", "done", "medium") == (task["verdict"], task["status"], task["flow"])
    branch = f"loom/{task['id']}"
    assert ["main", branch] == sorted(
        git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads").split(), reverse=True
    )
    assert task["work"] == git(project, "rev-parse", branch)
    assert "" == git(project, "status", "--porcelain", "--untracked-files=no")
    tree = git(project, "rev-parse", f"{branch}^{{tree}}")
    about = {each["kind"]: each["outcome"] for each in shown["evidence"] if each["subject"] == tree}
    assert "passed" == about["check.test"]
    assert {"approve"} == {outcome for kind, outcome in about.items() if kind.startswith("review.")}
    assert "accept" == about["approval.final"]
    whole(shown)
    replayed = loom("replay", task["id"], "--json", cwd=project)
    assert (0, True) == (replayed.code, replayed.json["identical"])
    assert task["id"] in git(project, "log", "-1", "--format=%B", branch)
    return shown


def whole(shown: dict[str, Any]) -> None:
    """Of each agent's run: prompt, output, who ran it, on what, in which containment, with which counts."""
    ran = [spawn for spawn in shown["spawns"] if spawn["attempts"]]
    assert {
        "scout",
        "planner",
        "plan_reviewer",
        "implementer",
        "checks",
        "correctness",
        "challenger",
        "acceptance",
    } <= {spawn["agent"] for spawn in ran}
    for spawn in ran:
        last = spawn["attempts"][-1]
        assert "reported" == last["end"], spawn
        assert last["execution"]["worker"]
        assert last["granted_ms"] <= last["ended_ms"]
        if spawn["agent"] not in ("checks", "deliver"):
            assert spawn["prompt"]
            assert json.loads(spawn["output"])["summary"] == spawn["summary"]
            assert spawn["agent"] == last["execution"]["served_by"]
            assert last["execution"]["sandbox"]
            assert last["usage"]["input_tokens"] > 0
            assert last["transcript"]["blob"] or last["transcript"]["value"]
    assert [] == [gate for gate in shown["gates"] if gate["status"] == "open"]
    assert all(decision["by"]["id"] for decision in shown["decisions"])


# ------------------------------------------------------------------------------------------------- inflection, by a key

EMPTY_TASK = """camelize() cannot take an empty string when the first letter shall be lower case:

    >>> inflection.camelize("", False)
    IndexError: string index out of range

camelize("") gives "". So should this: every other function of the module takes an empty string. Add a test for it."""

UNTYPED_TEST = """import inflection


def test_camelize_takes_an_empty_string():
    assert inflection.camelize("", False) == ""


def test_camelize_takes_one_letter():
    assert inflection.camelize("A", False) == "a"
"""
EMPTY_TEST = UNTYPED_TEST.replace("():", "() -> None:")
"""The package's mypy wants annotations, and leaves out its own test file by name only."""


def cast_for_inflection(api: StandIn) -> Cast:
    """The first test has no annotations, which the package's own mypy refuses; the second round mends that."""
    cast = Cast(api, "openai")
    cast.plays("classifier", c.classifies("medium", summary="An IndexError for an empty string, with a test."))
    cast.plays(
        "scout",
        reads("inflection/__init__.py", "test_inflection.py"),
        says(
            "One line of camelize() indexes an empty string.",
            notes="- `inflection/__init__.py`: `camelize` takes `string[0]` when `uppercase_first_letter` is false.\n"
            "- Tests are plain functions of pytest in `test_inflection.py`, at the top.",
        ),
    )
    cast.plays(
        "planner",
        says(
            "Slice instead of index.",
            plan="1. `inflection/__init__.py`, `camelize`: `string[:1]` for `string[0]`.\n"
            "2. A new file `test_camelize_empty.py`: an empty string, and one letter.",
        ),
    )
    cast.plays("plan_reviewer", approves("The smallest change, and its test fails before."))
    cast.plays(
        "implementer",
        edits("inflection/__init__.py", "string[0].lower() + camelize(string)[1:]", "string[:1].lower() + camelize(string)[1:]"),
        writes("test_camelize_empty.py", UNTYPED_TEST),
        says("camelize() slices the first letter, so that an empty string has none. A new test holds it."),
        writes("test_camelize_empty.py", EMPTY_TEST),
        c.checks(),
        says("The new test has the annotations that the project's mypy asks for."),
    )  # fmt: skip
    cast.plays("correctness", reads("inflection/__init__.py"), approves("A slice of nothing is nothing.", **SURE))
    cast.plays("challenger", approves("Tried: empty, one letter, an underscore alone. None of them fails.", **SURE_TOO))
    cast.plays("acceptance", approves("camelize('', False) gives '', and a test shows it."))
    return cast


def test_a_package_as_it_is(loom: Cli, api: StandIn, tmp_path: Path) -> None:
    """inflection, no configuration, our own tool loop: its mypy sends the work back; it has no linter, so a person accepts."""
    project = unpacked(INFLECTION, tmp_path / "inflection")
    cast = cast_for_inflection(api)
    done = loom("run", EMPTY_TASK, *cast.options, cwd=project, env=cast.environ, timeout=RUN_S)
    assert 3 == done.code, done
    (gate,) = loom("gates", "--json", cwd=project).json["gates"]
    assert "final" == gate["role"]
    assert "lint" in done.out
    assert "accept" in gate["answers"]
    assert 0 == loom("answer", gate["id"], "accept", "-m", "There is no linter here.", cwd=project).code
    eventually(lambda: git(project, "branch", "--list", "loom/*"), what="the branch")
    eventually(lambda: loom("tasks", "--json", cwd=project).json["tasks"][0]["status"] == "done", what="the end")
    shown = accepted(loom, project, loom("show", gate["task"], "--json", cwd=project))
    assert ("person", "There is no linter here.") == (
        shown["decisions"][-1]["by"]["kind"],
        shown["decisions"][-1]["message"],
    )
    again = next(s for s in shown["spawns"] if s["agent"] == "implementer" and s["iteration"] == 2)
    assert "Function is missing a return type annotation" in again["prompt"]
    assert ["failed", "passed"] == [each["outcome"] for each in shown["evidence"] if each["kind"] == "check.typecheck"]
    branch = f"loom/{gate['task']}"
    assert "inflection/__init__.py\ntest_camelize_empty.py" == git(project, "diff", "--name-only", "main", branch)
    pytest_ = ("pytest", "-q", "-c", "/dev/null", "--rootdir=.")
    assert 0 == suite(project, branch, tmp_path / "after", *pytest_)[0]
    code, said = suite(project, "main", tmp_path / "before", *pytest_, **{"test_camelize_empty.py": EMPTY_TEST})
    assert (1, True) == (code, "1 failed" in said), said


# --------------------------------------------------------------------------------------------- iniconfig, with a blocker

LENGTH_TASK = """A section has no length: len(config["section"]) raises TypeError, although one can iterate over a section
and ask whether a name is in it. It should be the number of the section's names. Nothing else about sections may change."""

PLACE = """    def items(self) -> Iterator[tuple[str, str]]:
        for name in self:
"""
LENGTH = """    def __len__(self) -> int:
        return len(self.config.sections.get(self.name, {}))

"""
TRUTH = """    def __bool__(self) -> bool:
        # With a length alone, a section that is there but empty would become false.
        return True

"""
LENGTH_TEST = """from iniconfig import IniConfig

CONFIG = IniConfig("x", data="[two]\\na = 1\\nb = 2\\n[empty]\\n")


def test_a_section_has_a_length() -> None:
    assert len(CONFIG["two"]) == 2
    assert len(CONFIG["empty"]) == 0
"""
TRUTH_TEST = """

def test_an_empty_section_is_still_true() -> None:
    assert CONFIG["empty"]
"""


def cast_for_iniconfig(api: StandIn) -> Cast:
    """The challenger finds what a length does to truth; the second round mends it."""
    cast = Cast(api, "anthropic")
    code, test = "src/iniconfig/__init__.py", "testing/test_section_len.py"
    cast.plays("classifier", c.classifies("medium", summary="New behaviour of a public class."))
    cast.plays(
        "scout",
        Use("search", pattern="class SectionWrapper|sections"),
        reads(code),
        says(
            "SectionWrapper iterates over config.sections, and has no __len__.",
            notes=f"- `{code}`: `SectionWrapper.__iter__` uses `self.config.sections.get(self.name, {{}})`; so can a length.\n"
            "- Tests are in `testing/`; ruff (one import a line) and mypy strict are configured.",
        ),
    )
    cast.plays(
        "planner",
        says(
            "One method beside __iter__, from the same mapping.",
            plan=f"1. `{code}`, `SectionWrapper.__len__`: the length of the mapping that `__iter__` uses.\n"
            f"2. `{test}`: a section with two names, one without any.",
        ),
    )
    cast.plays("plan_reviewer", approves("It does what was asked for, with the same source as __iter__."))
    cast.plays(
        "implementer",
        edits(code, PLACE, LENGTH + PLACE),
        writes(test, LENGTH_TEST),
        says("SectionWrapper has a length, from the mapping that it iterates over; with a test."),
        edits(code, PLACE, TRUTH + PLACE),
        edits(test, "    assert len(CONFIG[\"empty\"]) == 0\n", "    assert len(CONFIG[\"empty\"]) == 0\n" + TRUTH_TEST),
        c.checks(),
        says("An empty section stays true, as it was: __bool__ says so, and a test holds it."),
    )  # fmt: skip
    cast.plays(
        "correctness",
        approves("The length is that of the mapping; a wrapper of a missing section has 0, as it iterates.", **SURE),
        approves("Length and truth are both held by a test now.", **SURE),
    )
    blocker = finding(
        code, 79, "An empty section becomes false: with __len__ and no __bool__, Python asks the length.",
        'c = IniConfig("x", data="[empty]\\n"); bool(c["empty"]) was True and is False. `if config["empty"]:` changes.',
        "Add __bool__ that returns True, with a test.", category="changed behaviour",
    )  # fmt: skip
    cast.plays(
        "challenger",
        reads(code),
        blocks("The length is right, but the truth of an empty section changes, and nothing else may.", blocker, **SURE_TOO),
        approves("An empty section is true again, and a test holds it.", **SURE_TOO),
    )  # fmt: skip
    cast.plays("acceptance", approves("len() works on sections, and nothing else about them changed."))
    return cast


@pytest.mark.slow
def test_a_package_whose_checks_are_all_found(loom: Cli, api: StandIn, tmp_path: Path) -> None:
    """iniconfig: pytest, ruff and mypy by its own configuration; a real blocker sends the work back; a policy accepts."""
    project = unpacked(INICONFIG, tmp_path / "iniconfig")
    cast = cast_for_iniconfig(api)
    done = loom("run", LENGTH_TASK, *cast.options, "--json", cwd=project, env=cast.environ, timeout=RUN_S)
    shown = accepted(loom, project, done)
    task = shown["task"]["id"]
    tree = git(project, "rev-parse", f"loom/{task}^{{tree}}")
    about = {each["kind"]: each for each in shown["evidence"] if each["subject"] == tree}
    for kind in ("check.test", "check.lint", "check.typecheck"):
        assert "passed" == about[kind]["outcome"]
    assert "56 passed" in about["check.test"]["summary"]
    assert [1, 2] == sorted(spawn["iteration"] for spawn in shown["spawns"] if spawn["agent"] == "implementer")
    (found,) = shown["findings"]
    assert ("challenger", "blocking", "src/iniconfig/__init__.py") == (found["agent"], found["severity"], found["path"])
    again = next(s for s in shown["spawns"] if s["agent"] == "implementer" and s["iteration"] == 2)
    assert "An empty section becomes false" in again["prompt"]
    assert "policy" == shown["decisions"][-1]["by"]["kind"]
    pytest_ = ("pytest", "-q", "-p", "no:asyncio")
    assert 0 == suite(project, f"loom/{task}", tmp_path / "after", *pytest_)[0]
    code, said = suite(project, "main", tmp_path / "before", *pytest_, **{"testing/test_section_len.py": LENGTH_TEST})
    assert (1, True) == (code, "TypeError" in said), said


# ------------------------------------------------------------------------------------- cachetools, through Claude Code

NAN_TASK = """A cache whose maxsize is NaN never evicts anything:

    c = cachetools.LRUCache(maxsize=float("nan"))
    for i in range(100_000): c[i] = i        # len(c) == 100_000

because every comparison with NaN is false: `maxsize < 0`, and `currsize + 1 > maxsize` too. A maxsize that comes out of a
computation gone wrong thus makes an unbounded cache without a word. It should be refused, like a negative one, by every cache."""

NAN_TEST = """import unittest

import cachetools


class NaNTest(unittest.TestCase):
    def test_a_maxsize_that_is_not_a_number_is_refused(self):
        for cls in (
            cachetools.Cache,
            cachetools.FIFOCache,
            cachetools.LFUCache,
            cachetools.LRUCache,
            cachetools.RRCache,
        ):
            with self.subTest(cls=cls), self.assertRaises(ValueError):
                cls(maxsize=float("nan"))

    def test_zero_and_infinity_are_sizes(self):
        self.assertEqual(0, cachetools.Cache(maxsize=0).maxsize)
        self.assertEqual(float("inf"), cachetools.Cache(maxsize=float("inf")).maxsize)
"""
DECLARED = '[checks]\ntypecheck = "not applicable" # its types are in .pyi files, for pyright\n'


def cast_for_cachetools(api: StandIn) -> Cast:
    """The agents as Claude Code runs them: its own tools, its Bash inside the sandbox, and its own way to give an output."""
    cast = Cast(api, "claude")
    code = "src/cachetools/__init__.py"
    cast.plays("classifier", gives(c.classifies("medium", summary="A missing check of input, in a base class.")))
    cast.plays(
        "scout",
        Use("Grep", pattern="maxsize < 0", path="src"),
        Use("Read", file_path=code, offset=28, limit=70),
        gives(
            says(
                "One comparison in Cache.__init__ lets NaN through; all caches call it.",
                notes=f"- `{code}:36`: `if maxsize < 0: raise ValueError`.\n- Tests: unittest, `tests/test_*.py`.",
            )
        ),
    )
    cast.plays(
        "planner",
        gives(
            says(
                "Turn the comparison round.",
                plan=f"1. `{code}`: `if not maxsize >= 0`.\n2. `tests/test_nan.py`: every cache; zero and infinity stay.",
            )
        ),
    )
    cast.plays("plan_reviewer", gives(approves("One line, in the place that all caches share.")))
    cast.plays(
        "implementer",
        Use("Read", file_path=code, offset=28, limit=20),
        Use(
            "Edit",
            file_path=code,
            old_string="        if maxsize < 0:\n",
            new_string="        if not maxsize >= 0:  # said this way round, it refuses NaN as well\n",
        ),
        Use("Write", file_path="tests/test_nan.py", content=NAN_TEST),
        Use("Bash", command="PYTHONPATH=src python3 -m unittest tests.test_nan 2>&1 | tail -3"),
        gives(says("Cache refuses a maxsize of NaN with the ValueError that a negative one gets; every cache inherits it.")),
    )  # fmt: skip
    cast.plays(
        "correctness",
        Use("Read", file_path=code, offset=28, limit=20),
        gives(approves("For every number the two comparisons are opposites; for NaN the new one refuses.", **SURE)),
    )
    remark = finding(
        code, 78, "An item whose size is NaN is still let in, and currsize is NaN from then on.",
        "Cache(10, getsizeof=lambda v: float('nan')): c[1] = 1; c.currsize is nan.", "Not part of this task.",
        severity="warn", category="input",
    )  # fmt: skip
    cast.plays("challenger", gives(approves("Strings, None and Decimal behave as before.", remark, **SURE_TOO)))
    cast.plays(
        "acceptance", gives(approves("Every cache refuses NaN; sizes of items are left, and the reviewer says so."))
    )
    return cast


def gives(answer: Any) -> Use:
    """An agent's output as Claude Code wants it: by its tool StructuredOutput."""
    return Use("StructuredOutput", **json.loads(answer.text))


@pytest.mark.slow
@pytest.mark.needs("claude", "bubblewrap")
def test_a_package_through_claude_code(loom: Cli, api: StandIn, tmp_path: Path) -> None:
    """cachetools: every agent is the real Claude Code CLI; a trusted loom.toml says that there is no type check."""
    project = unpacked(CACHETOOLS, tmp_path / "cachetools", loom_toml=DECLARED)
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    cast = cast_for_cachetools(api)
    env = {**cast.environ, **c.claude_environ()}
    assert 0 == loom("daemon", "stop", "--workers", cwd=project).code
    done = loom("run", NAN_TASK, *cast.options, "--json", cwd=project, env=env, timeout=RUN_S)
    shown = accepted(loom, project, done)
    task = shown["task"]["id"]
    tree = git(project, "rev-parse", f"loom/{task}^{{tree}}")
    about = {each["kind"]: each["outcome"] for each in shown["evidence"] if each["subject"] == tree}
    assert ("passed", "passed", "not_applicable") == tuple(
        about[f"check.{name}"] for name in ("test", "lint", "typecheck")
    )
    for spawn in shown["spawns"]:
        for attempt in spawn["attempts"]:
            if spawn["agent"] not in ("checks", "deliver"):
                assert ("bubblewrap", "shared") == (attempt["execution"]["sandbox"], attempt["execution"]["network"])
                assert "ANTHROPIC_API_KEY" in attempt["execution"]["credentials"]
                assert "reported" == attempt["usage"]["price"]
    assert c.KEY not in done.out
    assert [("challenger", "warn")] == [(each["agent"], each["severity"]) for each in shown["findings"]]
    assert "src/cachetools/__init__.py\ntests/test_nan.py" == git(
        project, "diff", "--name-only", "main", f"loom/{task}"
    )
    unittest = ("unittest", "discover", "-s", "tests", "-t", ".")
    assert 0 == suite(project, f"loom/{task}", tmp_path / "after", *unittest)[0]
    code, said = suite(project, "main", tmp_path / "before", *unittest, **{"tests/test_nan.py": NAN_TEST})
    assert (1, True) == (code, "ValueError not raised" in said), said
