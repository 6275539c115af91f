"""The checks runner on real trees with real interpreters: what it says of what came out."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from harness.repositories import make_repository, write
from loom.workers.checks import Checked, report, run_checks
from loom.workers.protocol import CheckCommand, ProjectSetup, Statement
from loom.workers.sandboxes import Bubblewrap, FakeSandbox, NoSandbox
from loom.workers.seams import HandsError, Sandbox
from loom.workers.workspaces import copy_included, fetch_project
from loom.workers.workspaces.repository import Repository

GOOD = "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): self.assertEqual(1, 1)\n"
UNTRUSTED = ProjectSetup()

kinds = pytest.mark.parametrize(
    "sandbox",
    [
        pytest.param(Bubblewrap(), id="bubblewrap", marks=pytest.mark.needs("bubblewrap")),
        pytest.param(NoSandbox(), id="none"),
    ],
)


def checked(
    root: Path,
    files: dict[str | bytes, str | bytes],
    setup: ProjectSetup = UNTRUSTED,
    sandbox: Sandbox | None = None,
    timeout_ms: int = 60_000,
) -> dict[str, Checked]:
    tree = root / "tree"
    tree.mkdir()
    write(tree, files)
    work = run_checks(tree, setup, sandbox=sandbox or NoSandbox(), scratch=root / "own", timeout_ms=timeout_ms)
    return {each.name: each for each in asyncio.run(work)}


def trusted(*argv: str, name: str = "test", setup: tuple[tuple[str, ...], ...] = ()) -> ProjectSetup:
    return ProjectSetup(trusted=True, checks=(CheckCommand(name=name, argv=argv),), setup=setup)


@kinds
@pytest.mark.parametrize(
    ("files", "outcome", "summary"),
    [
        ({"test_a.py": GOOD}, "passed", "1 tests were run"),
        ({"test_a.py": GOOD.replace("1, 1", "1, 2")}, "failed", "1 tests were run; failed: test_"),
        ({"test_a.py": "def test_a(): pass\ndef test_b(): pass\n"}, "passed", "2 passed"),
        ({"test_a.py": "def test_a(): assert 0\n"}, "failed", "failed: test_a.py::test_a"),
        ({"a.py": ""}, "skipped", "no test files were found"),
    ],
)
def test_found_tests(
    tmp_path: Path, sandbox: Sandbox, files: dict[str | bytes, str | bytes], outcome: str, summary: str
) -> None:
    """Passing, failing and missing tests, by unittest and by pytest, in each sandbox."""
    found = checked(tmp_path, files, sandbox=sandbox)["test"]
    assert (outcome, True) == (found.outcome, summary in found.summary), found


@pytest.mark.parametrize(
    "files",
    [
        {"test_a.py": "import unittest\n"},
        {"test_a.py": GOOD.replace("    def", "    @unittest.skip('no')\n    def")},
        {"test_a.py": "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n"},
        {"test_a.py": "import pytest\n"},
        {"pytest.ini": "[pytest]\naddopts = -k nothing\n", "test_a.py": "def test_a(): pass\n"},
    ],
)
def test_zero_tests_are_skipped(tmp_path: Path, files: dict[str | bytes, str | bytes]) -> None:
    """A run in which no test really ran is skipped, never passed, whatever its exit code."""
    assert "skipped" == checked(tmp_path, files)["test"].outcome


def test_own_options_do_not_hide_the_count(tmp_path: Path) -> None:
    """A project that asks pytest to be very quiet is still counted."""
    files: dict[str | bytes, str | bytes] = {
        "pytest.ini": "[pytest]\naddopts = -qqq\n",
        "test_a.py": "def test_a(): pass\n",
    }
    assert ("passed", True) == ((found := checked(tmp_path, files)["test"]).outcome, "1 passed" in found.summary)


def test_a_broken_test_module_fails(tmp_path: Path) -> None:
    """A test file that cannot be imported is a failure, not an absence."""
    found = checked(tmp_path, {"test_a.py": GOOD, "test_b.py": "import unittest, nowhere\n"})["test"]
    assert "failed" == found.outcome
    assert "nowhere" in found.output


def test_source_layout(tmp_path: Path) -> None:
    """Code under src/ can be imported by the tests."""
    files: dict[str | bytes, str | bytes] = {"src/p/__init__.py": "x = 1\n", "tests/test_a.py": "import p\n" + GOOD}
    assert "passed" == checked(tmp_path, files)["test"].outcome


def test_a_configuration_above_is_not_used(tmp_path: Path) -> None:
    """A pytest configuration in a directory above the tree, the user's own perhaps, has no say."""
    write(tmp_path, {"pytest.ini": "[pytest]\naddopts = --no-such-option\n"})
    assert "passed" == checked(tmp_path, {"test_a.py": "def test_a(): pass\n"})["test"].outcome


def test_lint_and_types_run(tmp_path: Path) -> None:
    """Configured linters and type checkers run, and their words are kept."""
    bad: dict[str | bytes, str | bytes] = {"ruff.toml": "", "mypy.ini": "[mypy]\n", "a.py": "import os\nx: int = 'a'\n"}
    found = checked(tmp_path, bad)
    assert ("failed", "failed") == (found["lint"].outcome, found["typecheck"].outcome)
    assert "F401" in found["lint"].output
    assert "Incompatible types" in found["typecheck"].output
    assert ("python", "-P", "-m", "ruff", "check", "--no-cache", ".") == found["lint"].command


FORGED = "print('1 passed in 0.01s')\n"
FAILING = "def test_a(): assert 0\n"


@pytest.mark.parametrize(
    ("name", "check", "files", "words"),
    [
        ("pytest.py", "test", {"test_a.py": FAILING}, "pytest.py at the root stands in the way of the tool pytest"),
        ("src/pytest/__init__.py", "test", {"test_a.py": FAILING}, "pytest under src stands in the way"),
        ("_pytest.pyc", "test", {"test_a.py": FAILING}, "_pytest.pyc at the root stands in the way"),
        ("sitecustomize.py", "test", {"test_a.py": FAILING}, "sitecustomize.py at the root stands in the way"),
        ("unittest.py", "test", {"test_a.py": GOOD.replace("1, 1", "1, 2")}, "stands in the way of the tool unittest"),
        ("ruff.py", "lint", {"ruff.toml": "", "a.py": "import os\n"}, "stands in the way of the tool ruff"),
        ("mypy.py", "typecheck", {"mypy.ini": "[mypy]\n", "a.py": "x: int = ''\n"}, "in the way of the tool mypy"),
    ],
)
def test_the_tree_cannot_replace_a_tool(
    tmp_path: Path, name: str, check: str, files: dict[str | bytes, str | bytes], words: str
) -> None:
    """A module of the repository with a tool's name fails the check that it would have forged, and does not run."""
    found = checked(tmp_path, {**files, name: FORGED})[check]
    assert ("failed", True, "") == (found.outcome, words in found.summary, found.output), found


def test_a_directory_with_a_tools_name_is_no_obstacle(tmp_path: Path) -> None:
    """Files beside code (`mypy/stubs.pyi`, `pytest/`) are no module: the tool runs, and tests import from the root."""
    files: dict[str | bytes, str | bytes] = {
        "pytest/notes.txt": "", "code_.py": "x = 1\n", "tests/test_a.py": "import code_\ndef test_a(): pass\n"
    }  # fmt: skip
    found = checked(tmp_path, files)["test"]
    assert "passed" == found.outcome, found


def test_time_limit_is_a_failure(tmp_path: Path) -> None:
    """A test that hangs is stopped and failed with a sentence."""
    found = checked(tmp_path, {"test_a.py": "import time\ndef test_a(): time.sleep(600)\n"}, timeout_ms=3000)["test"]
    assert ("failed", "did not end within 3 s and was stopped") == (found.outcome, found.summary)


def test_output_keeps_head_and_tail(tmp_path: Path) -> None:
    """A flood of output is bounded; its beginning and its end are there."""
    flood = "print('first'); print('x' * 3_000_000); print('last')"
    found = checked(tmp_path, {}, trusted(sys.executable, "-c", flood))["test"]
    assert found.output.startswith("first\n")
    assert "last\n" == found.output[-5:]
    assert len(found.output) < 600_000


def test_environment_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks get an allow-list: no key of the worker's environment, and a HOME of their own."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "s3cret")
    found = checked(tmp_path, {}, trusted("env"))["test"]
    assert "s3cret" not in found.output
    assert f"HOME={tmp_path}/own/home" in found.output


def test_nothing_of_the_repository_runs_untrusted(tmp_path: Path) -> None:
    """Commands that came with an untrusted configuration are not run; the found checks are."""
    mark = tmp_path / "ran"
    setup = ProjectSetup(
        trusted=False, checks=(CheckCommand(name="test", argv=("touch", str(mark))),), setup=(("touch", str(mark)),)
    )
    found = checked(tmp_path, {"test_a.py": GOOD}, setup)
    assert "1 tests were run" == found["test"].summary
    assert not mark.exists()


def test_trusted_commands_run_as_given(tmp_path: Path) -> None:
    """Trusted set-up comes first, then the trusted check in the place of the found one; further names are run, too."""
    setup = ProjectSetup(
        trusted=True,
        checks=(
            CheckCommand(name="test", argv=("grep", "ready", "made")),
            CheckCommand(name="typecheck", declared=True),
            CheckCommand(name="docs", argv=("false",)),
        ),
        setup=(("sh", "-c", "echo ready > made"),),
    )
    found = checked(tmp_path, {"test_a.py": "def test_a(): assert 0\n"}, setup)
    assert {"test": "passed", "lint": "skipped", "typecheck": "not_applicable", "docs": "failed"} == {
        name: each.outcome for name, each in found.items()
    }
    assert ("ready", ("grep", "ready", "made")) == (found["test"].summary, found["test"].command)


def test_a_recipe_that_failed_is_told_by_its_own_words(tmp_path: Path) -> None:
    """Of `make lint` the summary is what the tool said, on either stream, not make's word that it failed."""
    for said in ("echo 'a.py:1: bad'", "echo 'a.py:1: bad' >&2"):
        root = tmp_path / str(len(said))
        root.mkdir()
        found = checked(root, {"Makefile": f"lint:\n\t@{said}; exit 1\n"}, trusted("make", "lint", name="lint"))["lint"]
        assert ("failed", "a.py:1: bad") == (found.outcome, found.summary)


def test_a_failing_set_up_stops(tmp_path: Path) -> None:
    """A set-up command that fails is an error that names it: no check is judged on half a workspace."""
    with pytest.raises(HandsError, match=r"set-up command 'sh -c echo broken; exit 3' ended with 3: broken"):
        checked(tmp_path, {}, trusted("true", setup=(("sh", "-c", "echo broken; exit 3"),)))


def test_a_trusted_command_that_runs_no_test(tmp_path: Path) -> None:
    """`python -m unittest` over nothing ends with 0 on 3.11: skipped all the same."""
    script = "import sys; print('Ran 0 tests in 0.000s'); sys.exit(0)"
    assert "skipped" == checked(tmp_path, {}, trusted(sys.executable, "-c", script))["test"].outcome


def test_checks_have_no_network(tmp_path: Path) -> None:
    """Checks ask the sandbox for no network, set-up for the shared one; only the tree and the scratch are writable."""
    fake = FakeSandbox()
    checked(tmp_path, {"test_a.py": GOOD}, ProjectSetup(trusted=True, setup=(("true",),)), sandbox=fake)
    assert ["shared", "none"] == [each.network for each in fake.asked]
    assert {(tmp_path / "tree", tmp_path / "own")} == {each.writable for each in fake.asked}


def test_statements_and_report() -> None:
    """The evidence names kind, outcome and command, the output by id; the report is readable text."""
    passed = Checked("test", "passed", "3 passed", "out\n", ("python", "-m", "pytest"))
    skipped = Checked("lint", "skipped", "none configured")
    expected = Statement(kind="check.test", outcome="passed", summary="3 passed", output="t1", command=passed.command)
    assert expected == passed.statement("t1")
    assert Statement(kind="check.lint", outcome="skipped", summary="none configured") == skipped.statement("t2")
    text = report([passed, skipped])
    assert "## test: passed — 3 passed\n$ python -m pytest\nout\n\n\n## lint: skipped — none configured" == text


def test_included_files_are_copied(tmp_path: Path) -> None:
    """Ignored files of the user's directory come into a tree: only what matches, no link, never over what is there."""
    user = tmp_path / "user"
    make_repository(user, {"a.py": "a\n", ".gitignore": "*.env\ndata/\n"})
    write(user, {"x.env": "X=1", "data/deep/d.bin": "d", "other.env": "no", "a.env": "user's"})
    (user / "link.env").symlink_to("/etc/passwd")
    fetched = asyncio.run(fetch_project(tmp_path / "home", "p", user))
    tree = tmp_path / "tree"
    write(tree, {"a.env": "tree's"})
    (tree / "data").symlink_to(tmp_path)
    patterns = ("x.env", "link.env", "a.env", "data", "*.py")
    assert ("a.py", "x.env") == asyncio.run(copy_included(Repository(fetched.repository), tree, patterns))
    assert "tree's" == (tree / "a.env").read_text()
    (tree / "data").unlink()
    assert ("data/deep/d.bin",) == asyncio.run(copy_included(Repository(fetched.repository), tree, ("data/",)))
