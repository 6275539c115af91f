"""One turn in the making: requests through the kernel, rows and entries into the open transaction, grants at its end.

What it gathers (states, replies, grants, halts, the next head) is published by Core after COMMIT, or dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loom.coordinator.codec import encode_command
from loom.coordinator.entry import Entry
from loom.coordinator.entry import Rules as RulesPin
from loom.coordinator.errors import LoomError, StoreConflict, StoreError, StoreRefused
from loom.coordinator.inbox import Granted, Halt, Outcome, Reply, Request, Slot
from loom.coordinator.merkle import Edge, root
from loom.coordinator.scheduler import Offered, Scheduler
from loom.coordinator.store import Store, command_digest
from loom.kernel.commands import AttemptEnded, Grant, HomeCommand, Submit, TaskCommand, Wake
from loom.kernel.effects import Offer, SetWake, StopAttempt
from loom.kernel.events import Event, TaskResumed, TaskUnparked
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.limits import SEMANTICS
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import HOME_COMMANDS
from loom.kernel.state import HomeState, TaskState
from loom.kernel.values import Bound, Capability, Principal, PrincipalKind, SpawnStatus, Status
from loom.kernel.work import Asking, Refused, Rules

RESERVATION = 1_000_000
"""Micro-units reserved for an attempt of a task with a money cap, if that much is left."""
SCHEDULER = Principal(id="scheduler", kind=PrincipalKind.SYSTEM, via="core", assurance="A0")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: everything that a rollback must restore."""

    now_ms: int
    edge: Edge
    home: HomeState

    @property
    def seq(self) -> int:
        """The number of the next entry."""
        return self.edge.size


class Means(Protocol):
    """What a turn needs of Core."""

    store: Store
    queue: Scheduler
    ask: Asking
    draw: Callable[[], str]

    def task(self, task_id: str) -> TaskState | None: ...
    def rules(self, digest: str) -> Rules: ...


class _HomeReads:
    """What a tick may read about the home at this place of the log."""

    __slots__ = ("_edge",)

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def read(self, name: str) -> str:
        if name == "root":
            return root(self._edge).hex()
        raise KeyError(f"the home has nothing named {name}")


class Turn:
    """Takes requests one by one, each in its own savepoint."""

    __slots__ = ("_means", "_store", "granted", "halts", "head", "now_ms", "replies", "tasks")

    def __init__(self, means: Means, head: Head, now_ms: int) -> None:
        self._means = means
        self._store = means.store
        self.head = head
        self.now_ms = now_ms
        self.tasks: dict[str, TaskState] = {}
        """States after this turn, over those that Core keeps."""
        self.replies: list[Reply] = []
        self.granted: list[Granted] = []
        self.halts: list[Halt] = []

    def take(self, request: Request) -> Reply:
        """Applied, objected, rejected, or known already. Raises StoreFull and StoreUnavailable: the group is gone."""
        # A key is looked up first where the same command could be taken twice. The end of an attempt cannot: its fence
        # is used up. So its key is looked up only when it was refused, to tell a re-sent report from a stale one.
        fenced = isinstance(request.command, AttemptEnded)
        reply = None if fenced else self._known(request)
        if reply is None:
            self._store.savepoint()
            try:
                reply = self._tick(request)
            except StoreError as error:
                if not isinstance(error, StoreRefused | StoreConflict):
                    raise  # the disk: the whole group is gone
                reply = self._taken_back(request, error.code, str(error))
            except LoomError as error:
                reply = self._taken_back(request, error.code, str(error))
            except Exception as error:
                # No single command may end the coordinator: a fault of ours refuses it, says so, and leaves no trace.
                reply = self._taken_back(request, "internal", f"{type(error).__name__}: {error}")
            else:
                self._store.release()
        if reply.outcome is Outcome.REJECTED:
            reply = (self._known(request) if fenced else None) or reply
        if reply.outcome is Outcome.REJECTED and request.key:
            self._store.deny(self.now_ms, request, reply.code, reply.sentence)
        return reply

    def wake(self, task_id: str, name: str) -> None:
        """A wake of the task is due (and refused by the kernel when it was moved since)."""
        self.take(self._own(task_id, Wake(name)))

    def _known(self, request: Request) -> Reply | None:
        """The recorded outcome of a key that made an entry before; the same key with another body is refused."""
        known = self._store.known(request.key) if request.key else None
        if known is None:
            return None
        if known.digest != command_digest(encode_command(request.command)):
            return self._refused(request, "key_reused", f"key {request.key} was used for another command")
        return Reply(request.key, Outcome.DUPLICATE, known.seq, known.code, known.sentence, known.outcome, known.task)

    def _refused(self, request: Request, code: str, sentence: str) -> Reply:
        return Reply(request.key, Outcome.REJECTED, -1, code, sentence, task=request.task)

    def _taken_back(self, request: Request, code: str, sentence: str) -> Reply:
        self._store.rollback_to()
        return self._refused(request, code, sentence)

    def _own(self, task_id: str, command: TaskCommand) -> Request:
        return Request(key="", principal=SCHEDULER, task=task_id, command=command)

    # ------------------------------------------------------------------------------------------------------ the tick

    def _tick(self, request: Request) -> Reply:
        command = request.command
        if isinstance(command, HOME_COMMANDS):
            return self._tick_home(request, command)
        if isinstance(command, Submit):
            task_id, digest = command.task, command.rules_digest
            before = self._task(task_id)
        else:
            task_id = request.task
            before = self._task(task_id)
            if before is None:
                return self._refused(request, "no_such_task", f"there is no task {task_id} in this home")
            digest = before.spec.rules_digest
        try:
            rules = self._means.rules(digest)
        except LookupError as error:
            return self._refused(request, "no_such_bundle", str(error))
        home = _HomeReads(self.head.edge)
        taken = tick(rules, before, home, request.principal, command, self.now_ms, self._means.ask)
        if isinstance(taken, Rejection):
            return self._refused(request, taken.code, taken.sentence)
        seq = self._append(request, RulesPin(rules.semantics, digest), task_id, taken)
        self.tasks[task_id] = taken.task
        self._effects(task_id, taken)
        if not taken.violations:
            return Reply(request.key, Outcome.APPLIED, seq, task=task_id)
        first = taken.violations[0]
        return Reply(request.key, Outcome.OBJECTED, seq, first.rule, first.sentence, task=task_id)

    def _task(self, task_id: str) -> TaskState | None:
        return self.tasks.get(task_id) or self._means.task(task_id)

    def _tick_home(self, request: Request, command: HomeCommand) -> Reply:
        try:
            events = tick_home(self.head.home, request.principal, command)
        except Refused as refusal:
            return self._refused(request, refusal.code, refusal.sentence)
        home = evolve_home(self.head.home, events)
        seq = self._append(request, RulesPin(SEMANTICS), "", None, events, home)
        return Reply(request.key, Outcome.APPLIED, seq)

    def _append(
        self,
        request: Request,
        pin: RulesPin,
        task_id: str,
        taken: Tick | None,
        events: tuple[Event, ...] = (),
        home: HomeState | None = None,
    ) -> int:
        """The texts, the entry and its rows; the next head. Returns the entry's number."""
        for text in request.texts:
            self._store.put_text(text)
        head = self.head
        entry = Entry(
            epoch=head.home.epoch,
            task=task_id,
            n=taken.task.n if taken else 0,
            now_ms=self.now_ms,
            nonce=request.nonce or self._means.draw(),
            principal=request.principal,
            key=request.key,
            command=request.command,
            events=taken.events if taken else events,
            outcome=Outcome.OBJECTED if taken and taken.violations else Outcome.APPLIED,
            rules=pin,
            unanswered=taken.unanswered if taken else (),
            home_reads=taken.home_reads if taken else (),
            violations=tuple(v.rule for v in taken.violations) if taken else (),
        )
        edge = self._store.append(entry, head.edge)
        self.head = Head(now_ms=self.now_ms, edge=edge, home=home or head.home)
        return head.seq

    # ----------------------------------------------------------------------------------------------- effects, grants

    def _effects(self, task_id: str, taken: Tick) -> None:
        for effect in taken.effects:
            match effect:
                case Offer(_, spawn, attempt, not_before_ms):
                    offer(self._means.queue, taken.task, spawn, attempt, not_before_ms, self.now_ms)
                case SetWake(_, name, due_ms):
                    self._means.queue.wake(task_id, name, due_ms)
                case StopAttempt(_, spawn, attempt, fence, worker):
                    self.halts.append(Halt(task_id, spawn, attempt, fence, worker))
                case _:
                    continue  # announcements are read from the entries by whoever watches
        if any(isinstance(event, TaskResumed | TaskUnparked) for event in taken.events):
            for state in taken.task.spawns:
                if state.status is SpawnStatus.READY:
                    offer(self._means.queue, taken.task, state.id, state.attempt, state.not_before_ms, self.now_ms)

    def grant(self, offered: Offered, slot: Slot) -> bool | None:
        """Give an offered attempt to a worker: True done, False not ready any more, None not now or not to this one."""
        task = self._task(offered.task)
        state = next((s for s in task.spawns if s.id == offered.spawn), None) if task else None
        if task is None or state is None or state.status is not SpawnStatus.READY or state.attempt != offered.attempt:
            return False
        if task.paused or task.parked is not None or state.not_before_ms > self.now_ms:
            return False
        agent = self._means.rules(task.spec.rules_digest).agents[state.agent]
        reserved = _reservation(task, agent.capability)
        wanted = (*task.spec.requires, *agent.requires)
        if reserved is None or (wanted and not set(wanted) <= set(slot.labels)):
            return None  # what runs has reserved all that is left, and its end frees it; or another worker must come
        command = Grant(
            spawn=state.id,
            attempt=state.attempt,
            fence=task.fence + 1,
            worker=slot.worker,
            boot=slot.boot,
            binding=state.binding,
            price="",
            reserved=reserved,
            bound=Bound.METERED if reserved else Bound.NONE,
        )
        if self.take(self._own(offered.task, command)).outcome is not Outcome.APPLIED:
            return False
        after = self.tasks[offered.task]
        self.granted.append(Granted(after, state.id, state.attempt, command.fence, slot.worker))
        return True


def offer(queue: Scheduler, task: TaskState, spawn: str, attempt: int, not_before_ms: int, now_ms: int) -> None:
    """Queue a ready attempt of the task."""
    state = next((s for s in task.spawns if s.id == spawn), None)
    if state is None or task.status is Status.DONE:
        return
    queue.offer(
        task=task.spec.task,
        spawn=spawn,
        attempt=attempt,
        not_before_ms=not_before_ms,
        now_ms=now_ms,
        priority=task.spec.priority,
        family=family_of(state.chain[state.binding]),
    )


def family_of(ref: str) -> str:
    """The provider family of a reference; "" for agents that need none."""
    family, colon, _ = ref.partition(":")
    return family if colon else ""


def _reservation(task: TaskState, capability: Capability) -> int | None:
    """Micro-units to reserve; None: nothing is left that is not reserved."""
    if not task.caps.cost or capability in (Capability.CHECKS, Capability.ACT):
        return 0
    room = task.caps.cost - task.spent.cost - task.spent.reserved
    return min(RESERVATION, room) if room > 0 else None
