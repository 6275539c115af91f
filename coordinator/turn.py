"""One turn in the making: requests through the kernel, their rows and entries into the store's open group, grants at its end.

What it gathers (states, replies, grants, halts, the next head) is published by Core after COMMIT, or dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from loom.coordinator.bindings import bound_of
from loom.coordinator.codec import encode_command
from loom.coordinator.entry import Entry
from loom.coordinator.entry import Rules as RulesPin
from loom.coordinator.errors import CodecError, LoomError, StoreError
from loom.coordinator.fitting import Offered
from loom.coordinator.inbox import Granted, Halt, Outcome, Reply, Request, Slot
from loom.coordinator.merkle import Edge, root
from loom.coordinator.naming import texts_of
from loom.coordinator.offers import follow, offer, spawn_of
from loom.coordinator.scheduler import Scheduler
from loom.coordinator.spending import NOTHING, Ask, Budgets, Sums, added, ask, left, reached
from loom.coordinator.store import Store, command_digest
from loom.coordinator.vouching import SIGNABLE, vouched
from loom.kernel.commands import (
    AttemptEnded,
    Command,
    Grant,
    HomeCommand,
    ReachBudget,
    Starve,
    Submit,
    Wake,
)
from loom.kernel.duties import SEPARATE_DUTIES, owner_of
from loom.kernel.effects import Offer, SetWake, StopAttempt
from loom.kernel.events import Event, TaskResumed, TaskUnparked
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.limits import SEMANTICS
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import HOME_COMMANDS
from loom.kernel.state import HomeState, SpawnState, TaskState
from loom.kernel.values import SIGNED_ROLES, Bound, Principal, PrincipalKind, SpawnStatus, Spent, find
from loom.kernel.work import Asking, Refused, Rules

_OWNER = owner_of("")
SCHEDULER = Principal(id="scheduler", kind=PrincipalKind.SYSTEM, via="core", assurance="A0")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: everything that a rollback must restore."""

    now_ms: int
    edge: Edge
    home: HomeState
    sums: Sums | None = None
    """What tasks that share a budget spent together; None: no budget is shared."""

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
    budgets: Budgets
    starving: set[str]

    def task(self, task_id: str) -> TaskState | None: ...
    def rules(self, digest: str) -> Rules: ...


class _HomeReads:
    """What a tick may read about the home at this place of the log."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def read(self, name: str) -> str:
        if name == "root":
            return root(self._turn.edge).hex()
        if name in (SIGNED_ROLES, SEPARATE_DUTIES):
            return find(self._turn.home.settings, name, "")
        if name.startswith(_OWNER):
            workers = self._turn.home.workers
            return next((known.owner for known in workers if _OWNER + known.worker == name), "")
        budget, left, project = name.partition(" left ")
        if left:
            found = self._turn.left(budget, project)
            return "" if found is None else str(found)
        raise KeyError(f"the home has nothing named {name}")


class Turn:
    """Takes requests one by one into one group."""

    __slots__ = ("_means", "_store", "edge", "granted", "halts", "home", "now_ms", "replies", "sums", "tasks", "trying")

    def __init__(self, means: Means, head: Head, now_ms: int) -> None:
        self._means = means
        self._store = means.store
        self.edge = head.edge
        self.home = head.home
        self.sums = head.sums
        self.now_ms = now_ms
        self.tasks: dict[str, TaskState] = {}
        """States after this turn, over those that Core keeps."""
        self.replies: list[Reply] = []
        self.granted: list[Granted] = []
        self.halts: list[Halt] = []
        self.trying: Offered | None = None
        """The attempt that is being granted, or was last."""

    def head(self) -> Head:
        """Where the log stands when this turn is committed."""
        return Head(now_ms=self.now_ms, edge=self.edge, home=self.home, sums=self.sums)

    def left(self, budget: str, project: str) -> int | None:
        """What is left of a budget that the project's tasks share; None: there is none."""
        return None if self.sums is None else left(self._means.budgets, self.sums, budget, project)

    def take(self, request: Request) -> Reply:
        """Applied, objected, rejected, or known already. Raises StoreError, and whatever left the store's group broken: the
        group is gone."""
        # A key is looked up first where the same command could be taken twice. The end of an attempt cannot: its fence
        # is used up. So its key is looked up only when it was refused, to tell a re-sent report from a stale one.
        fenced = type(request.command) is AttemptEnded
        reply = None if fenced else self._known(request)
        if reply is None:
            try:
                reply = self._tick(request)
            except StoreError:
                raise
            except Refused as refusal:
                return self.refuse(request, refusal.code, refusal.sentence)
            except Exception as error:
                if self._store.broken:
                    raise
                # No single command may end the coordinator: a fault of ours refuses it, says so, and leaves no trace.
                return self.refuse(request, *reason_of(error))
        if reply.outcome is Outcome.REJECTED:
            return self.refuse(request, reply.code, reply.sentence)
        return reply

    def refuse(self, request: Request, code: str, sentence: str) -> Reply:
        """The answer to a request that made no entry; logged, unless it is a report that was taken before."""
        if type(request.command) is AttemptEnded:
            known = self._known(request)
            if known is not None and known.outcome is Outcome.DUPLICATE:
                return known
        if request.key:
            self._store.deny(self.now_ms, request, code, sentence)
        return self._refused(request, code, sentence)

    def wake(self, task_id: str, name: str) -> None:
        """A wake of the task is due (and refused by the kernel when it was moved since)."""
        self.take(own(task_id, Wake(name)))

    def _known(self, request: Request) -> Reply | None:
        """The recorded outcome of a key that made an entry before; the same key with another body is refused."""
        known = self._store.known(request.key) if request.key else None
        if known is None:
            return None
        try:
            same = known.digest == command_digest(encode_command(request.command))
        except CodecError:  # what cannot stand in the ledger was not recorded
            same = False
        if not same:
            return self._refused(request, "key_reused", f"key {request.key} was used for another command")
        return Reply(request.key, Outcome.DUPLICATE, known.seq, known.code, known.sentence, known.outcome, known.task)

    def _refused(self, request: Request, code: str, sentence: str) -> Reply:
        return Reply(request.key, Outcome.REJECTED, -1, code, sentence, task=request.task)

    # ------------------------------------------------------------------------------------------------------ the tick

    def _tick(self, request: Request) -> Reply:
        command = request.command
        if missing := self._missing(request):
            return self._refused(request, "blob_missing", f"text {missing} is named, but neither sent nor stored")
        if type(command) in SIGNABLE and command.approval is not None:  # type: ignore[union-attr]  # all of them have one
            request = vouched(request, self.home, self.now_ms)
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
        taken = tick(
            rules,
            before,
            _HomeReads(self),
            request.principal,
            command,
            self.now_ms,
            self._means.ask,
        )
        if isinstance(taken, Rejection):
            return self._refused(request, taken.code, taken.sentence)
        seq = self._append(request, _pin(rules.semantics, digest), task_id, taken)
        self.tasks[task_id] = taken.task
        if self.sums is not None:
            self._spend(before.spent if before else Spent(), taken.task)
        self._effects(task_id, taken)
        if type(command) is not Grant:
            follow(self._means.queue, before, command, taken, self.now_ms)
        if not taken.violations:
            return Reply(request.key, Outcome.APPLIED, seq, task=task_id)
        first = taken.violations[0]
        return Reply(request.key, Outcome.OBJECTED, seq, first.rule, first.sentence, task=task_id)

    def _missing(self, request: Request) -> str:
        """The first text that the command names and nobody has ("" : none)."""
        named = [text.blob for text in texts_of(request.command) if text.blob]
        if not named:
            return ""
        sent = {text.id for text in request.texts}
        return next((blob for blob in named if blob not in sent and not self._store.has_text(blob)), "")

    def _task(self, task_id: str) -> TaskState | None:
        return self.tasks.get(task_id) or self._means.task(task_id)

    def _tick_home(self, request: Request, command: HomeCommand) -> Reply:
        try:
            events = tick_home(self.home, request.principal, command, self.now_ms)
        except Refused as refusal:
            return self._refused(request, refusal.code, refusal.sentence)
        home = evolve_home(self.home, events)
        seq = self._append(request, _pin(SEMANTICS, ""), "", None, events)
        self.home = home
        return Reply(request.key, Outcome.APPLIED, seq)

    def _append(
        self, request: Request, pin: RulesPin, task_id: str, taken: Tick | None, events: tuple[Event, ...] = ()
    ) -> int:
        """The entry with its texts and rows; the next edge. Returns the entry's number."""
        violations = taken.violations if taken else ()
        entry = Entry(
            epoch=self.home.epoch,
            task=task_id,
            n=taken.task.n if taken else 0,
            now_ms=self.now_ms,
            nonce=request.nonce or self._means.draw(),
            principal=request.principal,
            key=request.key,
            command=request.command,
            events=taken.events if taken else events,
            outcome=Outcome.OBJECTED if violations else Outcome.APPLIED,
            rules=pin,
            unanswered=taken.unanswered if taken else (),
            home_reads=taken.home_reads if taken else (),
            violations=tuple([v.rule for v in violations]) if violations else (),
        )
        seq = self.edge.size
        self.edge = self._store.append(entry, self.edge, request.texts)
        return seq

    # ----------------------------------------------------------------------------------------------- effects, grants

    def _effects(self, task_id: str, taken: Tick) -> None:
        queue = self._means.queue
        for effect in taken.effects:
            kind = type(effect)  # announcements are read from the entries by whoever watches
            if kind is Offer:
                assert isinstance(effect, Offer)
                offer(self._means, taken.task, effect.spawn, effect.attempt, effect.not_before_ms, self.now_ms)
            elif isinstance(effect, SetWake):
                queue.wake(task_id, effect.name, effect.due_ms)
            elif isinstance(effect, StopAttempt):
                self.halts.append(Halt(task_id, effect.spawn, effect.attempt, effect.fence, effect.worker))
        if not _GOING_ON.isdisjoint(map(type, taken.events)):
            for state in taken.task.spawns:
                if state.status is SpawnStatus.READY:
                    offer(self._means, taken.task, state.id, state.attempt, state.not_before_ms, self.now_ms)

    def grant(self, offered: Offered, slot: Slot) -> bool | None:
        """Give an offered attempt to a worker that may run it: True done, False not ready any more, None not now."""
        self.trying = offered
        task = self._task(offered.task)
        state = spawn_of(task, offered.spawn) if task else None
        if task is None or state is None or state.status is not SpawnStatus.READY or state.attempt != offered.attempt:
            return False
        if task.paused or task.parked is not None or state.not_before_ms > self.now_ms:
            return False
        asked = self._ask(task, state)
        if asked.starved:
            self.take(own(offered.task, Starve(asked.starved, asked.needed)))
            return False
        if asked.waits:
            return None  # what runs has reserved all that is left, and its end frees it
        command = Grant(
            spawn=state.id,
            attempt=state.attempt,
            fence=task.fence + 1,
            worker=slot.worker,
            boot=slot.boot,
            binding=state.binding,
            price="",
            reserved=asked.cost,
            bound=bound_of(state.chain[state.binding]) if asked.cost or asked.tokens else Bound.NONE,
            tokens=asked.tokens,
        )
        if self.take(own(offered.task, command)).outcome is not Outcome.APPLIED:
            return False
        after = self.tasks[offered.task]
        self.granted.append(Granted(after, state.id, state.attempt, command.fence, slot.worker))
        return True

    # ------------------------------------------------------------------------------------------------------- budgets

    def _ask(self, task: TaskState, state: SpawnState) -> Ask:
        """What to reserve for the next attempt."""
        if self.sums is None and not (task.caps.cost or task.caps.tokens):
            return NOTHING
        agent = self._means.rules(task.spec.rules_digest).agents[state.agent]
        asked = ask(task, agent, self._means.budgets, self.sums or {})
        if asked.waits and self.sums is not None:
            self._means.starving.add(task.spec.task)
        return asked

    def _spend(self, before: Spent, task: TaskState) -> None:
        """Keep the sums of what tasks spend together; say when a budget is nearly or wholly used up. What was given back may be
        what another task waits for."""
        after, sums = task.spent, self.sums
        if after is before or sums is None:
            return
        self.sums = added(sums, task.spec.project, before, after)
        for project, budget, percent in reached(self._means.budgets, sums, self.sums, task.spec.project):
            self.take(own("", ReachBudget(project, budget, percent)))
        if after.reserved < before.reserved or after.reserved_tokens < before.reserved_tokens:
            while self._means.starving:
                self._means.queue.stirred(self._means.starving.pop())


_GOING_ON = frozenset((TaskResumed, TaskUnparked))
"""Events after which the attempts that were ready before are offered again."""


@lru_cache(maxsize=1024)
def _pin(semantics: int, digest: str) -> RulesPin:
    return RulesPin(semantics, digest)


def own(task_id: str, command: Command) -> Request:
    """A request that nobody sent."""
    return Request("", SCHEDULER, task_id, command)


def reason_of(error: Exception) -> tuple[str, str]:
    """(code, sentence) of a request that could not be taken."""
    return (
        (error.code, str(error)) if isinstance(error, LoomError) else ("internal", f"{type(error).__name__}: {error}")
    )
