"""Why ready attempts wait, and at which place: for people, never for the scheduler itself.

    groups(queue, …) → [{"project", "provider", "requires", "priority", "count", "why", "until_ms"}]    what waits, together
    of_task(queue, …) → [{"spawn", "attempt", "place", "of", "why", "until_ms"}]                        each attempt of a task

why: `slot` (every worker that serves it is at work), `worker` (none serves it), `provider` (shut, or has what it takes), `project`
(its cap), `machine` (other homes have its slots), `budget` (what runs has reserved it), `time` (its next try is later),
`next` (nothing: it goes in the next turn). until_ms 0: nobody knows. A place says how many would be granted before it if all
could be, as things stand: what comes later with a higher priority, or for another project, may pass it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from loom.coordinator.fitting import Demand, Kind, Offered, kind_of, serves
from loom.coordinator.inbox import Slot
from loom.coordinator.limiter import ON_AN_END
from loom.coordinator.lines import STRIDE, Line
from loom.coordinator.scheduler import Scheduler

MAX_GROUPS = 100
MAX_LATER = 10_000
"""Delayed attempts that are looked at for the groups."""


@dataclass(frozen=True, slots=True)
class Hands:
    """Who could take something: kinds of all workers that are there, and of those that have room."""

    there: frozenset[Kind]
    free: frozenset[Kind]
    machine_full: bool = False

    @classmethod
    def of(cls, there: Iterable[Slot], free: Iterable[Slot], *, machine_full: bool = False) -> Hands:
        return cls(frozenset(map(kind_of, there)), frozenset(map(kind_of, free)), machine_full)


def groups(queue: Scheduler, hands: Hands, now_ms: int) -> list[dict[str, Any]]:
    """What waits, by project and demand, the most first."""
    found = []
    for line in queue.lines:
        why, until_ms = _why(queue, line, hands, now_ms)
        found.append(_group(line.waiting[0], len(line.waiting), why, until_ms))
    found += [_group(held[0], len(held), "budget", 0) for held in queue.held()]
    later: dict[tuple[str, Demand], list[int]] = {}
    for due_ms, _, offered in islice(queue.later, MAX_LATER):
        later.setdefault((offered.project, offered.demand), []).append(due_ms)
    for (project, demand), times in later.items():
        group = {"project": project, "provider": demand.provider, "requires": sorted(demand.requires)}
        found.append({**group, "priority": 0, "count": len(times), "why": "time", "until_ms": min(times)})
    return sorted(found, key=lambda group: (-group["count"], group["project"], group["provider"]))[:MAX_GROUPS]


def of_task(queue: Scheduler, task: str, hands: Hands, now_ms: int) -> list[dict[str, Any]]:
    """Each waiting attempt of one task."""
    found = []
    for line in queue.lines:
        reason = None
        for index, offered in enumerate(line.waiting):
            if offered.task == task:
                reason = reason or _why(queue, line, hands, now_ms)
                found.append(_one(offered, _place(queue.lines, line, index), queue.ready, *reason))
    for held in queue.held():
        found += [_one(offered, 0, 0, "budget", 0) for offered in held if offered.task == task]
    found += [_one(offered, 0, 0, "time", due_ms) for due_ms, _, offered in queue.later if offered.task == task]
    return found


def _why(queue: Scheduler, line: Line, hands: Hands, now_ms: int) -> tuple[str, int]:
    demand, project = line.market.demand, line.project
    if not any(serves(kind, demand) for kind in hands.there):
        return "worker", 0
    if project.running >= project.cap:
        return "project", 0
    opens_ms = queue.opens_ms(demand, now_ms)
    if opens_ms:
        return "provider", 0 if opens_ms == ON_AN_END else opens_ms
    free = [kind for kind in hands.free if serves(kind, demand)]
    if not free:
        return "slot", 0
    if hands.machine_full and all(kind.local for kind in free):
        return "machine", 0
    return "next", 0


def _place(lines: Iterable[Line], line: Line, index: int) -> int:
    """How many would be granted before this one, and one."""
    start = _start(line) + index * _step(line)
    ahead = index
    for other in lines:
        if other is line or other.rank.priority < line.rank.priority:
            continue
        if other.rank is not line.rank:
            ahead += len(other.waiting)
        elif (lead := start - _start(other)) >= 0:
            tie = other.waiting[0].order < line.waiting[index].order
            ahead += min(len(other.waiting), lead // _step(other) + tie)
    return ahead + 1


def _start(line: Line) -> int:
    return max(line.share.virtual, line.rank.virtual)


def _step(line: Line) -> int:
    return STRIDE // (line.project.weight * line.waiting[0].weight)


def _group(first: Offered, count: int, why: str, until_ms: int) -> dict[str, Any]:
    return {
        "project": first.project,
        "provider": first.demand.provider,
        "requires": sorted(first.demand.requires),
        "priority": first.priority,
        "count": count,
        "why": why,
        "until_ms": until_ms,
    }


def _one(offered: Offered, place: int, ready: int, why: str, until_ms: int) -> dict[str, Any]:
    found = {"spawn": offered.spawn, "attempt": offered.attempt, "place": place, "of": ready}
    return {**found, "why": why, "until_ms": until_ms, "project": offered.project, "provider": offered.demand.provider}
