"""The core: one turn takes a group of requests through the kernel in one transaction.

    turn(inbox, slots, now_ms) -> Turned

    BEGIN · each request: key known? → recorded outcome; else tick → rules → SAVEPOINT rows, entry, edge RELEASE
          · due wakes · grants of what became ready (so a serial step costs one commit, not two)
    COMMIT · publish the new Head

No socket, no clock, no thread, no asyncio: the fabric and the simulator drive the same object. What a rollback must
restore is one immutable value, `Head`; COMMIT publishes the next one, an error keeps the old one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from loom.coordinator.codec import encode_command
from loom.coordinator.entry import Entry
from loom.coordinator.entry import Rules as RulesPin
from loom.coordinator.errors import CodecError, StoreConflict, StoreFull, StoreRefused, StoreUnavailable
from loom.coordinator.inbox import Granted, Halt, Outcome, Reply, Request, Slot, Turned
from loom.coordinator.merkle import Edge, root
from loom.coordinator.scheduler import Offered, Scheduler
from loom.coordinator.store import Store, command_digest
from loom.kernel.commands import Grant, HomeCommand, Start, Submit, TaskCommand, Wake
from loom.kernel.draft import evolve
from loom.kernel.effects import Offer, SetWake, StopAttempt
from loom.kernel.events import Event, TaskResumed, TaskUnparked
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.limits import SEMANTICS
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import HOME_COMMANDS
from loom.kernel.state import HomeState, TaskState
from loom.kernel.values import Bound, Capability, Principal, PrincipalKind, SpawnStatus, Status
from loom.kernel.work import Asking, Refused, Rules, ask_directly

GROUP = 64
"""Requests in one transaction at most; while one commit syncs, the next group gathers by itself."""
GRANTS_PER_TURN = 256
TASKS_KEPT = 20_000
"""Task states kept in memory; any other is folded again from its entries at first touch."""
RESERVATION = 1_000_000
"""Micro-units reserved for an attempt of a task with a money cap, if that much is left."""

SCHEDULER = Principal(id="scheduler", kind=PrincipalKind.SYSTEM, via="core", assurance="A0")
COORDINATOR = Principal(id="coordinator", kind=PrincipalKind.SYSTEM, via="core", assurance="A0")


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


class _HomeReads:
    """What a tick may read about the home at this place of the log."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def read(self, name: str) -> str:
        if name == "root":
            return root(self._head.edge).hex()
        raise KeyError(f"the home has nothing named {name}")


class _Turn:
    """One transaction in the making. `tasks` overlays the kept states until COMMIT."""

    __slots__ = ("granted", "halts", "head", "now_ms", "replies", "tasks", "ticks")

    def __init__(self, head: Head, now_ms: int) -> None:
        self.head = head
        self.now_ms = now_ms
        self.tasks: dict[str, TaskState] = {}
        self.replies: list[Reply] = []
        self.granted: list[Granted] = []
        self.halts: list[Halt] = []
        self.ticks: list[tuple[str, Tick]] = []


class Core:
    """The single writer's logic. `rules`: by bundle digest, raises LookupError. `ask`: runs a bundle's function."""

    def __init__(
        self,
        store: Store,
        *,
        rules: Callable[[str], Rules],
        ask: Asking = ask_directly,
        draw: Callable[[], str] = lambda: "",
    ) -> None:
        """draw: entropy for entries that nobody sent (grants, wakes)."""
        self.store = store
        self._rules = rules
        self._indexed: dict[str, Rules] = {}
        self._ask = ask
        self._draw = draw
        self._kept: OrderedDict[str, TaskState] = OrderedDict()
        self._queue = Scheduler()
        self.head = self._load_head()
        self._recover()

    # ------------------------------------------------------------------------------------------------------- loading

    def _load_head(self) -> Head:
        position = self.store.head()
        home = HomeState()
        for happened in self.store.home_events():
            home = evolve_home(home, happened.events)
        return Head(now_ms=position.now_ms, edge=position.edge, home=home)

    def _recover(self) -> None:
        """The queue as the rows say it: after a start, and after a rollback."""
        self._queue = Scheduler()
        for spawn in self.store.ready_spawns():
            self._queue.offer(
                task=spawn.task,
                spawn=spawn.spawn,
                attempt=spawn.attempt,
                not_before_ms=spawn.not_before_ms,
                now_ms=self.head.now_ms,
                priority=spawn.priority,
                family=_family(spawn.chain[spawn.binding]),
            )
        for wake in self.store.wakes():
            self._queue.wake(wake.task, wake.name, wake.due_ms)

    def task(self, task_id: str) -> TaskState | None:
        """The state of a task, folded from its entries at first touch; None: there is none."""
        kept = self._kept.get(task_id)
        if kept is not None:
            self._kept.move_to_end(task_id)
            return kept
        state: TaskState | None = None
        for happened in self.store.load_events(task_id):
            state = evolve(state, happened.events, happened.now_ms)
        if state is not None:
            self._keep(task_id, state)
        return state

    def rules(self, digest: str) -> Rules:
        """The rules of a bundle digest. Raises LookupError."""
        found = self._indexed.get(digest)
        if found is None:
            found = self._indexed[digest] = self._rules(digest)
        return found

    def running(self) -> tuple[Granted, ...]:
        """Attempts that are granted: what a new coordinator adopts."""
        found = []
        for spawn in self.store.granted_spawns():
            task = self.task(spawn.task)
            if task is not None:
                found.append(Granted(task, spawn.spawn, spawn.attempt, spawn.fence, spawn.worker))
        return tuple(found)

    @property
    def ready(self) -> int:
        return self._queue.ready

    @property
    def next_due_ms(self) -> int:
        """When a turn is needed though nobody asks (0: never)."""
        return self._queue.due_ms

    def start(self, *, version: str, boot: str, now_ms: int) -> int:
        """Take the home over under the next epoch; returns it. Raises StoreError."""
        epoch = self.head.home.epoch + 1
        request = Request(
            key="", principal=COORDINATOR, task="", command=Start(epoch, version, boot), nonce=self._draw()
        )
        turned = self.turn((request,), (), now_ms)
        if turned.read_only:
            raise StoreUnavailable(turned.read_only)
        return epoch

    # --------------------------------------------------------------------------------------------------------- turn

    def turn(self, inbox: tuple[Request, ...] | list[Request], slots: tuple[Slot, ...], now_ms: int) -> Turned:
        """Take a group of requests; after it returns, everything in Turned is durable. A failing disk ends the whole
        transaction: the group is tried again one by one, and if that fails nothing is acknowledged (`read_only`)."""
        now_ms = max(now_ms, self.head.now_ms)
        first = self.head.seq
        try:
            return self._turned([self._attempt(inbox, slots, now_ms)], first)
        except (StoreFull, StoreUnavailable) as error:
            self._forget()
            reason = str(error)
        done: list[_Turn] = []
        for request in inbox:
            try:
                done.append(self._attempt((request,), (), now_ms))
            except (StoreFull, StoreUnavailable) as error:
                self._forget()
                return replace(self._turned(done, first), read_only=str(error))
        return self._turned(done, first) if done else replace(self._turned([], first), read_only=reason)

    def _attempt(self, inbox: tuple[Request, ...] | list[Request], slots: tuple[Slot, ...], now_ms: int) -> _Turn:
        turn = _Turn(self.head, now_ms)
        self.store.begin()
        try:
            for request in inbox:
                turn.replies.append(self._take(turn, request))
            for task_id, name in self._queue.due_wakes(now_ms):
                self._take(turn, self._own(task_id, Wake(name)))
            if slots:
                self._queue.place(
                    slots, now_ms, GRANTS_PER_TURN, lambda offered, slot: self._grant(turn, offered, slot)
                )
            self.store.commit()
        except BaseException:
            self.store.rollback()
            raise
        self._publish(turn)
        return turn

    def _publish(self, turn: _Turn) -> None:
        self.head = turn.head
        for task_id, state in turn.tasks.items():
            self._keep(task_id, state)

    def _keep(self, task_id: str, state: TaskState) -> None:
        self._kept[task_id] = state
        self._kept.move_to_end(task_id)
        while len(self._kept) > TASKS_KEPT:
            self._kept.popitem(last=False)

    def _forget(self) -> None:
        """The transaction is gone: what the queue gave away in it is read again."""
        self._recover()

    def _turned(self, turns: list[_Turn], first: int) -> Turned:
        return Turned(
            replies=tuple(reply for turn in turns for reply in turn.replies),
            granted=tuple(granted for turn in turns for granted in turn.granted),
            halts=tuple(halt for turn in turns for halt in turn.halts),
            first_seq=first,
            next_seq=self.head.seq,
            tasks=tuple(dict.fromkeys(task for turn in turns for task in turn.tasks)),
            due_ms=self._queue.due_ms,
            ready=self._queue.ready,
        )

    # ---------------------------------------------------------------------------------------------------- one request

    def _own(self, task_id: str, command: TaskCommand) -> Request:
        return Request(key="", principal=SCHEDULER, task=task_id, command=command, nonce=self._draw())

    def _take(self, turn: _Turn, request: Request) -> Reply:
        """One request in its own savepoint: applied, objected, rejected, or known already."""
        if request.key:
            known = self.store.known(request.key)
            if known is not None:
                if known.digest != command_digest(encode_command(request.command)):
                    return self._deny(turn, request, "key_reused", f"key {request.key} was used for another command")
                return Reply(
                    request.key, Outcome.DUPLICATE, known.seq, known.code, known.sentence, known.outcome, known.task
                )
        self.store.savepoint()
        try:
            reply = self._tick(turn, request)
        except (StoreRefused, StoreConflict, CodecError) as error:
            self.store.rollback_to()
            reply = self._deny(turn, request, getattr(error, "code", "refused"), str(error))
        else:
            self.store.release()
        return reply

    def _tick(self, turn: _Turn, request: Request) -> Reply:
        command = request.command
        if isinstance(command, HOME_COMMANDS):
            return self._tick_home(turn, request, command)
        task_id = command.task if isinstance(command, Submit) else request.task
        before = turn.tasks.get(task_id) or self.task(task_id)
        digest = command.rules_digest if isinstance(command, Submit) else before.spec.rules_digest if before else ""
        if not isinstance(command, Submit) and before is None:
            return self._deny(turn, request, "no_such_task", f"there is no task {task_id} in this home")
        try:
            rules = self.rules(digest)
        except LookupError as error:
            return self._deny(turn, request, "no_such_bundle", str(error))
        taken = tick(rules, before, _HomeReads(turn.head), request.principal, command, turn.now_ms, self._ask)
        if isinstance(taken, Rejection):
            return self._deny(turn, request, taken.code, taken.sentence)
        for text in request.texts:
            self.store.put_text(text)
        seq = self._write(turn, request, RulesPin(rules.semantics, digest), task_id, taken)
        turn.tasks[task_id] = taken.task
        self._effects(turn, task_id, taken)
        sentence = taken.violations[0].sentence if taken.violations else ""
        code = taken.violations[0].rule if taken.violations else ""
        return Reply(request.key, Outcome(taken.outcome), seq, code, sentence, task=task_id)

    def _tick_home(self, turn: _Turn, request: Request, command: HomeCommand) -> Reply:
        try:
            events = tick_home(turn.head.home, request.principal, command)
        except Refused as refusal:
            return self._deny(turn, request, refusal.code, refusal.sentence)
        for text in request.texts:
            self.store.put_text(text)
        home = evolve_home(turn.head.home, events)
        entry = self._entry(turn, request, RulesPin(SEMANTICS), "", 0, events, Outcome.APPLIED)
        return Reply(request.key, Outcome.APPLIED, self._append(turn, entry, home))

    def _write(self, turn: _Turn, request: Request, pin: RulesPin, task_id: str, taken: Tick) -> int:
        entry = replace(
            self._entry(turn, request, pin, task_id, taken.task.n, taken.events, Outcome(taken.outcome)),
            unanswered=taken.unanswered,
            home_reads=taken.home_reads,
            violations=tuple(violation.rule for violation in taken.violations),
        )
        return self._append(turn, entry, turn.head.home)

    def _entry(
        self,
        turn: _Turn,
        request: Request,
        pin: RulesPin,
        task_id: str,
        n: int,
        events: tuple[Event, ...],
        outcome: Outcome,
    ) -> Entry:
        return Entry(
            epoch=turn.head.home.epoch,
            task=task_id,
            n=n,
            now_ms=turn.now_ms,
            nonce=request.nonce or self._draw(),
            principal=request.principal,
            key=request.key,
            command=request.command,
            events=events,
            outcome=outcome,
            rules=pin,
        )

    def _append(self, turn: _Turn, entry: Entry, home: HomeState) -> int:
        seq = turn.head.seq
        edge = self.store.append(entry, turn.head.edge)
        turn.head = Head(now_ms=turn.now_ms, edge=edge, home=home)
        return seq

    def _deny(self, turn: _Turn, request: Request, code: str, sentence: str) -> Reply:
        """Answered with a code, logged, counted; no entry."""
        if request.key:
            self.store.deny(turn.now_ms, request, code, sentence)
        return Reply(request.key, Outcome.REJECTED, -1, code, sentence, task=request.task)

    # ----------------------------------------------------------------------------------------------- effects, grants

    def _effects(self, turn: _Turn, task_id: str, taken: Tick) -> None:
        for effect in taken.effects:
            match effect:
                case Offer(_, spawn, attempt, not_before_ms):
                    self._offer(taken.task, spawn, attempt, not_before_ms, turn.now_ms)
                case SetWake(_, name, due_ms):
                    self._queue.wake(task_id, name, due_ms)
                case StopAttempt(_, spawn, attempt, fence, worker):
                    turn.halts.append(Halt(task_id, spawn, attempt, fence, worker))
                case _:
                    continue  # announcements are read from the entries by whoever watches
        if any(isinstance(event, TaskResumed | TaskUnparked) for event in taken.events):
            self._offer_all(taken.task, turn.now_ms)

    def _offer_all(self, task: TaskState, now_ms: int) -> None:
        for state in task.spawns:
            if state.status is SpawnStatus.READY:
                self._offer(task, state.id, state.attempt, state.not_before_ms, now_ms)

    def _offer(self, task: TaskState, spawn: str, attempt: int, not_before_ms: int, now_ms: int) -> None:
        state = next((s for s in task.spawns if s.id == spawn), None)
        if state is None or task.status is Status.DONE:
            return
        self._queue.offer(
            task=task.spec.task,
            spawn=spawn,
            attempt=attempt,
            not_before_ms=not_before_ms,
            now_ms=now_ms,
            priority=task.spec.priority,
            family=_family(state.chain[state.binding]),
        )

    def _grant(self, turn: _Turn, offered: Offered, slot: Slot) -> bool | None:
        task = turn.tasks.get(offered.task) or self.task(offered.task)
        state = next((s for s in task.spawns if s.id == offered.spawn), None) if task else None
        if task is None or state is None or state.status is not SpawnStatus.READY or state.attempt != offered.attempt:
            return False
        if task.paused or task.parked is not None or state.not_before_ms > turn.now_ms:
            return False
        agent = self.rules(task.spec.rules_digest).agents[state.agent]
        reserved = _reservation(task, agent.capability)
        if reserved is None or not {*task.spec.requires, *agent.requires} <= set(slot.labels):
            return None  # what runs has reserved all that is left; its end frees it, or parks the task
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
        reply = self._take(turn, self._own(offered.task, command))
        if reply.outcome is not Outcome.APPLIED:
            return False
        turn.granted.append(Granted(turn.tasks[offered.task], state.id, state.attempt, command.fence, slot.worker))
        return True


def _family(ref: str) -> str:
    """The provider family of a reference; "" for agents that need none."""
    family, colon, _ = ref.partition(":")
    return family if colon else ""


def _reservation(task: TaskState, capability: Capability) -> int | None:
    """Micro-units to reserve; None: nothing is left that is not reserved."""
    if not task.caps.cost or capability in (Capability.CHECKS, Capability.ACT):
        return 0
    room = task.caps.cost - task.spent.cost - task.spent.reserved
    return min(RESERVATION, room) if room > 0 else None
