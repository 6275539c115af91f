"""`loom torture` from outside: what it does holds, what it says is so, and its checks find what they are there to find.

The order of the faults is drawn, printed, and repeated by LOOM_SEED.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from harness.cli import Cli
from harness.fabrics import until
from loom.coordinator.home import Home
from loom.transports.cli.torture import isle
from loom.transports.cli.torture.faults import CUT, FULL
from loom.transports.cli.torture.ground import Ground
from loom.transports.cli.torture.relay import Relays
from loom.transports.cli.torture.storm import Storm
from loom.transports.cli.torture.verdicts import checked

CHECKS = [
    "all tasks finished",
    "no committed step lost",
    "each step settled once",
    "no attempt begun twice",
    "no committed call made again",
    "nothing left running",
    "replay identical",
    "log whole",
    "projections rebuilt equal",
]
EVERYWHERE = {
    "both killed",
    "coordinator killed",
    "coordinator stopped",
    "link broken",
    "link silent",
    "link slow",
    "worker killed",
    "worker stopped",
}
SHORT, FULL_MINUTES = 0.4, 3.0


def seed() -> int:
    """LOOM_SEED, or another one each time."""
    return int(os.environ.get("LOOM_SEED", "") or random.SystemRandom().randrange(1 << 32))


@pytest.mark.parametrize(
    "minutes",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(FULL_MINUTES, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_nothing_is_lost_and_nothing_is_done_twice(loom: Cli, tmp_path: Path, minutes: float) -> None:
    """Faults of every kind that this machine allows, each at least once; every check holds; nothing is left of it."""
    chosen = seed()
    print(f"LOOM_SEED={chosen}")
    place = tmp_path / "place"
    done = loom("torture", "--minutes", str(minutes), "--seed", str(chosen), "--dir", str(place), "--json", timeout=500)
    found = done.json
    assert [] == [check for act in found["acts"] for check in act["checks"] if not check["good"]], done.err
    assert 0 == done.code, done
    assert (chosen, True) == (found["seed"], found["good"])
    refusal = isle.refusal()
    assert [f"{CUT}: {refusal}", f"{FULL}: {refusal}"] * bool(refusal) == found["left_out"]
    assert ["this disk"] + ["a small disk"] * (not refusal) == [act["where"] for act in found["acts"]]
    for act in found["acts"]:
        assert CHECKS == [check["name"] for check in act["checks"] if check["good"]]
        assert act["tasks"] * 9 == act["steps"] > 0
        assert re.search(r"host\d \d+", act["checks"][2]["found"]), "workers of hosts have a share in it"
    struck = {name for act in found["acts"] for name in act["faults"]}
    assert EVERYWHERE | ({CUT, FULL} if not refusal else set()) == struck
    assert [] == list(place.iterdir()), "its home is gone"
    assert [] == [one.pid for one in psutil.process_iter() if str(place) in " ".join(words(one))]


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# --- the checks find what they are there to find ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, and the agents' own count, after a run without any fault; nothing runs on it any more."""
    folder = tmp_path_factory.mktemp("torture")
    ground = on(folder)
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("LOOM_BENCH_EXECUTOR", "")  # what the ground sets is taken back afterwards
            environment.setenv("LOOM_BENCH_STARTS", "")
            ground.come_up()
            storm = Storm(ground, random.Random(1), 2, print)
            storm.rage(0.5, {}, 30)
            assert {check.name: True for check in checked(ground, storm)} == dict.fromkeys(CHECKS, True)
    finally:
        ground.kill_all()
        ground.relays.close()
    return folder


def on(folder: Path) -> Ground:
    """The ground of a folder."""
    return Ground(Home(folder / "home"), folder, 3_000, 20, False, False, Relays())


@pytest.fixture
def copied(quiet: Path, tmp_path: Path) -> Iterator[Ground]:
    """The same, for one test."""
    shutil.copytree(quiet, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    ground = on(tmp_path / "copy")
    yield ground
    ground.relays.close()


def wrong(ground: Ground, storm: Storm | None = None) -> dict[str, str]:
    """Check → what broke it, of those that do not hold."""
    storm = storm or Storm(ground, random.Random(1), 2, print)
    storm.submitted = ground.count("SELECT count(*) FROM task")
    return {check.name: check.wrong[0] for check in checked(ground, storm) if not check.good}


def change(ground: Ground, script: str) -> None:
    """Does to a record what must not happen to one."""
    with closing(sqlite3.connect(ground.home.database)) as connection:
        connection.executescript(f"DROP TRIGGER verdict_is_final; {script}")


PROJECTIONS = "projections rebuilt equal"
FIRST_TASK = "(SELECT min(id) FROM task)"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (f"UPDATE task SET paused = 1 WHERE id = {FIRST_TASK}", {PROJECTIONS: "task was not"}),
        (
            f"UPDATE task SET verdict = 'failed' WHERE id = {FIRST_TASK}",
            {CHECKS[0]: "t000000: done", PROJECTIONS: "task was not"},
        ),
        (
            "UPDATE attempt SET end = 'lost' WHERE id = (SELECT min(id) FROM attempt)",
            {CHECKS[2]: "steps are settled, not", PROJECTIONS: "attempt was not"},
        ),
    ],
)
def test_a_wrong_record_is_found(copied: Ground, script: str, expected: dict[str, str]) -> None:
    """A row that is not what the entries say, a task that was not accepted, a step that nobody reported."""
    change(copied, script)
    found = wrong(copied)
    assert set(expected) == set(found)
    assert [] == [name for name, words in expected.items() if words not in found[name]]


def test_a_lost_entry_is_found(copied: Ground) -> None:
    """What was read as committed once and is gone later."""
    storm = Storm(copied, random.Random(1), 2, print)
    storm.look()
    last = storm.entries - 1
    change(copied, f"DROP TRIGGER entry_is_never_deleted; DELETE FROM entry WHERE seq = {last}")
    storm.look(everything=True)
    assert [f"entry {last} was committed and is not there any more"] == storm.complaints


@pytest.mark.parametrize(
    ("attempt", "later_ms", "name", "said"),
    [
        ("{same}", 0, "no attempt begun twice", "was begun 2 times"),
        ("{spawn}#9", -60_000, "no attempt begun twice", "not ended in the record"),
        ("{spawn}#9", 60_000, "no committed call made again", "after a result of its step was committed"),
    ],
)
def test_a_start_too_many_is_found(copied: Ground, attempt: str, later_ms: int, name: str, said: str) -> None:
    """The agents' own count tells of an attempt begun twice, of one that nobody granted, and of a call made again."""
    first, fence, at_ms = copied.start_times()[0]
    named = attempt.format(same=first, spawn=first.rpartition("#")[0])
    with copied.starts.open("a") as file:
        file.write(f"{named} {fence} boot {at_ms + later_ms}\n")
    assert said in wrong(copied)[name]


def test_a_process_that_stays_is_found(copied: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the home in its command line and does not go when asked."""
    monkeypatch.setattr("loom.transports.cli.torture.ground.LEAVE_S", 0.2)
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(copied.home.path)]
    with subprocess.Popen(command) as staying:
        try:
            until(lambda: str(copied.home.path) in words(psutil.Process(staying.pid)), "it runs")
            assert str(staying.pid) in wrong(copied)["nothing left running"]
            copied.kill_all()
            assert -9 == staying.wait(10)
        finally:
            staying.kill()
