"""Which ready attempt goes to which worker next. A cache of what the rows say; after a rollback it is read again.

`lines.py` says who is next, `fitting.py` where it may go. What cannot be placed now stays where it is, untouched. The kernel
has the last word on every grant; replay never runs this.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from loom.coordinator.fitting import Demand, Group, Near, Offered, Rooms, Shared
from loom.coordinator.inbox import Slot
from loom.coordinator.limiter import ON_AN_END, Limiter, Provider
from loom.coordinator.limits import Limits
from loom.coordinator.lines import NO_CAP, Line, Lines, Market
from loom.kernel.limits import RATE_WAIT_SWITCH_MS

ANYWHERE = Demand()
NO_LIMITS = Limits()


class Door(NamedTuple):
    """What stands between a market and its next grant: room at workers who serve it, and its provider."""

    groups: list[Group]
    demand: Demand
    provider: Provider | None


class Scheduler:
    """Ready attempts and due wakes, in order."""

    def __init__(self, *, limiter: Limiter | None = None, limits: Limits = NO_LIMITS, near: Near | None = None) -> None:
        """limiter: what is known of the providers, which outlives this cache. near: see fitting.py."""
        self.limiter = limiter or Limiter()
        self._near = near
        self.limiter.limit(limits)
        self.lines = Lines(limits.project)
        self.later: list[tuple[int, int, Offered]] = []
        self._wakes: list[tuple[int, str, str]] = []
        self._held: dict[str, deque[Offered]] = {}
        """Of tasks whose budget is reserved by what runs: they come back one by one, when something happens to the task."""
        self._reopens_ms = 0
        """When a provider opens that somebody waits for; 0: nobody does, or nobody knows."""
        self._count = 0

    @property
    def ready(self) -> int:
        """Attempts in the queue (an attempt that is not ready any more is counted until it is met)."""
        return self.lines.count

    @property
    def due_ms(self) -> int:
        """When the next wake or delayed attempt is due, or a provider opens; 0: none."""
        times = [heap[0][0] for heap in (self.later, self._wakes) if heap]
        if self._reopens_ms:
            times.append(self._reopens_ms)
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
        weight: int = 1,
        project: str = "",
        demand: Demand = ANYWHERE,
    ) -> None:
        """Queue an attempt, or keep it until its time."""
        self._count += 1
        since_ms = max(not_before_ms, now_ms)
        offered = Offered(self._count, task, spawn, attempt, project, priority, weight, since_ms, demand)
        if not_before_ms > now_ms:
            heapq.heappush(self.later, (not_before_ms, self._count, offered))
        else:
            self.lines.add(offered)

    def wake(self, task: str, name: str, due_ms: int) -> None:
        heapq.heappush(self._wakes, (due_ms, task, name))

    def due_wakes(self, now_ms: int) -> Iterator[tuple[str, str]]:
        """(task, name) of every wake that is due, in order of their times."""
        while self._wakes and self._wakes[0][0] <= now_ms:
            _, task, name = heapq.heappop(self._wakes)
            yield task, name

    # -------------------------------------------------------------------------------------------- what has happened

    def limit(self, limits: Limits) -> None:
        """A person has set other limits."""
        self.limiter.limit(limits)
        self.lines.limited(limits.project)

    def found_running(self, project: str, provider: str) -> None:
        """At the start an attempt was at work already."""
        self.lines.project(project).running += 1
        if one := self.limiter.of(provider):
            one.running += 1

    def ended(
        self,
        project: str,
        provider: str,
        *,
        served: bool = False,
        refused: bool = False,
        until_ms: int = 0,
        now_ms: int = 0,
    ) -> None:
        """An attempt is not at work any more. The rest is for the limiter: see there."""
        found = self.lines.project(project)
        found.running -= 1
        if found.shut:
            self.lines.reopen(found)
        self.limiter.ended(provider, served=served, refused=refused, until_ms=until_ms, now_ms=now_ms)

    def stirred(self, task: str) -> None:
        """Something happened to the task: there may be room in its budget again, for one attempt to begin with."""
        held = self._held.get(task)
        if held is None:
            return
        self.lines.add(held.popleft(), first=True)
        if not held:
            del self._held[task]

    # -------------------------------------------------------------------------------------------------- placing

    def place(
        self,
        slots: Iterable[Slot],
        now_ms: int,
        limit: int,
        grant: Callable[[Offered, Slot], bool | None],
        shared: Shared | None = None,
    ) -> None:
        """Give ready attempts to free slots, at most `limit`. grant: True taken, False not ready any more, None not now: its
        task has to move first. shared: what slots of this machine need besides."""
        while self.later and self.later[0][0] <= now_ms:
            self.lines.add(heapq.heappop(self.later)[2])
        self._reopens_ms = 0
        lines = self.lines
        if not lines.count:
            return
        near, rooms = self._near, Rooms(slots, shared)
        doors = self._doors(rooms, now_ms)
        markets = list(doors)
        while limit > 0 and markets:
            line = lines.next(markets, now_ms)
            if line is None:
                return
            door, offered = doors[line.market], line.waiting[0]
            names = near(offered.project, offered.task) if near else ()
            alone = door.provider is None and not self._held and lines.alone(line)
            if alone and (went := lines.run(line, limit, rooms.filling(door.groups, names, grant))):
                limit -= went
                continue  # its last one, or one over its project's cap, is looked at like any other
            room = rooms.find(door.groups, names)
            if room is None or (door.provider is not None and self._shut(door, now_ms)):
                markets.remove(line.market)
                continue
            taken = grant(offered, room.slot)
            if not taken:
                self._pass_over(line, held=taken is None)
                continue
            lines.granted(line)
            rooms.take(room)
            limit -= 1
            if door.provider is not None:
                door.provider.began(now_ms)
            if self._held:
                self.stirred(offered.task)

    def held(self) -> Iterable[deque[Offered]]:
        """Attempts whose task has no budget for them now, by task."""
        return self._held.values()

    def opens_ms(self, demand: Demand, now_ms: int) -> int:
        """0: the provider takes one more now; else when it may (limiter.ON_AN_END: when one of its attempts ends)."""
        provider = self.limiter.of(demand.provider)
        spare_ms = RATE_WAIT_SWITCH_MS if demand.spare else NO_CAP
        return provider.opens_ms(now_ms, spare_ms=spare_ms) if provider else 0

    def _doors(self, rooms: Rooms, now_ms: int) -> dict[Market, Door]:
        """The markets that are open: those that some worker with room serves, and whose provider takes one more."""
        found = {}
        for market in self.lines.markets():
            groups = rooms.serving(market.demand)
            door = Door(groups, market.demand, self.limiter.of(market.demand.provider))
            if groups and not self._shut(door, now_ms):
                found[market] = door
        return found

    def _shut(self, door: Door, now_ms: int) -> bool:
        """Whether the provider takes no more now; when it opens by itself, a turn is due then."""
        opens_ms = self.opens_ms(door.demand, now_ms)
        if 0 < opens_ms < ON_AN_END:
            self._reopens_ms = min(self._reopens_ms or opens_ms, opens_ms)
        return opens_ms > 0

    def _pass_over(self, line: Line, *, held: bool) -> None:
        offered = line.waiting[0]
        self.lines.dropped(line)
        if held:
            self._held.setdefault(offered.task, deque()).append(offered)
