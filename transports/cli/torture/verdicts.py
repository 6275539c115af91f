"""What must be true when the storm is over. Each check is a name, whether it holds, and what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from loom.coordinator.errors import LoomError
from loom.coordinator.health import read_ledger, rebuild_home
from loom.transports.cli.torture.ground import Ground
from loom.transports.cli.torture.storm import Storm
from loom.transports.errors import Problem
from loom.transports.replaying import replayed
from loom.transports.stubbed import CALLS

SHOWN = 3
"""So many examples of what went wrong."""
ATTEMPTS = (
    "SELECT spawn.spawn || '#' || attempt.number, attempt.fence, spawn.spawn, attempt.end, attempt.ended_ms"
    " FROM attempt JOIN spawn ON spawn.id = attempt.spawn"
)
BY_WHOM = "SELECT worker, count(*) FROM attempt WHERE end = 'reported' GROUP BY worker ORDER BY worker"
UNFINISHED = "SELECT task || ': ' || status FROM task WHERE status != 'done' OR verdict != 'accepted'"
UNSETTLED = "SELECT spawn || ': ' || status FROM spawn WHERE status != 'settled'"


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and what was found. wrong: what breaks it, a few examples first."""

    name: str
    found: str
    wrong: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.wrong


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the record: who (spawn#number), fence, spawn, how and when (ms UTC) it ended."""

    name: str
    fence: str
    spawn: str
    end: str
    ended_ms: int


def checked(ground: Ground, storm: Storm) -> Iterator[Check]:
    """Every check of one act, in the order in which they can be made: the last ones need the home for themselves."""
    attempts = [
        Attempt(str(name), str(fence), str(spawn), str(end or ""), int(str(ended or 0)))
        for name, fence, spawn, end, ended in ground.rows(ATTEMPTS)
    ]
    yield _finished(ground, storm)
    yield _kept(storm)
    yield _settled_once(ground, storm, attempts)
    yield _counted(ground, attempts)
    yield _never_again(ground, attempts)
    left = ground.leave()
    yield Check("nothing left running", "coordinator and workers left when asked", tuple(left))
    yield from _record(ground)


def _finished(ground: Ground, storm: Storm) -> Check:
    wrong = [str(row[0]) for row in ground.rows(UNFINISHED)]
    taken = ground.count("SELECT count(*) FROM task")
    if taken != storm.submitted:
        wrong.append(f"{taken} tasks are recorded, {storm.submitted} were submitted")
    if not storm.submitted:
        wrong.append("no task was submitted")
    return Check("all tasks finished", f"{storm.submitted} tasks accepted", tuple(wrong))


def _kept(storm: Storm) -> Check:
    found = f"{storm.entries} entries, read as committed, are there byte for byte; {storm.pokes} times told of new ones"
    return Check("no committed step lost", found, tuple(storm.complaints))


def _settled_once(ground: Ground, storm: Storm, attempts: list[Attempt]) -> Check:
    reported = Counter(attempt.spawn for attempt in attempts if attempt.end == "reported")
    wrong = [str(row[0]) for row in ground.rows(UNSETTLED)]
    wrong += [f"{spawn} was settled {count} times" for spawn, count in reported.items() if count != 1]
    if len(reported) != storm.submitted * CALLS:
        wrong.append(f"{len(reported)} steps are settled, not {storm.submitted * CALLS}")
    by_whom = ", ".join(f"{worker} {count}" for worker, count in ground.rows(BY_WHOM))
    return Check("each step settled once", f"{len(reported)} steps: {by_whom}", tuple(wrong))


def _counted(ground: Ground, attempts: list[Attempt]) -> Check:
    """The agents' own count against the record."""
    started = ground.started()
    known = {(attempt.name, attempt.fence): attempt.end for attempt in attempts}
    wrong = [f"{name} (fence {fence}) was begun {n} times" for (name, fence), n in started.items() if n > 1]
    ends_of_begun = ((name, known.get((name, fence), "")) for name, fence in started)
    wrong += [
        f"{name} was begun, and is {end or 'not ended'} in the record"
        for name, end in ends_of_begun
        if end not in ("reported", "lost")
    ]
    wrong += [
        f"{one.name} was reported and never begun"
        for one in attempts
        if one.end == "reported" and not started[(one.name, one.fence)]
    ]
    ends = Counter(attempt.end for attempt in attempts)
    again = sum(started.values()) - ends["reported"]
    found = f"{sum(started.values())} starts, {again} of them for results that never came; attempts: {_words(ends)}"
    return Check("no attempt begun twice", found, tuple(wrong))


def _never_again(ground: Ground, attempts: list[Attempt]) -> Check:
    """No agent was begun after a result of its step was committed."""
    committed = {attempt.spawn: attempt.ended_ms for attempt in attempts if attempt.end == "reported"}
    wrong = []
    for name, _, at_ms in ground.start_times():
        late_ms = at_ms - committed.get(name.rpartition("#")[0], at_ms)
        if late_ms > 0:
            wrong.append(f"{name} was begun {late_ms} ms after a result of its step was committed")
    return Check("no committed call made again", f"{len(committed)} committed calls", tuple(wrong))


def _record(ground: Ground) -> Iterator[Check]:
    """Replay, the log, the projections."""
    try:
        found = replayed(ground.home, None)
        wrong = (f"it differs at entry {found.difference.seq}",) if found.difference else ()
        yield Check("replay identical", f"{found.ticks} decisions derived again, byte for byte", wrong)
        ledger = read_ledger(ground.home)
        broken = [f"entry {ledger.broken} is not what was hashed"] if ledger.broken >= 0 else []
        broken += [ledger.complaint] if ledger.complaint else []
        broken += [] if ledger.root_agrees else ["the tree's edge is not the entries'"]
        yield Check("log whole", f"{ledger.entries} entries hashed again", tuple(broken))
        rebuilt = rebuild_home(ground.home)
        different = tuple(f"{name} was not what the entries say" for name in rebuilt.different)
        yield Check("projections rebuilt equal", f"made again from {rebuilt.entries} entries", different)
    except (LoomError, Problem, OSError) as error:
        yield Check("record readable", "it was not", (f"{type(error).__name__}: {error}",))


def _words(ends: Counter[str]) -> str:
    return ", ".join(f"{count} {end or 'open'}" for end, count in sorted(ends.items()))
