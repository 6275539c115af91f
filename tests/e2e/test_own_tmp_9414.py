"""One task on loom's own repository, with its own `make check` as the check.

The repository is a clone of this checkout, as it was committed last. A check has no network and a fresh tree, so `make check` must
not set up an environment of its own there: the trusted loom.toml lets it use the tools of the environment that runs loom
(`make -o dev check BIN=…`: the same recipe, the target that installs is taken as done). What it checks is the clone.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cast as c
from harness.cast import Cast, approves, reads, says, writes
from harness.cli import Cli, git
from harness.standin import StandIn

pytestmark = [pytest.mark.slow, pytest.mark.needs("git", "bubblewrap"), pytest.mark.timeout(600)]

ROOT = Path("/tmp/e2e-pk/own")
BIN = Path(sys.executable).parent
RUN_S = 500
FILE = "tests/unit/transports/test_shape_of_task_ids.py"
TASK = """Task ids stand in git refs, in paths and on buttons, and people read them aloud. transports/ids.py says what they look like,
and no test holds it. Add one: new ids have the shape, ids differ, and what has not the shape is refused: other lengths, letters that
are left out because they are taken for one another, capitals, a newline at the end."""

TEST = '''"""Task ids: their shape, and what has not got it."""

from __future__ import annotations

import pytest

from loom.transports.ids import ALPHABET, LENGTH, is_task_id, new_task_id


def test_new_ids_have_the_shape() -> None:
    """A thousand ids: each has it, and no two are equal."""
    drawn = [new_task_id() for _ in range(1_000)]
    assert all(is_task_id(each) for each in drawn)
    assert len(drawn) == len(set(drawn))
    assert set(ALPHABET) == set("".join(drawn))


@pytest.mark.parametrize("text", ["", "a" * (LENGTH - 1), "a" * (LENGTH + 1), "aaaaaaaaal", "aaaaaaaaa1", "AAAAAAAAAA", "a" * LENGTH + "\\n"])
def test_what_has_not_the_shape_is_refused(text: str) -> None:
    """Too short, too long, a letter that is taken for another, capitals, a newline at the end."""
    assert not is_task_id(text)
'''  # fmt: skip
FORMATTED = TEST.replace(
    '"text", ["", "a" * (LENGTH - 1), "a" * (LENGTH + 1), "aaaaaaaaal", "aaaaaaaaa1", "AAAAAAAAAA", "a" * LENGTH + "\\n"]',
    '\n    "text",\n    ["", "a" * (LENGTH - 1), "a" * (LENGTH + 1), "aaaaaaaaal", "aaaaaaaaa1", "AAAAAAAAAA", "a" * LENGTH + "\\n"],\n',
)


def configuration() -> str:
    """loom.toml: the tests of one room, `make check`, and the types once more by themselves (from the cache that it left)."""
    tool = ["env", "PYTHONPATH=.import"]
    checks = {
        "test": [*tool, f"{BIN}/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/transports"],
        "lint": [*tool, "make", "-o", "dev", "check", f"BIN={BIN}"],
        "typecheck": [*tool, f"{BIN}/mypy"],
    }
    return "[checks]\n" + "".join(f"{name} = {json.dumps(argv)}\n" for name, argv in checks.items())


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """loom's own repository as it was committed last, with a loom.toml of this machine."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a checkout of the repository")
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    where = tmp_path / "loom"
    git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(where))
    git(where, "checkout", "--quiet", "-B", "main")
    (where / "loom.toml").write_text(configuration())
    git(where, "add", "loom.toml")
    git(where, "commit", "--quiet", "--message", "What is checked here")
    return where


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


def cast_for_loom(api: StandIn) -> Cast:
    """The first version of the test is not formatted: `make check` says so, and the second is."""
    cast = Cast(api, "openai")
    cast.plays("classifier", c.classifies("medium", summary="Tests for a module that has none."))
    cast.plays(
        "scout",
        reads("transports/ids.py", "Makefile"),
        says(
            "ids.py has two functions and no test.",
            notes="- `transports/ids.py`: `new_task_id`, `is_task_id`, ALPHABET, LENGTH.\n- Tests mirror the rooms: tests/unit/transports/.",
        ),
    )
    cast.plays("planner", says("One new file of tests.", plan=f"Add `{FILE}`: new ids, and each way not to be one."))
    cast.plays("plan_reviewer", approves("It holds what the module says of itself."))
    cast.plays(
        "implementer",
        writes(FILE, TEST),
        says("New ids and seven ways not to be one are tested."),
        writes(FILE, FORMATTED),
        says("The file is formatted as `make check` wants it."),
    )
    cast.plays("correctness", approves("Each case is one that a person could type.", correctness_unproved="no"))
    cast.plays(
        "challenger",
        reads(FILE),
        approves("fullmatch refuses the newline, and a test shows it.", challenger_unproved="no"),
    )
    cast.plays("acceptance", approves("The shape of task ids is held by tests."))
    return cast  # fmt: skip


def test_loom_works_on_itself(loom: Cli, clone: Path, api: StandIn) -> None:
    """`make check` sends the first version back; the second passes it on exactly its tree, and a policy accepts."""
    assert 0 == loom("projects", "trust", "--yes", cwd=clone).code
    cast = cast_for_loom(api)
    env = {"OPENAI_API_KEY": c.KEY, "OPENAI_BASE_URL": api.openai_url}
    loom.environ.update(env)
    done = loom("run", TASK, *cast.options, "--json", cwd=clone, timeout=RUN_S)
    assert 0 == done.code, done
    shown = done.json
    task = shown["task"]["id"]
    assert "accepted" == shown["task"]["verdict"]
    assert FILE == git(clone, "diff", "--name-only", "main", f"loom/{task}")
    tree = git(clone, "rev-parse", f"loom/{task}^{{tree}}")
    about = {each["kind"]: each["outcome"] for each in shown["evidence"] if each["subject"] == tree}
    assert ("passed", "passed", "passed") == tuple(about[f"check.{name}"] for name in ("test", "lint", "typecheck"))
    linted = [each["outcome"] for each in shown["evidence"] if each["kind"] == "check.lint"]
    assert ["failed", "passed"] == linted
    again = next(s for s in shown["spawns"] if s["agent"] == "implementer" and s["iteration"] == 2)
    assert "would be reformatted" in again["prompt"]
    replayed = loom("replay", task, "--json", cwd=clone)
    assert (0, True) == (replayed.code, replayed.json["identical"])
    assert "main" == git(clone, "branch", "--show-current")
    assert "" == git(clone, "status", "--porcelain")
