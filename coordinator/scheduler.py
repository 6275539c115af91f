"""Which ready attempt goes to which worker next. A cache of what the rows say; after a rollback it is read again.

`lines.py` says who is next, `fitting.py` where it may go. What cannot be placed now stays where it is, untouched. The kernel
has the last word on every grant; replay never runs this.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from loom.coordinator.fitting import Demand, Group, Near, Rooms
from loom.coordinator.inbox import Slot
from loom.coordinator.lines import Line, Lines, Market, Offered

ANYWHERE = Demand()


class Scheduler:
    """Ready attempts and due wakes, in order."""

    def __init__(self, *, near: Near | None = None) -> None:
        self._near = near
        self._lines = Lines()
        self._later: list[tuple[int, int, Offered]] = []
        self._wakes: list[tuple[int, str, str]] = []
        self._held: dict[str, deque[Offered]] = {}
        """Of tasks whose budget is reserved by what runs: they come back one by one, when something happens to the task."""
        self._count = 0

    @property
    def ready(self) -> int:
        """Attempts in the queue (an attempt that is not ready any more is counted until it is met)."""
        return self._lines.count

    @property
    def due_ms(self) -> int:
        """When the next wake or delayed attempt is due; 0: none."""
        later, wakes = self._later, self._wakes
        if later and wakes:
            return min(later[0][0], wakes[0][0])
        return later[0][0] if later else wakes[0][0] if wakes else 0

    def offer(
        self,
        *,
        task: str,
        spawn: str,
        attempt: int,
        not_before_ms: int,
        now_ms: int,
        priority: int = 0,
        weight: int = 1,
        project: str = "",
        demand: Demand = ANYWHERE,
    ) -> None:
        """Queue an attempt, or keep it until its time."""
        self._count += 1
        since_ms = max(not_before_ms, now_ms)
        offered = Offered(self._count, task, spawn, attempt, project, priority, weight, since_ms, demand)
        if not_before_ms > now_ms:
            heapq.heappush(self._later, (not_before_ms, self._count, offered))
        else:
            self._lines.add(offered)

    def wake(self, task: str, name: str, due_ms: int) -> None:
        heapq.heappush(self._wakes, (due_ms, task, name))

    def due_wakes(self, now_ms: int) -> Iterator[tuple[str, str]]:
        """(task, name) of every wake that is due, in order of their times."""
        while self._wakes and self._wakes[0][0] <= now_ms:
            _, task, name = heapq.heappop(self._wakes)
            yield task, name

    # -------------------------------------------------------------------------------------------- what has happened

    def began(self, project: str) -> None:
        """An attempt of the project is at work."""
        self._lines.project(project).running += 1

    def ended(self, project: str) -> None:
        """It is not any more."""
        found = self._lines.project(project)
        found.running -= 1
        if found.shut:
            self._lines.reopen(found)

    def stirred(self, task: str) -> None:
        """Something happened to the task: there may be room in its budget again, for one attempt to begin with."""
        held = self._held.get(task)
        if held is None:
            return
        self._lines.add(held.popleft(), first=True)
        if not held:
            del self._held[task]

    # -------------------------------------------------------------------------------------------------- placing

    def place(
        self, slots: Iterable[Slot], now_ms: int, limit: int, grant: Callable[[Offered, Slot], bool | None]
    ) -> None:
        """Give ready attempts to free slots, at most `limit`. grant: True taken, False not ready any more, None not now:
        its task has to move first."""
        while self._later and self._later[0][0] <= now_ms:
            self._lines.add(heapq.heappop(self._later)[2])
        lines = self._lines
        if not lines.count:
            return
        near, rooms = self._near, Rooms(slots)
        doors = self._doors(rooms)
        markets = list(doors)
        while limit > 0 and markets:
            line = lines.next(markets, now_ms)
            if line is None:
                return
            offered = line.waiting[0]
            room = rooms.find(doors[line.market], near(offered.project, offered.task) if near else ())
            if room is None:
                markets.remove(line.market)
                continue
            taken = grant(offered, room.slot)
            if taken:
                lines.granted(line)
                rooms.take(room)
                limit -= 1
                if self._held:
                    self.stirred(offered.task)
            else:
                self._pass_over(line, held=taken is None)

    def _doors(self, rooms: Rooms) -> dict[Market, list[Group]]:
        """The markets that are open, with the workers who serve them."""
        found = {}
        for market in self._lines.markets():
            groups = rooms.serving(market.demand)
            if groups:
                found[market] = groups
        return found

    def _pass_over(self, line: Line, *, held: bool) -> None:
        offered = line.waiting[0]
        self._lines.dropped(line)
        if held:
            self._held.setdefault(offered.task, deque()).append(offered)
