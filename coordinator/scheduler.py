"""Which ready attempt goes to which worker next. A cache of what the rows say; after a rollback it is read again.

Order: priority, then first come, first served. What cannot be placed now stays where it is. The kernel has the last word
on every grant; replay never runs this.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from loom.coordinator.inbox import Slot


class Offered(NamedTuple):
    """A ready attempt in the queue; sorts by urgency, which `order` decides at the latest."""

    rank: int
    """Minus the priority: the smallest comes first."""
    order: int
    task: str
    spawn: str
    attempt: int
    family: str = ""


@dataclass(slots=True)
class Room:
    """Free capacity of one worker in the making of one turn."""

    slot: Slot
    free: int


class Scheduler:
    """Ready attempts and due wakes, in order."""

    def __init__(self) -> None:
        self._ready: list[Offered] = []
        self._later: list[tuple[int, Offered]] = []
        self._wakes: list[tuple[int, str, str]] = []
        self._count = 0

    @property
    def ready(self) -> int:
        """Attempts in the queue (an attempt that is not ready any more is counted until it is met)."""
        return len(self._ready)

    @property
    def due_ms(self) -> int:
        """When the next wake or delayed attempt is due; 0: none."""
        times = [heap[0][0] for heap in (self._later, self._wakes) if heap]
        return min(times, default=0)

    def offer(
        self,
        *,
        task: str,
        spawn: str,
        attempt: int,
        not_before_ms: int,
        now_ms: int,
        priority: int = 0,
        family: str = "",
    ) -> None:
        """Queue an attempt, or keep it until its time."""
        self._count += 1
        offered = Offered(-priority, self._count, task, spawn, attempt, family)
        if not_before_ms > now_ms:
            heapq.heappush(self._later, (not_before_ms, offered))
        else:
            heapq.heappush(self._ready, offered)

    def wake(self, task: str, name: str, due_ms: int) -> None:
        heapq.heappush(self._wakes, (due_ms, task, name))

    def due_wakes(self, now_ms: int) -> Iterator[tuple[str, str]]:
        """(task, name) of every wake that is due, in order of their times."""
        while self._wakes and self._wakes[0][0] <= now_ms:
            _, task, name = heapq.heappop(self._wakes)
            yield task, name

    def place(
        self, slots: Iterable[Slot], now_ms: int, limit: int, grant: Callable[[Offered, Slot], bool | None]
    ) -> None:
        """Give ready attempts to free slots, at most `limit`. grant: True taken, False not ready any more, None not now."""
        while self._later and self._later[0][0] <= now_ms:
            heapq.heappush(self._ready, heapq.heappop(self._later)[1])
        rooms = [Room(slot, slot.free) for slot in slots if slot.free > 0]
        kept: list[Offered] = []
        while self._ready and rooms and limit > 0:
            offered = heapq.heappop(self._ready)
            room = _widest(rooms, offered.family)
            if room is None:
                kept.append(offered)
                continue
            taken = grant(offered, room.slot)
            if taken is None:
                kept.append(offered)
            elif taken:
                limit -= 1
                room.free -= 1
                if not room.free:
                    rooms.remove(room)
        for offered in kept:
            heapq.heappush(self._ready, offered)


def _widest(rooms: list[Room], family: str) -> Room | None:
    """The room with most free slots among those that serve this family; the first of equals."""
    best: Room | None = None
    for room in rooms:
        if family and (served := room.slot.families) and family not in served:
            continue
        if best is None or room.free > best.free:
            best = room
    return best
