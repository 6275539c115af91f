"""Slots of the machine: five homes of one user share them, so that five repositories do not start five times the agents.

    /run/user/UID/loom/slots/      (else /tmp/loom-UID/slots/)
        slot-000 …     held (flock) by the coordinator that has an attempt at work on it
        busy-HOME      held by a coordinator that has one, or waits for one
        wait-HOME      held by a coordinator that waits for one

The system frees the locks of a process that dies. Nobody is served by turns: who finds a free slot takes it; but while another
home waits, nobody takes more than its part of the slots (all of them by the number of busy homes). So a long queue in one
repository leaves room for the next as soon as its attempts end.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from loom.coordinator.local_workers import held

LOOK_MS = 200
"""How often a full machine is asked again, and whether another home waits."""
LEAST, PER_CPU = 8, 4
"""Slots of a machine when nobody says how many: agents wait for models most of the time."""
OFF = -1
"""Setting: no sharing, as many as the workers have."""
MAX_SIZE = 4_096
MACHINE_FOLDER = "slots"
"""In the user's runtime directory."""


def usual_size() -> int:
    """Slots of this machine when nobody says how many."""
    return max(LEAST, PER_CPU * (os.cpu_count() or 1))


class MachineSlots:
    """One home's side of the shared slots. A turn: `begin`, before each grant on this machine `room`, after it `took`, `settle`.

    home: a short name of the home, its own in the folder; size: how many slots the machine has. Raises OSError.
    """

    def __init__(self, folder: Path, home: str, size: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.size = size
        self._folder, self._home = folder, home
        usual = min(size, usual_size())
        first = int.from_bytes(home.encode(), "big") % usual
        # A home that has more than is usual uses those first that no other home looks at.
        self._numbers = (*range(size - 1, usual - 1, -1), *range(first, usual), *range(first))
        self._held: dict[int, int] = {}
        self._marks: dict[str, int] = {}
        self._used = 0
        self._now_ms = 0
        self._full_until_ms = self._look_ms = -1
        self._part = size
        self.waits = False
        """Whether the last turn wanted a slot and found none."""

    @property
    def held(self) -> int:
        """Slots that are this home's now."""
        return len(self._held)

    def begin(self, used: int, now_ms: int) -> None:
        """A turn begins; so many attempts are at work on this machine. now_ms: of a monotonic clock."""
        self._used, self._now_ms, self.waits = used, now_ms, False

    def room(self) -> bool:
        """Whether one more attempt may begin on this machine."""
        if self._used < self._our_part() and self._hold(self._used + 1):
            return True
        self.waits = True
        return False

    def took(self) -> None:
        """One more attempt begins."""
        self._used += 1

    def settle(self, used: int) -> None:
        """The turn is over; so many attempts are at work. What is not used is free for others."""
        self._hold(used)  # what was at work before this coordinator was there has none yet
        while len(self._held) > used:
            os.close(self._held.popitem()[1])
        self._mark("wait", on=self.waits)
        self._mark("busy", on=self.waits or used > 0)

    def asks_again(self, now_ms: int) -> bool:
        """Whether it waits for a slot, and there may be one now."""
        return self.waits and now_ms >= self._now_ms + LOOK_MS

    def close(self) -> None:
        self.waits = False
        self.settle(0)

    def _hold(self, wanted: int) -> bool:
        """Whether so many slots are this home's, after taking what is free."""
        if len(self._held) >= wanted:
            return True
        if self._now_ms < self._full_until_ms:
            return False
        for number in self._numbers:
            if number not in self._held and (descriptor := _lock(self._folder / f"slot-{number:04}")) is not None:
                self._held[number] = descriptor
                if len(self._held) >= wanted:
                    return True
        self._full_until_ms = self._now_ms + LOOK_MS
        return False

    def _our_part(self) -> int:
        """How many slots this home may use: all of them, as long as no other waits."""
        if self._now_ms >= self._look_ms:
            self._look_ms = self._now_ms + LOOK_MS
            busy = {path.name.partition("-")[2] for path in _locked(self._folder, "busy-")} | {self._home}
            waiting = {path.name.partition("-")[2] for path in _locked(self._folder, "wait-")} - {self._home}
            self._part = -(-self.size // len(busy | waiting)) if waiting else self.size
        return self._part

    def _mark(self, name: str, *, on: bool) -> None:
        path = self._folder / f"{name}-{self._home}"
        if on and name not in self._marks:
            descriptor = _lock(path)
            if descriptor is not None:
                self._marks[name] = descriptor
        elif not on and name in self._marks:
            path.unlink(missing_ok=True)
            os.close(self._marks.pop(name))


def in_use(folder: Path) -> tuple[int, int]:
    """(slots at work, homes that are busy) on this machine now."""
    return len(_locked(folder, "slot-")), len(_locked(folder, "busy-"))


def _lock(path: Path) -> int | None:
    """The file, locked; None: somebody has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _locked(folder: Path, prefix: str) -> list[Path]:
    """The files of this kind that a process holds."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except FileNotFoundError:
        return []
    return [path for name in names if held(path := folder / name)]
