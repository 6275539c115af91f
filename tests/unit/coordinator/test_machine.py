"""Slots of the machine: shared by homes, freed by death, given up for one that waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loom.coordinator.machine import LOOK_MS, MachineSlots, in_use, usual_size

A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "slots"


def turn(machine: MachineSlots, used: int, wanted: int, now_ms: int) -> int:
    """One turn of a coordinator with so many at work; returns how many more it could begin."""
    machine.begin(used, now_ms)
    got = 0
    while got < wanted and machine.room():
        machine.took()
        got += 1
    machine.settle(used + got)
    return got


def test_homes_together_have_no_more_than_the_machine(folder: Path) -> None:
    """Whoever comes first takes what is free; the next gets the rest, and more when something ends."""
    a, b = MachineSlots(folder, A, 8), MachineSlots(folder, B, 8)
    assert 6 == turn(a, 0, 6, 0)
    assert 2 == turn(b, 0, 5, 0)
    assert (8, 2) == in_use(folder)
    assert b.waits
    assert 0 == turn(a, 4, 0, 100)
    assert 2 == turn(b, 2, 3, LOOK_MS)
    assert 8 == in_use(folder)[0]


def test_a_home_that_has_more_than_its_part_leaves_what_ends_to_one_that_waits(folder: Path) -> None:
    """Without that a long queue in one repository would keep every slot for itself."""
    a, b = MachineSlots(folder, A, 8), MachineSlots(folder, B, 8)
    assert 8 == turn(a, 0, 100, 0)
    assert 0 == turn(b, 0, 100, 10)
    at_work, now_ms = [8, 0], 10
    for _ in range(8):
        now_ms += LOOK_MS + 1
        at_work[0] += turn(a, at_work[0] - 1, 100, now_ms) - 1
        now_ms += LOOK_MS + 1
        at_work[1] += turn(b, at_work[1], 100, now_ms)
    assert [4, 4] == at_work


def test_alone_a_home_takes_the_whole_machine(folder: Path) -> None:
    """A home that is idle, or content, takes nothing from the others."""
    a, b = MachineSlots(folder, A, 8), MachineSlots(folder, B, 8)
    assert 2 == turn(b, 0, 2, 0)
    assert 6 == turn(a, 0, 100, 0)
    assert 0 == turn(b, 0, 0, 300)
    assert 2 == turn(a, 6, 100, 600)
    a.close()
    assert (0, 0) == in_use(folder)
    assert [] == [path.name for path in folder.iterdir() if not path.name.startswith("slot-")]


def test_what_was_at_work_before_is_counted(folder: Path) -> None:
    """A new coordinator that adopts attempts takes slots for them before it begins anything."""
    a = MachineSlots(folder, A, 4)
    assert 1 == turn(a, 3, 5, 0)
    assert 4 == a.held


def test_a_home_of_many_slots_leaves_the_usual_ones_to_others(folder: Path) -> None:
    """Who says that a home has more than the usual number gets them beside the usual ones."""
    usual = usual_size()
    a, b = MachineSlots(folder, A, usual + 5), MachineSlots(folder, B, usual)
    assert 5 == turn(a, 0, 5, 0)
    assert usual == turn(b, 0, usual + 5, 0)


HOLD = """
import sys
from pathlib import Path
from loom.coordinator.machine import MachineSlots
machine = MachineSlots(Path(sys.argv[1]), "d" * 16, 4)
machine.begin(0, 0)
while machine.room():
    machine.took()
machine.settle(4)
print(machine.held, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_frees_its_slots(folder: Path) -> None:
    """SIGKILL leaves no slot behind: the system has the locks."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert "4\n" == child.stdout.readline()
    mine = MachineSlots(folder, C, 4)
    assert 0 == turn(mine, 0, 4, 0)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert 4 == turn(mine, 0, 4, LOOK_MS)


def test_a_full_machine_is_asked_again_after_a_while(folder: Path) -> None:
    """Nothing tells a home that a slot is free; it looks every LOOK_MS as long as it waits."""
    a, b = MachineSlots(folder, A, 1), MachineSlots(folder, B, 1)
    assert 1 == turn(a, 0, 1, 0)
    assert 0 == turn(b, 0, 1, 50)
    asks: list[Callable[[], bool]] = [lambda: b.asks_again(50 + LOOK_MS - 1), lambda: b.asks_again(50 + LOOK_MS)]
    assert [False, True] == [ask() for ask in asks]
    assert not a.asks_again(10_000)
