"""The core: one turn takes a group of requests through the kernel in one transaction.

    turn(inbox, slots, now_ms) -> Turned

    each request: tick → rules → entry, edge and rows, gathered (a known key: its recorded outcome)
    due wakes · grants of what became ready (so a serial step costs one commit, not two)
    BEGIN, all rows, COMMIT · publish the new Head

No socket, no clock, no thread, no asyncio: the fabric and the simulator drive the same object. What a rollback must
restore is one immutable value, `Head`; COMMIT publishes the next one, an error keeps the old one. When the database refuses
something of a group, each of its requests, wakes and grants is taken again in a transaction of its own, so that the culprit
is refused and nobody else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from loom.coordinator.errors import StoreConflict, StoreError, StoreFull, StoreRefused, StoreUnavailable
from loom.coordinator.fitting import Near, Shared
from loom.coordinator.inbox import Granted, Request, Slot, Turned
from loom.coordinator.limiter import Limiter
from loom.coordinator.limits import Limits
from loom.coordinator.offers import restore
from loom.coordinator.scheduler import Scheduler
from loom.coordinator.spending import Budgets, summed
from loom.coordinator.store import Store
from loom.coordinator.turn import Head, Turn, own, reason_of
from loom.kernel.commands import Start, Wake
from loom.kernel.fold import evolve
from loom.kernel.home import evolve_home
from loom.kernel.state import HomeState, TaskState
from loom.kernel.values import Principal, PrincipalKind
from loom.kernel.work import Asking, Rules, ask_directly

GROUP = 64
"""Requests in one transaction at most; while one commit syncs, the next group gathers by itself."""
GRANTS_PER_TURN = 256
TASKS_KEPT = 20_000
"""Task states kept in memory; any other is folded again from its entries at first touch."""

GROUP_ERRORS = (StoreFull, StoreUnavailable, StoreRefused, StoreConflict)
"""After these its parts may come through where a group did not; any other error of the store is the end of the process."""

COORDINATOR = Principal(id="coordinator", kind=PrincipalKind.SYSTEM, via="core", assurance="A0")


class Core:
    """The single writer's logic."""

    def __init__(
        self,
        store: Store,
        *,
        rules: Callable[[str], Rules],
        ask: Asking = ask_directly,
        draw: Callable[[], str] = lambda: "",
    ) -> None:
        """rules: by bundle digest, raises LookupError. ask: runs a bundle's function. draw: entropy for entries that
        nobody sent (grants, wakes). Raises StoreError."""
        self.store = store
        self.ask = ask
        self.draw = draw
        self.near: Near | None = None
        """Which workers have something of a project warm (None: nobody knows)."""
        self.shared: Shared | None = None
        """What the workers of this machine share with other homes (None: nothing)."""
        self.queue = Scheduler()
        self.budgets = Budgets()
        self.starving: set[str] = set()
        """Tasks whose next attempt waits until another task gives back some of a budget that they share."""
        self._rules = rules
        self._indexed: dict[str, Rules] = {}
        self._kept: OrderedDict[str, TaskState] = OrderedDict()
        self._shunned: set[tuple[str, int | str]] = set()
        """(spawn, attempt) and (task, wake) that the database refused: not offered again until the next start."""
        self.head = self._load_head()
        self._hold_budgets()
        self.limiter = Limiter(self.head.home.origin)
        self._recover()

    # ------------------------------------------------------------------------------------------------------- loading

    def _load_head(self) -> Head:
        position = self.store.head()
        home = HomeState()
        for happened in self.store.home_events():
            home = evolve_home(home, happened.events)
        return Head(now_ms=position.now_ms, edge=position.edge, home=home)

    def _hold_budgets(self) -> None:
        """The budgets that the settings name, and what was spent of them: read when they change, kept with each tick."""
        self.budgets = Budgets.of(self.head.home.settings)
        sums = summed(self.store.spent()) if self.budgets.caps else None
        self.head = replace(self.head, sums=sums)

    def _recover(self) -> None:
        """The queue as the rows say it: after a start, and after a rollback that took back what the queue gave away."""
        self.limiter.restart()
        limits = Limits.of(self.head.home.settings)
        self.queue = Scheduler(limiter=self.limiter, limits=limits, near=self._near)
        restore(self, self.store, self._shunned, self.head.now_ms)
        for wake in self.store.wakes():
            if (wake.task, wake.name) in self._shunned:
                continue
            self.queue.wake(wake.task, wake.name, wake.due_ms)

    def _near(self, project: str, task: str) -> Sequence[str]:
        return self.near(project, task) if self.near else ()

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
        """Attempts that wait for a slot."""
        return self.queue.ready

    @property
    def next_due_ms(self) -> int:
        """When a turn is needed though nobody asks (0: never)."""
        return self.queue.due_ms

    def start(self, *, version: str, boot: str, now_ms: int) -> int:
        """Take the home over under the next epoch; returns it. Raises StoreError."""
        epoch = self.head.home.epoch + 1
        request = Request(key="", principal=COORDINATOR, task="", command=Start(epoch, version, boot))
        turned = self.turn((request,), (), now_ms)
        if turned.read_only:
            raise StoreUnavailable(turned.read_only)
        return epoch

    # --------------------------------------------------------------------------------------------------------- turn

    def turn(self, inbox: Sequence[Request], slots: Sequence[Slot], now_ms: int) -> Turned:
        """Take a group of requests; what Turned holds is durable. A refusal of the database or a failing disk ends the whole
        transaction: its parts are taken again one by one. If the disk fails again, nothing more is acknowledged (`read_only`
        says why). Raises StoreCorrupt, StoreBusy."""
        now_ms = max(now_ms, self.head.now_ms)
        first = self.head.seq
        try:
            turn = Turn(self, self.head, now_ms)
            return self._turned([self._attempt(turn, inbox, self.queue.due_wakes(now_ms), slots)], first)
        except GROUP_ERRORS as error:
            self._recover()
            failed = error
        return self._one_by_one(inbox, slots, now_ms, failed)

    def _attempt(
        self,
        turn: Turn,
        inbox: Iterable[Request] = (),
        wakes: Iterable[tuple[str, str]] = (),
        slots: Sequence[Slot] = (),
        limit: int = GRANTS_PER_TURN,
    ) -> Turn:
        """One transaction; its outcome is published."""
        self.store.begin()
        try:
            for request in inbox:
                turn.replies.append(turn.take(request))
            for task_id, name in wakes:
                turn.wake(task_id, name)
            self.queue.place(slots, turn.now_ms, limit, turn.grant, self.shared)
            self.store.commit()
        except BaseException:
            self.store.rollback()
            raise
        before, self.head = self.head, turn.head()
        if self.head.home.settings is not before.home.settings:
            self._settings_changed()
        for task_id, state in turn.tasks.items():
            self._keep(task_id, state)
        return turn

    def _settings_changed(self) -> None:
        self.queue.limit(Limits.of(self.head.home.settings))
        self._hold_budgets()
        while self.starving:
            self.queue.stirred(self.starving.pop())

    # --------------------------------------------------------------------------------------------------- one by one

    def _one_by_one(self, inbox: Sequence[Request], slots: Sequence[Slot], now_ms: int, failed: StoreError) -> Turned:
        """After a group that did not come through. A disk that failed gets requests only: what is left comes later."""
        first = self.head.seq
        disk = isinstance(failed, StoreFull | StoreUnavailable)
        done: list[Turn] = []
        try:
            for request in inbox:
                done += (self._alone(request, now_ms),)
            if not disk:
                for task_id, name in tuple(self.queue.due_wakes(now_ms)):
                    self._wake_alone(done, task_id, name, now_ms)
                self._grant_alone(done, slots, now_ms)
        except (StoreFull, StoreUnavailable) as error:
            self._recover()
            return replace(self._turned(done, first), read_only=str(error))
        return replace(self._turned(done, first), read_only=str(failed) if disk and not done else "", unplaced=disk)

    def _alone(self, request: Request, now_ms: int) -> Turn:
        """A request in a transaction of its own; what the database refuses is answered."""
        try:
            return self._attempt(Turn(self, self.head, now_ms), (request,))
        except (StoreRefused, StoreConflict) as error:
            self._recover()
            return self._refuse(request, now_ms, error)

    def _refuse(self, request: Request, now_ms: int, error: StoreError) -> Turn:
        turn = Turn(self, self.head, now_ms)
        code, sentence = reason_of(error)
        turn.replies.append(turn.refuse(request, code, sentence))
        if not request.key:
            self.store.deny(now_ms, request, code, sentence)  # one of our own, which nobody else would report
        return self._attempt(turn)

    def _wake_alone(self, done: list[Turn], task_id: str, name: str, now_ms: int) -> None:
        turn = self._alone(own(task_id, Wake(name)), now_ms)
        if turn.replies.pop().seq < 0:
            self._shunned.add((task_id, name))
        done.append(turn)

    def _grant_alone(self, done: list[Turn], slots: Sequence[Slot], now_ms: int) -> None:
        """Every grant in a transaction of its own; one that the database refuses is not tried again."""
        for _ in range(GRANTS_PER_TURN):
            turn = Turn(self, self.head, now_ms)
            try:
                self._attempt(turn, slots=slots, limit=1)
            except (StoreRefused, StoreConflict) as error:
                refused = turn.trying
                if refused is None:
                    raise
                self._shunned.add((refused.spawn, refused.attempt))
                self._recover()
                done.append(self._refuse(own(refused.task, Wake(refused.spawn)), now_ms, error))
                done[-1].replies.clear()
                continue
            done.append(turn)
            if not turn.granted:
                return
            slots = _without(slots, turn.granted[0].worker)

    def _keep(self, task_id: str, state: TaskState) -> None:
        self._kept[task_id] = state
        self._kept.move_to_end(task_id)
        while len(self._kept) > TASKS_KEPT:
            self._kept.popitem(last=False)

    def _turned(self, turns: list[Turn], first: int) -> Turned:
        return Turned(
            replies=tuple(reply for turn in turns for reply in turn.replies),
            granted=tuple(granted for turn in turns for granted in turn.granted),
            halts=tuple(halt for turn in turns for halt in turn.halts),
            first_seq=first,
            next_seq=self.head.seq,
            tasks=tuple(dict.fromkeys(task for turn in turns for task in turn.tasks)),
            due_ms=self.queue.due_ms,
            ready=self.queue.ready,
        )


def _without(slots: Sequence[Slot], worker: str) -> Sequence[Slot]:
    """The slots when one of this worker is taken."""
    for place, slot in enumerate(slots):
        if slot.worker == worker and slot.free:
            return (*slots[:place], replace(slot, free=slot.free - 1), *slots[place + 1 :])
    return slots
