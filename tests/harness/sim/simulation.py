"""One seed: a whole loom in bad weather, then calm until everything has come to its end.

    Simulation(seed).run() → faults(simulation)

In the bad time everything goes wrong that the seed's plan has (`plan.TROUBLES`); then the weather is calm, everything that
died is started again, and every task has to come to its end. A person answers every gate, so an end there is.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

from harness.sim.coordinator import LEASE_MS, NAME, CoordinatorNode
from harness.sim.disk import Disk
from harness.sim.hands import Hands
from harness.sim.people import Person, token_of
from harness.sim.plan import Plan, draw
from harness.sim.witness import Witness
from harness.sim.worker import DEATHS, WorkerNode
from harness.sim.world import World
from loom.coordinator.desk import ADMIN
from loom.coordinator.inbox import Request
from loom.coordinator.keys import token_digest
from loom.coordinator.leases import COORDINATOR
from loom.kernel import commands as c
from loom.kernel.values import Principal, PrincipalKind

CALM_MS = 1_800_000
"""How long everything may take to come right: far more than any lease, backoff and rate limit."""
COORDINATOR_DEATHS = ("now", "before", "flushed", "after", "sending")


class Simulation:
    """One world. `run` takes it to its end; `laws.faults` says what did not hold."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        """plan: another one than the seed's own."""
        self.seed = seed
        self.world = World(seed)
        self.plan = plan or draw(self.world.stream("plan"))
        self.world.note("seed", seed, "·", self.plan)
        self.disk = Disk(self.world.stream("disk"))
        self.witness = Witness(self.world, self.disk.durable)
        self.hands = Hands(self.world, self.plan.sloppy)
        self.coordinator = CoordinatorNode(self.world, self.disk, self.witness)
        self.workers = {
            name: self._worker(name, name) for name in (f"w{number}" for number in range(1, self.plan.workers + 1))
        }
        self.coordinator.workers = self.witness.working = self.workers
        names = [f"p{number}" for number in range(1, self.plan.people + 1)]
        self.people = {name: Person(self.world, self.coordinator, name, self.plan) for name in names}
        self.tasks = tuple(f"t{number}" for number in range(1, self.plan.tasks + 1))
        self.finished = False
        self._draw = self.world.stream("troubles")

    def _worker(self, name: str, worker: str) -> WorkerNode:
        return WorkerNode(
            self.world,
            name,
            worker=worker,
            slots=self.plan.slots,
            watched=self.plan.watched and name == worker,
            hands=self.hands,
            coordinator=self.coordinator,
        )

    # ------------------------------------------------------------------------------------------------------- run

    def run(self) -> Simulation:
        """The bad time, then calm until every task is done and everybody is answered."""
        try:
            self._found()
            self.world.weather = self.plan.weather
            for trouble in self.plan.troubles:
                self._brew(trouble)
            self.world.run_until(self.world.now_ms + self.plan.bad_ms)
            self._calm()
            self.finished = self.world.run_until(self.world.now_ms + CALM_MS, self._over)
        except Exception as error:
            self.witness.died("the world", error)
        return self

    def _found(self) -> None:
        """The home, its people, everything started, the tasks on their way."""
        self.coordinator.start()
        rounds = self.coordinator.rounds
        assert rounds is not None
        for name in self.people:
            person = Principal(id=name, kind=PrincipalKind.PERSON, via="sim")
            enrol = c.EnrolPrincipal(principal=person, token_digest=token_digest(token_of(name)), labels=(ADMIN,))
            rounds.inbox.append(Request(key=f"enrol {name}", principal=COORDINATOR, task="", command=enrol))
        rounds.round(self.world.now_ms, self.world.wall_ms)
        pick = self.world.stream("work")
        for worker in self.workers.values():
            self.world.after(pick.randint(0, 300), worker.start)
        people = tuple(self.people.values())
        for task in self.tasks:
            submit = functools.partial(pick.choice(people).submit, task, pick.choice(self.plan.bundles))
            self.world.after(pick.randint(50, self.plan.bad_ms // 2), submit)

    def _calm(self) -> None:
        self.world.note("world", "is calm")
        self.world.calm()
        self.hands.calm = True
        self.disk.crash, self.disk.full, self.disk.failing = "", False, 0
        for person in self.people.values():
            person.calm = True
        for worker in self.workers.values():
            worker.dies, worker.spool_full, worker.loses_texts = "", False, False
            worker.start()
        self.coordinator.dies_sending = False
        self.coordinator.start()

    def _over(self) -> bool:
        rounds = self.coordinator.rounds
        if rounds is None or any(person.waits for person in self.people.values()):
            return False
        if any(worker.spool.reports() for worker in self.workers.values() if not worker.stays_away):
            return False
        return not rounds.core.store.open_tasks()

    # -------------------------------------------------------------------------------------------------- troubles

    def _brew(self, trouble: str) -> None:
        """Draw when it comes, whom it meets and how long it lasts."""
        start_ms = self._draw.randint(200, self.plan.bad_ms * 3 // 4)
        self.world.after(start_ms, functools.partial(TROUBLES[trouble], self))

    def _length_ms(self, longest_ms: int = 3 * LEASE_MS) -> int:
        return self._draw.choice((300, LEASE_MS // 2, LEASE_MS, longest_ms)) + self._draw.randint(0, 500)

    def _some_worker(self) -> WorkerNode:
        return self.workers[self._draw.choice(sorted(self.workers))]

    def _coordinator_dies(self) -> None:
        how = self._draw.choice(COORDINATOR_DEATHS)
        self.world.note("trouble", "the coordinator dies:", how)
        if how == "now":
            self.coordinator.crash()
        elif how == "sending":
            self.coordinator.dies_sending = True
        else:
            self.disk.crash = how

    def _worker_dies(self) -> None:
        self._some_worker().crash()

    def _worker_dies_at_its_spool(self) -> None:
        worker = self._some_worker()
        worker.dies = self._draw.choice(DEATHS)
        self.world.note("trouble", worker.name, "dies", worker.dies)

    def _cut(self, kind: str) -> None:
        names: set[str] = getattr(self.world, kind)
        name = self._draw.choice([*sorted(self.workers), *self.people])
        length_ms = self._length_ms()
        self.world.note("trouble", name, "is", kind, "for", length_ms, "ms")
        names.add(name)

        def over() -> None:
            names.discard(name)
            if name in self.workers and self._draw.random() < 0.5:
                self.workers[name].connection_lost(noticed=self._draw.random() < 0.7)

        self.world.after(length_ms, over)

    def _slow(self) -> None:
        name = self._some_worker().name
        self.world.slow[name] = self._draw.choice((50, 300, 900))
        self.world.note("trouble", name, "reads a frame in", self.world.slow[name], "ms")
        self.world.after(self._length_ms(), functools.partial(self._quick_again, name))

    def _quick_again(self, name: str) -> None:
        self.world.slow.pop(name, None)

    def _coordinator_suspended(self) -> None:
        length_ms = self._length_ms()
        self.world.note("trouble", "the coordinator is suspended for", length_ms, "ms")
        self.world.freeze(NAME, length_ms)

    def _worker_suspended(self) -> None:
        self._some_worker().suspend(self._length_ms())

    def _clock_set(self) -> None:
        by_ms = self._draw.choice((-3_600_000, -20_000, -3_000, 3_000, 60_000, 3_600_000, 8 * 24 * 3_600_000))
        self.world.wall_offset_ms += by_ms
        self.world.note("trouble", "the wall clock is set by", by_ms, "ms")

    def _disk_full(self) -> None:
        length_ms = self._length_ms(LEASE_MS)
        self.disk.full = True
        self.world.note("trouble", "the coordinator's disk is full for", length_ms, "ms")
        self.world.after(length_ms, lambda: setattr(self.disk, "full", False))

    def _commit_fails(self) -> None:
        self.disk.failing = self._draw.randint(1, 3)
        self.world.note("trouble", self.disk.failing, "commits fail")

    def _spool_full(self) -> None:
        worker, length_ms = self._some_worker(), self._length_ms(LEASE_MS)
        worker.spool_full = True
        self.world.note("trouble", worker.name, "has a full disk for", length_ms, "ms")
        self.world.after(length_ms, lambda: setattr(worker, "spool_full", False))

    def _texts_get_lost(self) -> None:
        worker = self._some_worker()
        worker.loses_texts = True
        self.world.note("trouble", "texts of", worker.name, "get lost")
        self.world.after(self._length_ms(), lambda: setattr(worker, "loses_texts", False))

    def _twin(self) -> None:
        """Another process under a worker's name, with a disk of its own: a copied machine."""
        first = self._draw.choice([worker for worker in self.workers.values() if worker.name == worker.worker])
        name = f"{first.name}twin"
        if name not in self.workers:
            self.world.note("trouble", first.name, "gets a twin")
            twin = self.workers[name] = self._worker(name, first.worker)
            twin.start()
            twin.stays_away = True

    def _drain(self) -> None:
        worker = self._some_worker()
        if worker.actor is not None:
            self.world.note("trouble", worker.name, "is asked to leave when it is done")
            worker.actor.drain()

    # --------------------------------------------------------------------------------------------------- results

    def bodies(self) -> list[str]:
        """The bytes of all entries, from entry 0 on."""
        return [body for (body,) in self.disk.connection.execute("SELECT body FROM entry ORDER BY seq")]

    def digest(self) -> str:
        """SHA-256 over the bytes of all entries: the same for the same seed, everywhere."""
        return hashlib.sha256("\n".join(self.bodies()).encode()).hexdigest()


TROUBLES: dict[str, Callable[[Simulation], None]] = {
    "coordinator dies": Simulation._coordinator_dies,
    "worker dies": Simulation._worker_dies,
    "worker dies at its spool": Simulation._worker_dies_at_its_spool,
    "cut": functools.partial(Simulation._cut, kind="cut"),
    "deaf": functools.partial(Simulation._cut, kind="deaf"),
    "mute": functools.partial(Simulation._cut, kind="mute"),
    "slow": Simulation._slow,
    "coordinator suspended": Simulation._coordinator_suspended,
    "worker suspended": Simulation._worker_suspended,
    "clock set": Simulation._clock_set,
    "disk full": Simulation._disk_full,
    "commit fails": Simulation._commit_fails,
    "spool full": Simulation._spool_full,
    "texts get lost": Simulation._texts_get_lost,
    "twin": Simulation._twin,
    "drain": Simulation._drain,
}
"""What goes wrong, by the names that plans use."""
