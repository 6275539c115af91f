"""Who is next: ready attempts in lines, by market, priority and project.

    market    attempts of one demand: open or shut as a whole, so nothing behind a shut one is ever touched
    rank      a priority; a higher one goes first, but what has waited for AGE_MS gets every AGED_EVERY-th grant
    line      one project's attempts in one rank and market, first come first served

Between the projects of a rank: start-time fair queueing (Goyal, Vin, Cheng 1996). Each project has a virtual time that a grant
moves on by STRIDE / weight; the smallest is next. A project that comes (back) starts at the time of the last grant, so
nobody saves up what he did not ask for. Two projects of weights v and w that both always wait differ by at most 1/v + 1/w
in grants / weight.

A grant costs O(log projects), and a look at each open market of each rank.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush, heapreplace

from loom.coordinator.fitting import Demand, Offered

STRIDE = 1 << 24
"""What a grant of weight 1 moves its project's virtual time on by."""
MAX_WEIGHT = 1_000
AGE_MS = 300_000
"""After so long a wait an attempt is aged: higher ranks do not keep it from running any more."""
AGED_EVERY = 4
"""Of so many grants one is for an aged attempt of a lower rank, when there is one."""

NO_CAP = 1 << 62

assert STRIDE // MAX_WEIGHT**2 > 0


class Project:
    """What all lines of a project share. cap: how many of its attempts may be at work at once."""

    __slots__ = ("cap", "name", "running", "shut", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.weight, self.cap, self.running = 1, NO_CAP, 0
        self.shut: list[Line] = []
        """Lines that were found when it had all that it may have."""


class Share:
    """A project's virtual time in one rank."""

    __slots__ = ("virtual",)

    def __init__(self) -> None:
        self.virtual = 0


class Line:
    """Attempts of one project, rank and market. listed: it stands in its heap, or is shut."""

    __slots__ = ("listed", "market", "project", "rank", "share", "waiting")

    def __init__(self, project: Project, rank: Rank, market: Market) -> None:
        self.project, self.rank, self.market = project, rank, market
        self.share = rank.shares.setdefault(project.name, Share())
        self.waiting: deque[Offered] = deque()
        self.listed = False


Entry = tuple[int, int, Line]
"""(virtual time, order of the head when it was put there, line)"""


class Rank:
    """One priority: the virtual time of its last grant, and of each project."""

    __slots__ = ("count", "passed", "priority", "shares", "virtual")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.virtual = 0
        self.shares: dict[str, Share] = {}
        self.count = 0
        """Attempts in its lines."""
        self.passed = 0
        """Grants that went to higher ranks while an aged attempt of this one waited."""


class Market:
    """Everything of one demand: its lines, and for each rank a heap of those that have somebody in them."""

    __slots__ = ("count", "demand", "heaps", "lines")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.lines: dict[tuple[int, str], Line] = {}
        self.heaps: dict[int, list[Entry]] = {}
        self.count = 0


class Lines:
    """All ready attempts. limit: (attempts at once, weight) of a project."""

    def __init__(self, limit: Callable[[str], tuple[int, int]] = lambda project: (NO_CAP, 1)) -> None:
        self._ranks: dict[int, Rank] = {}
        self._order: list[int] = []
        """Minus the priorities that have attempts, ascending: the highest first."""
        self._projects: dict[str, Project] = {}
        self._markets: dict[Demand, Market] = {}
        self._limit = limit
        self.count = 0

    def project(self, name: str) -> Project:
        """The project of this name."""
        found = self._projects.get(name)
        if found is None:
            found = self._projects[name] = Project(name)
            found.cap, found.weight = self._limit(name)
        return found

    def limited(self, limit: Callable[[str], tuple[int, int]]) -> None:
        """Other limits are in force."""
        self._limit = limit
        for name, project in self._projects.items():
            project.cap, project.weight = limit(name)
            self.reopen(project)

    def markets(self) -> list[Market]:
        """Those that have somebody in them; the others are forgotten."""
        for demand in [demand for demand, market in self._markets.items() if not market.count]:
            del self._markets[demand]
        return list(self._markets.values())

    # ---------------------------------------------------------------------------------------------------- coming

    def add(self, offered: Offered, *, first: bool = False) -> None:
        """To the end of its line (or to its head: it was there before)."""
        line = self._line(offered)
        if first:
            line.waiting.appendleft(offered)
        else:
            line.waiting.append(offered)
        rank = line.rank
        if not rank.count:
            insort(self._order, -rank.priority)
            rank.passed = 0
        rank.count += 1
        line.market.count += 1
        self.count += 1
        if not line.listed:
            line.listed = True
            _push(line)

    def _line(self, offered: Offered) -> Line:
        market = self._markets.get(offered.demand)
        if market is None:
            market = self._markets[offered.demand] = Market(offered.demand)
        priority, project = offered.priority, offered.project
        line = market.lines.get((priority, project))
        if line is None:
            rank = self._ranks.get(priority)
            if rank is None:
                rank = self._ranks[priority] = Rank(priority)
            line = market.lines[priority, project] = Line(self.project(project), rank, market)
        return line

    def reopen(self, project: Project) -> None:
        """The project may have more at work again."""
        shut, project.shut = project.shut, []
        for line in shut:
            _push(line)

    # ---------------------------------------------------------------------------------------------------- going

    def next(self, markets: Sequence[Market], now_ms: int) -> Line | None:
        """The line whose head is next among those of these markets. Its head goes by `granted` or `dropped`."""
        if len(self._order) == 1:
            return _first(markets, -self._order[0])
        found: Line | None = None
        for less in self._order:
            line = _first(markets, -less)
            if line is None:
                continue
            if found is None:
                found = line
            elif now_ms - line.waiting[0].since_ms >= AGE_MS:
                line.rank.passed += 1
                if line.rank.passed >= AGED_EVERY:
                    return line
        return found

    def granted(self, line: Line) -> None:
        """Its head was granted."""
        rank, share, project = line.rank, line.share, line.project
        virtual = share.virtual
        if virtual < rank.virtual:
            virtual = rank.virtual
        else:
            rank.virtual = virtual
        share.virtual = virtual + STRIDE // project.weight // line.waiting[0].weight
        rank.passed = 0
        project.running += 1
        self.dropped(line)

    def alone(self, line: Line) -> bool:
        """Whether nobody waits in any other line."""
        return self.count == len(line.waiting) > 1

    def run(self, line: Line, limit: int, granted: Callable[[Offered], bool]) -> int:
        """Grant the heads of a line that stands alone, as long as `granted` says so; its last one is left for `granted` above.
        The same as one by one, without asking each time who is next. Returns how many went."""
        waiting, project, share = line.waiting, line.project, line.share
        limit = min(limit, len(waiting) - 1, project.cap - project.running)
        start = after = max(share.virtual, line.rank.virtual)
        count, stride = 0, STRIDE // project.weight
        while count < limit and granted(waiting[0]):
            start, after = after, after + stride // waiting.popleft().weight
            count += 1
        share.virtual, line.rank.virtual = after, start
        project.running += count
        self.count -= count
        line.rank.count -= count
        line.market.count -= count
        return count

    def dropped(self, line: Line) -> None:
        """Its head goes, for whatever reason. The line is the first of its heap."""
        rank, market, waiting = line.rank, line.market, line.waiting
        waiting.popleft()
        self.count -= 1
        market.count -= 1
        rank.count -= 1
        if waiting:
            share = line.share.virtual
            heapreplace(
                market.heaps[rank.priority],
                (share if share > rank.virtual else rank.virtual, waiting[0].order, line),
            )
            return
        heappop(market.heaps[rank.priority])
        del market.lines[rank.priority, line.project.name]
        if not rank.count:
            self._order.remove(-rank.priority)

    def __iter__(self) -> Iterator[Line]:
        """Every line that has somebody in it."""
        return (line for market in self._markets.values() for line in market.lines.values())


def _push(line: Line) -> None:
    heap = line.market.heaps.setdefault(line.rank.priority, [])
    heappush(heap, (max(line.share.virtual, line.rank.virtual), line.waiting[0].order, line))


def _first(markets: Sequence[Market], priority: int) -> Line | None:
    """The line of this rank that is next, of those in these markets."""
    best: Entry | None = None
    for market in markets:
        top = _top(market.heaps.get(priority))
        if top is not None and (best is None or top < best):
            best = top
    return best[2] if best is not None else None


def _top(heap: list[Entry] | None) -> Entry | None:
    """The heap's first entry, once it says how things are now: times only grow, so a late one is put right here."""
    while heap:
        top = heap[0]
        line = top[2]
        project = line.project
        if project.running >= project.cap:
            heappop(heap)
            project.shut.append(line)
            continue
        start = line.share.virtual
        if start <= top[0] or start < line.rank.virtual == top[0]:
            return top
        heapreplace(heap, (max(start, line.rank.virtual), line.waiting[0].order, line))
    return None
