"""kill -9 of the coordinator, of a worker, of both, at random moments of a run of parallel tasks: what must come out of it.

The agents are the stub's, which counts its own starts; everything else is real. The seed is printed, and LOOM_SEED repeats it.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.cli import Cli
from harness.fabrics import STEPS, RealFabric, fabric, kill, until
from loom.coordinator.api import Poke
from loom.coordinator.errors import LoomError
from loom.coordinator.rebuild import projections
from loom.coordinator.starting import Starter

WORKERS, SLOTS, LEASE_MS = 2, 4, 3_000
SHORT, FULL = (8, 4), (20, 30)
"""(tasks, kills)."""
KILLED = re.compile(r"ended with code (-9|0):")
"""0: `kill` of the harness has asked the system for the code first."""
WHATS = ("coordinator", "worker", "both")


def seed() -> int:
    """LOOM_SEED, or another one each time."""
    return int(os.environ.get("LOOM_SEED", "") or random.SystemRandom().randrange(1 << 32))


@dataclass
class Storm:
    """Kills processes of a running home and starts its coordinator again, as a waiting client would."""

    running: RealFabric
    dice: random.Random
    seen: dict[int, bytes] = field(default_factory=dict)
    """Every committed entry that was ever read: seq → leaf."""
    kills: Counter[str] = field(default_factory=Counter)
    workers_killed: int = 0

    def __post_init__(self) -> None:
        self._starter = Starter(self.running.home, self.running.arguments)

    def close(self) -> None:
        self._starter.disown()

    def goes_on(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Waits for a condition, and sees to it that a coordinator runs meanwhile."""

        def look() -> bool:
            self._starter.answered()
            self._starter.ensure()
            return condition()

        until(look, what, seconds)

    def strike(self, what: str) -> None:
        """One kill -9, or two at once."""
        self.goes_on(lambda: bool(self.running.home.running()), "a coordinator runs")
        if what != "coordinator":
            self.goes_on(lambda: bool(self.running.worker_pids()), "a worker runs")
        self.look()
        if what != "coordinator" and (pids := self.running.worker_pids()):
            kill(self.dice.choice(pids))
            self.workers_killed += 1
        if what != "worker":
            self.running.kill_coordinator()
        self.kills[what] += 1

    def look(self) -> None:
        """Remembers what is committed; what was committed before must still be there, byte for byte."""
        found = {int(str(seq)): leaf for seq, leaf in self.running.rows("SELECT seq, leaf FROM entry")}
        for seq, leaf in self.seen.items():
            assert found.get(seq) == leaf, f"entry {seq} was committed and is not there any more"
        self.seen = {seq: leaf for seq, leaf in found.items() if isinstance(leaf, bytes)}


def run(running: RealFabric, dice: random.Random, tasks: int, kills: int) -> Storm:
    """So many tasks, half of them submitted while it storms; returns when all are done."""
    storm = Storm(running, dice)
    client = running.client()
    for number in range(tasks // 2):
        assert "applied" == running.submit(client, f"t{number}").outcome
    other = running.client()
    late: list[str] = []

    def submit_late() -> None:
        for number in range(tasks // 2, tasks):
            answered = running.submit(other, f"t{number}")
            late.append(answered.was or answered.outcome)

    watcher = running.client()
    pokes: list[int] = []
    thrown: list[str] = []
    over = threading.Event()

    def follow() -> None:
        """As `loom run` does: it waits for what is committed, whoever dies meanwhile."""
        while not over.is_set():
            try:
                for said in watcher.watch(tick_ms=100):
                    if isinstance(said, Poke):
                        pokes.append(said.next_seq)
                    if over.is_set():
                        return
            except LoomError as error:  # three in a row were killed before they said a word: then it may say so
                if not KILLED.search(str(error)):
                    thrown.append(str(error))

    thread, following = threading.Thread(target=submit_late), threading.Thread(target=follow)
    thread.start()
    following.start()
    try:
        for point in sorted(dice.sample(range(1, tasks * STEPS * 9 // 10), kills)):
            if dice.random() < 2 / 3:  # else: soon after the kill before, perhaps into a start
                storm.goes_on(lambda point=point: len(running.starts()) >= point, f"{point} agents were started")  # type: ignore[misc]
            time.sleep(dice.uniform(0, 0.5))  # a random moment is what is wanted here, no condition
            storm.strike(dice.choice(WHATS))
        assert not running.done(tasks), "the storm was in the middle of the run"
        storm.goes_on(lambda: not thread.is_alive() and running.done(tasks), "all tasks are done", 90)
        assert [] == thrown, "who follows the work is not thrown out"
    finally:
        over.set()
        following.join(10)
        thread.join(40)
        storm.close()
    assert ["applied"] * (tasks - tasks // 2) == late
    storm.look()
    assert max(pokes) > 0
    return storm


def check_steps(running: RealFabric, storm: Storm, tasks: int) -> str:
    """All tasks are accepted; each spawn was settled once, and no agent was started after that; returns the figures."""
    assert [("accepted", tasks)] == running.rows("SELECT verdict, count(*) FROM task GROUP BY verdict")
    attempts = running.rows(
        "SELECT spawn.spawn || '#' || attempt.number, attempt.fence, spawn.spawn, attempt.end, attempt.ended_ms"
        " FROM attempt JOIN spawn ON spawn.id = attempt.spawn"
    )
    reported = {str(spawn): int(str(ended)) for _, _, spawn, end, ended in attempts if end == "reported"}
    assert [tasks * STEPS] * 2 == [len(reported), sum(1 for row in attempts if row[3] == "reported")]
    assert {"settled"} == {status for (status,) in running.rows("SELECT status FROM spawn")}
    starts = running.starts()
    assert {1} == set(starts.values()), "an attempt was started twice"
    known = {(str(attempt), str(fence)) for attempt, fence, *_ in attempts}
    assert set(starts) <= known, "an agent was started for an attempt that is not in the record"
    late = [start for start in running.start_times() if start[2] > reported[start[0].rpartition("#")[0]]]
    assert [] == late, "a call whose result was committed was made again"
    lost = [row for row in attempts if row[3] == "lost"]
    extra = len(starts) - tasks * STEPS
    assert 0 <= extra <= len(lost)
    assert extra <= storm.workers_killed * SLOTS, "only what a killed worker ran is run again"
    never = {(str(attempt), str(fence)) for attempt, fence, _, end, _ in attempts if end == "undelivered"}
    assert not never & set(starts), "what was said not to be delivered was started"
    assert {"reported", "lost", "undelivered"} >= {str(row[3]) for row in attempts}
    return f"{dict(storm.kills)}, {len(starts)} starts, {extra} of them again, {len(lost)} attempts lost"


def check_record(running: RealFabric, tmp_path: Path) -> None:
    """Replay is identical; projections that were deleted come back as the same rows."""
    running.close()
    loom = Cli(tmp_path)
    home = ("--home", str(running.home.path))
    replayed = loom(*home, "replay", "--all", "--json")
    assert (0, True) == (replayed.code, replayed.json["identical"]), replayed
    assert len(running.rows("SELECT seq FROM entry")) == replayed.json["ticks"], replayed
    before = rows(running)
    script = "".join(f"DELETE FROM {name};" for name in projections())
    subprocess.run(["sqlite3", "-bail", str(running.home.database), script], check=True, timeout=30)
    assert {0} == {len(each) for each in rows(running).values()}
    rebuilt = loom(*home, "doctor", "--rebuild")
    assert 0 == rebuilt.code, rebuilt
    assert "were not what the entries say; they are now" in rebuilt.out
    assert before == rows(running)
    again = loom(*home, "doctor", "--rebuild")
    assert "the same rows" in again.out


def rows(running: RealFabric) -> dict[str, list[tuple[object, ...]]]:
    return {name: running.rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in projections()}


@pytest.mark.parametrize(
    ("tasks", "kills"),
    [
        pytest.param(*SHORT, id="short"),
        pytest.param(*FULL, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_killing_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: int, kills: int) -> None:
    """All tasks finish, no committed step is lost, no committed call is made again, the record replays and is rebuilt."""
    chosen = seed()
    print(f"LOOM_SEED={chosen}")
    arguments = ("--workers", str(WORKERS), "--slots", str(SLOTS), "--lease-ms", str(LEASE_MS))
    with fabric(tmp_path, monkeypatch, mode="sleep:300", arguments=arguments) as running:
        began = time.monotonic()
        storm = run(running, random.Random(chosen), tasks, kills)
        print(f"{kills} kills in {time.monotonic() - began:.1f} s: {check_steps(running, storm, tasks)}")
        check_record(running, tmp_path)
