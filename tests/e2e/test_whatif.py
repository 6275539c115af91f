"""What-if: the tutorial as it is written, and the same over a home of one's own."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path

import pytest

from harness.cli import Cli, Script, repository
from harness.scenarios import FILES, RIGHT, Stage, writes

pytestmark = pytest.mark.needs("git")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorials" / "what-if.md"
RULES = PAGE.with_suffix("") / "auth_review.py"
CONSOLE = re.compile(r"^```console\n\$ (.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DIFFERS = re.compile(r"\b(?=[a-z]*\d)[a-z0-9]{10}\b|\d+ a second|at entry \d+|\d{4} decisions")
"""What is another one each time that the runs are recorded or replayed: ids, rates, places in the log."""


def test_the_tutorial_is_true(loom: Cli) -> None:
    """Each command of the page prints what the page says; the rule on the page is the file; 200 runs, one slipped through."""
    page = PAGE.read_text(encoding="utf-8")
    told = CONSOLE.findall(page)
    assert 3 == len(told)
    for command, output in told:
        done = loom(*command.split()[1:], cwd=ROOT)
        assert done.code in (0, 1), done
        expected, said = (DIFFERS.sub("…", text) for text in (output, done.out))
        assert said.startswith(expected.rstrip("\n")), done
    assert f"```python\n{RULES.read_text(encoding='utf-8')}```" in page


def test_the_one_that_slipped_through_is_the_one(loom: Cli) -> None:
    """It is the run that changed auth/ in a flow without a security review, and no other; nothing else is different."""
    history = str(RULES.with_name("runs.history"))
    done = loom("whatif", "--history", history, "--rules", str(RULES), "--json")
    found = done.json
    assert (1, 200, 199, 1) == (done.code, found["runs"], found["same"], found["objected"])
    (run,) = found["parted"]
    assert ("auth needs a security review", "accepted", "a policy") == (run["rule"], run["verdict"], run["by"])
    assert ["fact touches_auth=yes", "shown review.security=approve: no"] == run["because"]


def ledger(stage: Stage) -> str:
    """What the database and the texts beside it are, to the byte; its log is empty."""
    files = [stage.home.database, *sorted(path for path in stage.home.blobs.rglob("*") if path.is_file())]
    log = stage.home.database.with_name("state.db-wal")
    assert not log.exists() or 0 == log.stat().st_size
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def test_a_home_is_asked_and_not_touched(loom: Cli, tmp_path: Path) -> None:
    """Runs of a home by task, project and date; not a byte is written."""
    project = repository(tmp_path / "project", FILES)
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    stage = Stage(loom, project)
    first = stage.run(writes(Script.empty(), RIGHT))
    second = stage.run(writes(Script.empty(), RIGHT), policy="supervised")
    assert 0 == loom("daemon", "stop", "--workers", cwd=project).code
    before = ledger(stage)

    rules = tmp_path / "rules.py"
    rules.write_text(RULES.read_text().replace('("auth/",)', '("calc.py",)'))
    asked = ("whatif", "--rules", str(rules), "--json")
    found = loom(*asked, cwd=project).json
    assert (2, 1, 1) == (found["runs"], found["same"], found["objected"]), "one was accepted, one waits"
    assert [first] == [run["task"] for run in found["parted"]]
    for option, runs in (
        (("--task", second), 1),
        (("--since", "1h"), 2),
        (("--since", "2126-01-01"), 0),
        (("--project", "project"), 2),
    ):
        assert runs == loom(*asked, *option, cwd=project).json["runs"], option
    unknown = loom(*asked, "--project", "other", cwd=project)
    assert (2, True) == (unknown.code, "There is no project 'other'" in unknown.err)
    assert before == ledger(stage)
    assert [] == loom.processes(), "nobody was started to answer it"


def test_the_pages_tables_are_complete() -> None:
    """Every answer and every part of a file of rules is told."""
    from loom.kernel.whatif import Fate
    from loom.transports.whatif.rules import PARTS

    page = PAGE.read_text(encoding="utf-8")
    places = [page.index(f"| `{fate.value}` |") for fate in Fate]
    assert all(one < other for one, other in pairwise(places))
    for part in (*PARTS, "POLICIES"):
        assert f"| `{part}` |" in page
