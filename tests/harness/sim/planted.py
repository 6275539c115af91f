"""Ten protocol bugs, planted into the real objects at run time, which the simulator must find.

    with PLANTED["no fence check"]():
        failure = run(seed)

Each takes one promise out of loom, sometimes with the second line of defence that would have held. A patch names the parameters
of what it replaces: when that has moved, it fails loudly instead of planting nothing.

`python -m harness.sim.planted` looks for the first seed that finds each of them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec import structs

from harness.sim.laws import faults
from harness.sim.plan import Plan
from harness.sim.simulation import Simulation
from loom.coordinator.core import Core
from loom.coordinator.endings import Endings
from loom.coordinator.entry import Rules
from loom.coordinator.fitting import Offered
from loom.coordinator.inbox import Granted, Outcome, Reply, Request, Slot, Turned
from loom.coordinator.leases import end_key
from loom.coordinator.roster import Session
from loom.coordinator.rounds import Rounds
from loom.coordinator.sessions import Sessions
from loom.coordinator.turn import Turn
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel import fold, machine
from loom.kernel.draft import Draft
from loom.kernel.limits import SEMANTICS
from loom.kernel.machine import Tick
from loom.kernel.values import PrincipalKind, SpawnStatus
from loom.kernel.work import Work
from loom.workers.actor import Actor
from loom.workers.protocol import Committed, Credit, FromWorker, Report

SEEDS = 2_000
"""Every planted bug is found within so many seeds."""

Bug = Callable[[], AbstractContextManager[None]]
PLANTED: dict[str, Bug] = {}


class Moved(Exception):
    """What a planted bug replaces is not there, or not as it was: plant it where it is now."""


@contextmanager
def swapped(owner: Any, name: str, takes: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """owner.name replaced by make(owner.name), which has the parameters `takes`. Raises Moved."""
    original = vars(owner).get(name)
    if original is None or takes != " ".join(inspect.signature(original).parameters):
        found = " ".join(inspect.signature(original).parameters) if original else "nothing"
        raise Moved(f"{owner.__name__}.{name} was to take ({takes}); there is ({found})")
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def bug(name: str) -> Callable[[Callable[[], Sequence[AbstractContextManager[None]]]], Bug]:
    """Registers a bug by the patches that make it."""

    def register(patches: Callable[[], Sequence[AbstractContextManager[None]]]) -> Bug:
        @contextmanager
        def planted() -> Iterator[None]:
            with ExitStack() as stack:
                for patch in patches():
                    stack.enter_context(patch)
                yield

        PLANTED[name] = planted
        return planted

    return register


# --------------------------------------------------------------------------------------------------------- the bugs


@bug("no fence check")
def _no_fence_check() -> Sequence[AbstractContextManager[None]]:
    """A report counts for whatever attempt of its spawn runs now."""

    def make(ended: Callable[[Work, c.AttemptEnded], None]) -> Any:
        def unfenced(work: Work, command: c.AttemptEnded) -> None:
            state = work.draft.spawn(command.spawn)
            if state is not None and state.status is SpawnStatus.GRANTED:
                command = replace(command, attempt=state.attempt, fence=state.fence)
                if work.principal.kind is PrincipalKind.WORKER:
                    work.principal = replace(work.principal, id=state.worker)
            ended(work, command)

        return unfenced

    return [
        swapped(Turn, "take", "self request", _keyless),
        swapped(machine, "ended", "work command", make),
    ]


def _keyless(take: Callable[[Turn, Request], Reply]) -> Any:
    """The end of an attempt that was ended before is not known again by its key: the second line of defence is gone."""

    def again(self: Turn, request: Request) -> Reply:
        known = isinstance(request.command, c.AttemptEnded) and self._known(request) is not None
        reply = take(self, structs.replace(request, key="") if known else request)
        return structs.replace(reply, key=request.key)

    return again


@bug("acknowledge before COMMIT")
def _acknowledge_early() -> Sequence[AbstractContextManager[None]]:
    """A report is answered Committed when it is heard."""

    def make(report_: Callable[[Endings, str, bytes, Report], None]) -> Any:
        def early(self: Endings, worker: str, peer: bytes, report: Report) -> None:
            report_(self, worker, peer, report)
            if any(request.key == end_key((report.attempt, report.fence)) for request in self._requests):
                self._tell(peer, Committed(attempt=report.attempt, fence=report.fence))

        return early

    return [swapped(Endings, "report", "self worker peer report", make)]


@bug("lease freed on a missed heartbeat")
def _free_on_silence() -> Sequence[AbstractContextManager[None]]:
    """A worker that misses its heartbeats loses its attempts at once."""

    def make(tick: Callable[[Sessions, int], None]) -> Any:
        def hasty(self: Sessions, mono_ms: int) -> None:
            tick(self, mono_ms)
            for session in self.roster:
                if session.suspect:
                    for lease in self.leases.of(session.hello.worker):
                        self._lost(lease, "its worker missed its heartbeats", 1)

        return hasty

    return [swapped(Sessions, "tick", "self mono_ms", make)]


@bug("credit as +1")
def _credit_as_increment() -> Sequence[AbstractContextManager[None]]:
    """A worker says that one more slot is free, instead of how many are."""

    def heard(from_worker: Callable[[Sessions, Session, FromWorker, int], None]) -> Any:
        def counting(self: Sessions, session: Session, message: FromWorker, mono_ms: int) -> None:
            if isinstance(message, Credit):
                session.free += 1
            else:
                from_worker(self, session, message, mono_ms)

        return counting

    def granted(settle: Callable[[Sessions, Turned, int], None]) -> Any:
        def taking(self: Sessions, turned: Turned, mono_ms: int) -> None:
            for one in turned.granted:
                if session := self.roster.of(one.worker):
                    session.free -= 1
            settle(self, turned, mono_ms)

        return taking

    def said(take_outbox: Callable[[Actor], list[FromWorker]]) -> Any:
        def freed(self: Actor) -> list[FromWorker]:
            out = take_outbox(self)
            before = getattr(self, "_free_before", self.free)
            self._free_before = self.free  # type: ignore[attr-defined]
            kept = [message for message in out if not isinstance(message, Credit)]
            return kept + [Credit(free=1, as_of=0)] * (self.free - before)

        return freed

    return [
        swapped(Sessions, "_from_worker", "self session message mono_ms", heard),
        swapped(Sessions, "settle", "self turned mono_ms", granted),
        swapped(Actor, "take_outbox", "self", said),
    ]


@bug("epoch not persisted")
def _volatile_epoch() -> Sequence[AbstractContextManager[None]]:
    """A coordinator counts its epoch up and keeps that to itself."""

    def make(start: object) -> Any:
        def forgetful(self: Core, *, version: str, boot: str, now_ms: int) -> int:
            return self.head.home.epoch + 1

        return forgetful

    return [swapped(Core, "start", "self version boot now_ms", make)]


@bug("grant sent before COMMIT")
def _grant_early() -> Sequence[AbstractContextManager[None]]:
    """An attempt is assigned as soon as its grant is made."""
    running: list[tuple[Rounds, int]] = []

    def outer(turn: Callable[[Rounds, int, int], None]) -> Any:
        def noting(self: Rounds, mono_ms: int, now_ms: int) -> None:
            running[:] = [(self, mono_ms)]
            turn(self, mono_ms, now_ms)

        return noting

    def inner(grant: Callable[[Turn, Offered, Slot], bool | None]) -> Any:
        def early(self: Turn, offered: Offered, slot: Slot) -> bool | None:
            taken = grant(self, offered, slot)
            if taken:
                rounds, mono_ms = running[0]
                rounds.sessions.settle(_only(self.granted[-1]), mono_ms)
            return taken

        return early

    return [
        swapped(Rounds, "_turn", "self mono_ms now_ms", outer),
        swapped(Turn, "grant", "self offered slot", inner),
    ]


def _only(granted: Granted) -> Turned:
    return Turned(
        replies=(), granted=(granted,), halts=(), first_seq=0, next_seq=0, tasks=(), due_ms=0, ready=0
    )  # fmt: skip


@bug("report committed twice after a lost answer")
def _twice() -> Sequence[AbstractContextManager[None]]:
    """A report that comes again settles its spawn once more."""

    def make(take: Callable[[Turn, Request], Reply]) -> Any:
        def again(self: Turn, request: Request) -> Reply:
            before = self._task(request.task)
            reply = take(self, request)
            if reply.outcome is not Outcome.DUPLICATE or not isinstance(request.command, c.AttemptEnded) or not before:
                return reply
            recorded = (each.events for each in self._store.load_events(request.task) if each.seq == reply.seq)
            events = tuple(event for each in recorded for event in each if isinstance(event, e.SpawnSettled))
            if not events:
                return reply
            after = fold.evolve(before, events, self.now_ms)
            pin = Rules(SEMANTICS, before.spec.rules_digest)
            tick = Tick(events=events, effects=(), task=after, violations=(), unanswered=(), home_reads=())
            self._append(structs.replace(request, key=""), pin, request.task, tick)
            self.tasks[request.task] = after
            return reply

        return again

    return [swapped(Turn, "take", "self request", make)]


@bug("adoption skipped")
def _no_adoption() -> Sequence[AbstractContextManager[None]]:
    """A new coordinator knows nothing of the attempts that run."""

    def make(adopt: object) -> Any:
        def skipped(self: Sessions, granted: object, mono_ms: int) -> None:
            return None

        return skipped

    return [swapped(Sessions, "adopt", "self granted mono_ms", make)]


@bug("Head not rolled back with a failed group")
def _runaway_head() -> Sequence[AbstractContextManager[None]]:
    """A transaction that failed leaves its edge behind."""

    def make(attempt: Callable[..., Turn]) -> Any:
        def published(self: Core, turn: Turn, *arguments: Any, **more: Any) -> Turn:
            try:
                return attempt(self, turn, *arguments, **more)
            except BaseException:
                self.head = turn.head()
                raise

        return published

    return [swapped(Core, "_attempt", "self turn inbox wakes slots limit", make)]


@bug("reservation not released")
def _kept_reservation() -> Sequence[AbstractContextManager[None]]:
    """What an attempt had reserved stays reserved when it has ended."""

    @contextmanager
    def patched() -> Iterator[None]:
        original = fold.FOLDS[e.AttemptClosed]

        def keeping(draft: Draft, event: e.AttemptClosed) -> None:
            reserved = draft.spent.reserved
            original(draft, event)
            draft.spent = replace(draft.spent, reserved=reserved)

        fold.FOLDS[e.AttemptClosed] = keeping
        try:
            yield
        finally:
            fold.FOLDS[e.AttemptClosed] = original

    return [patched()]


# ----------------------------------------------------------------------------------------------------------- search


def finds(name: str, seed: int, plan: Plan | None = None) -> list[str]:
    """The laws that a seed sees broken with this bug planted. plan: another one than the seed's own."""
    with PLANTED[name]():
        return faults(Simulation(seed, plan).run())


def first_seed(name: str, start: int = 1, count: int = SEEDS, plan: Plan | None = None) -> tuple[int, list[str]]:
    """The first seed that finds it, and what it says; (0, []): none of them."""
    for seed in range(start, start + count):
        if found := finds(name, seed, plan):
            return seed, found
    return 0, []


def main() -> int:
    """Looks for all of them; prints how many seeds were needed."""
    missed = 0
    for name in PLANTED:
        seed, found = partial(first_seed, name)()
        missed += not seed
        print(
            f"{name:<42} {f'{seed} seeds' if seed else 'NOT FOUND':<12} {found[0][:160] if found else ''}", flush=True
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
