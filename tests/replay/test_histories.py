"""Histories that must replay for ever: recorded once, for real, and derived again by every later version of loom.

A test that fails here says that a decision changed under a running task. See docs/living-with-change.md for what to do; as
long as nothing is released, `make histories` records them anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from harness.scenarios import SCENARIOS
from loom.coordinator.entry import Entry, decode_entry
from loom.kernel.events import FlowChosen, TaskParked, VerdictReached
from loom.transports.cli.app import invoke
from loom.transports.differing import explained
from loom.transports.errors import UnavailableProblem
from loom.transports.histories import FileRuns, save
from loom.transports.replaying import replayed_runs

FOLDER = Path(__file__).parent / "histories"
FILES = sorted(FOLDER.glob("*.history"))
SEEDS = [
    pytest.param(("0", "1"), id="two"),
    pytest.param(tuple("0123456789"), id="ten", marks=pytest.mark.slow),
]


@cache
def entries(path: Path) -> tuple[Entry, ...]:
    with FileRuns(path) as runs:
        return tuple(decode_entry(body) for _, body in runs.entries())


def everything() -> Iterator[Entry]:
    for path in FILES:
        yield from entries(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_replays_identically(path: Path) -> None:
    """Every decision derived again, by the bundle that was kept beside it, gives the recorded bytes."""
    with FileRuns(path) as runs:
        found = replayed_runs(runs)
    assert found.difference is None, explained(found.difference)
    assert len(entries(path)) == found.ticks
    assert runs.note.endswith("."), "a history begins with what it is"


def test_the_histories_are_what_tasks_go_through() -> None:
    """Each scenario has its file; together they have every flow, every command, and every way to an end."""
    assert set(SCENARIOS) <= {path.stem for path in FILES}
    assert {"Submit", "Grant", "AttemptEnded", "Answer", "Pause", "Resume", "Cancel"} <= {
        type(entry.command).__name__ for entry in everything()
    }
    events = [event for entry in everything() for event in entry.events]
    assert {"question", "trivial", "simple", "medium"} == {e.flow for e in events if isinstance(e, FlowChosen)}
    assert {"accepted", "answered", "abandoned", "cancelled"} == {
        e.verdict.value for e in events if isinstance(e, VerdictReached)
    }
    assert {"stall", "rounds", "asked", "spawn_failed"} <= {e.code.value for e in events if isinstance(e, TaskParked)}
    assert {
        "StageSkipped", "SpawnSkipped", "AttemptReadied", "Reworked", "FindingAccepted", "SpawnWaived", "GateWithdrawn",
        "BudgetRaised", "MessageCarried", "SubjectChanged", "ArtifactMade", "TaskUnparked",
    } <= {type(e).__name__ for e in events}  # fmt: skip


class Changed(FileRuns):
    """A history in which one word was written over."""

    def __init__(self, path: Path, old: bytes, new: bytes) -> None:
        super().__init__(path)
        self._old, self._new = old, new

    def entries(self) -> Iterator[tuple[int, bytes]]:
        for seq, body in super().entries():
            yield seq, body.replace(self._old, self._new)


def test_a_changed_decision_is_named() -> None:
    """Entry, number, command, event and field of the first difference, and both values; not of a later one."""
    with Changed(FOLDER / "trivial.history", b'"verdict":"accepted"', b'"verdict":"answered"') as runs:
        found = replayed_runs(runs).difference
    assert found is not None
    (entry,) = (e for e in entries(FOLDER / "trivial.history") if "VerdictReached" in str(e.events))
    assert (entry.task, entry.n, "AttemptEnded") == (found.task, found.n, found.command)
    where = explained(found)
    assert (True, '"answered"', '"accepted"') == (
        where.place.endswith("VerdictReached, verdict"), where.recorded, where.derived,
    )  # fmt: skip
    assert [line for line in where.lines if line.startswith(("-  ", "+  "))] == [
        '-  "verdict": "answered"',
        '+  "verdict": "accepted"',
    ]


def test_the_command_line_says_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`loom replay --history`: exit 0 and "identical"; on a changed one exit 1, the place, recorded against derived."""
    assert 0 == invoke(["replay", "--history", str(FOLDER / "gates.history")])
    assert capsys.readouterr().out.startswith(f"identical: {len(entries(FOLDER / 'gates.history'))} decisions")
    path = tmp_path / "changed.history"
    with Changed(FOLDER / "gates.history", b'"role":"plan"', b'"role":"plum"') as runs:
        save(path, runs, "Changed.")
    assert 1 == invoke(["replay", "--history", str(path)])
    said = capsys.readouterr().out
    for words in (
        "different at entry",
        "GateOpened, role",
        'recorded  "plum"',
        'derived   "plan"',
        '-  "role": "plum"',
    ):
        assert words in said, said


def test_another_semantics_is_refused(tmp_path: Path) -> None:
    """An entry that another kernel decided is not judged by this one."""
    with (
        Changed(FOLDER / "trivial.history", b'"semantics":1},"task"', b'"semantics":2},"task"') as runs,
        pytest.raises(UnavailableProblem, match="semantics 2 of the kernel; this loom has 1"),
    ):
        replayed_runs(runs)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xfd7zXZ\x00 no"])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes) -> None:
    """In one sentence that names the file."""
    path = tmp_path / "some.history"
    path.write_bytes(content)
    with FileRuns(path) as runs, pytest.raises(UnavailableProblem, match=r"some\.history cannot be read"):
        replayed_runs(runs)


SCRIPT = (
    "import sys; from loom.transports.cli.app import invoke\n"
    "sys.exit(max(invoke(['replay', '--history', file]) for file in sys.argv[1:]))"
)


@pytest.mark.parametrize("seeds", SEEDS)
def test_no_decision_depends_on_the_hash_seed(seeds: tuple[str, ...]) -> None:
    """Every history replays identically in interpreters with other hash seeds."""
    files = FILES if len(seeds) > 2 else [FOLDER / "fanout.history", FOLDER / "medium.history"]
    for seed in seeds:
        _replays(sys.executable, files, {"PYTHONHASHSEED": seed})


def test_no_decision_depends_on_the_python() -> None:
    """Under every other Python that this machine has, and that can load the libraries: the same bytes. LOOM_TEST_PYTHONS
    names more of them, with a colon between: interpreters of environments that have the libraries of their own."""
    package = str(FOLDER.parents[2] / ".import")
    ours = os.pathsep.join([package, *(each for each in sys.path if "packages" in each)])
    named = [each for each in os.environ.get("LOOM_TEST_PYTHONS", "").split(os.pathsep) if each]
    others = [(each, package) for each in named] + [(each, ours) for each in _pythons() if _loads(each, ours)]
    if not others:
        pytest.skip("there is no second Python here that loads loom's libraries")
    for python, path in others:
        _replays(python, FILES, {"PYTHONPATH": path})


def _pythons() -> Iterator[str]:
    """Pythons of other builds than this one, by their names."""
    seen = {sys.version, ""}
    names = ("python3", *(f"python3.{minor}" for minor in range(11, 16)))
    for name in (*(f"/usr/bin/{name}" for name in names), *names):
        if (path := shutil.which(name)) is not None:
            asked = [path, "-c", "import sys; print(sys.version, end='')"]
            version = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout
            if version not in seen:
                seen.add(version)
                yield path


def _loads(python: str, libraries: str) -> bool:
    asked = [python, "-c", "import loom.transports.replaying, loom.transports.cli.app"]
    environment = {**os.environ, "PYTHONPATH": libraries}
    return subprocess.run(asked, env=environment, capture_output=True, timeout=60, check=False).returncode == 0


def _replays(python: str, files: list[Path], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [python, "-c", SCRIPT, *map(str, files)], env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert (0, len(files)) == (done.returncode, done.stdout.count("identical")), (python, environment, done)
