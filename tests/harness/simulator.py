"""The simulator: a whole loom from one seed, in bad weather, and what must hold afterwards.

    simulate(seed) -> Simulation            raises AssertionError with the seed and the end of the history

Real: Core with its kernel and store, Rounds, Sessions, Desk, Actor, codec and frames. Virtual: clock, network, disks, hands.
First everything goes wrong for a while (see `Troubles`); then the weather is calm, everything that died is started again,
and every task has to come to its end, or to a person.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import msgspec

from harness.simnodes import BUNDLES, LEASE_MS, CoordinatorNode, WorkerNode
from harness.world import CALM, Weather, World
from loom.coordinator import api
from loom.coordinator.codec import encode_command
from loom.coordinator.desk import ADMIN
from loom.coordinator.inbox import Request
from loom.coordinator.keys import token_digest
from loom.coordinator.leases import COORDINATOR
from loom.kernel import commands as c
from loom.kernel.limits import SEMANTICS
from loom.kernel.state import TaskState
from loom.kernel.values import AgentBinding, AnswerWord, Caps, Principal, PrincipalKind, Status, Text
from loom.workers.actions import Key

TOKEN = "client-token-of-the-simulation"
BAD_MS = 60_000
"""How long things go wrong."""
CALM_MS = 3_600_000
"""How long they may take to come right."""
STORMY = Weather(drop=0.05, double=0.05, delay_ms=60, far=0.05, far_ms=1_200)
ASK_AGAIN_MS = 700


@dataclass
class Troubles:
    """What goes wrong, each about so often in the bad time."""

    coordinator_crashes: int = 4
    worker_crashes: int = 4
    partitions: int = 3
    deafness: int = 1
    freezes: int = 1
    clock_jumps: int = 2
    full_disks: int = 1
    weather: Weather = field(default_factory=lambda: STORMY)


TAKEN = api.Answered(key="", outcome="applied")


class SimClient:
    """A person: submits, pauses, cancels, answers gates; asks again until answered."""

    def __init__(self, world: World, coordinator: CoordinatorNode, name: str) -> None:
        self.world, self.coordinator, self.name = world, coordinator, name
        self.open: dict[str, bytes] = {}
        self.answered: dict[str, api.Answered] = {}
        self.lives = 0
        self.gates: dict[tuple[str, str], int] = {}
        """(task, gate) → which question of ours answers it, by its number."""
        world.after(1_500, self._look)

    def ask(self, command: c.Command, task: str) -> None:
        self.lives += 1
        key = f"{self.name}-{self.lives}"
        call = api.Call(
            token=TOKEN,
            key=key,
            via="sim",
            command=msgspec.Raw(encode_command(command)),
            task=task,
            nonce=f"{self.world.random.getrandbits(64):x}",
        )
        self.open[key] = api.encode(call)
        self._send(key)

    def _send(self, key: str) -> None:
        frame = self.open.get(key)
        if frame is not None:
            peer = self.name.encode()
            self.world.send(self.name, "coordinator", functools.partial(self.coordinator.client_says, peer, frame))
            self.world.after(ASK_AGAIN_MS, lambda: self._send(key))

    def hear(self, frame: bytes) -> None:
        said = api.decode_to_client(frame)
        if isinstance(said, api.Answered) and self.open.pop(said.key, None) is not None:
            self.answered[said.key] = said
            self.world.note(self.name, "is answered", said.key, said.outcome, said.code)

    def _look(self) -> None:
        """Answer the gates that are open now and resume what is paused, as a reader of the database would see them."""
        rounds = self.coordinator.rounds
        if rounds is not None:
            for task_id in rounds.core.store.open_tasks():
                task = rounds.core.task(task_id)
                if task is not None and task.gate is not None:
                    asked = self.gates.get((task_id, task.gate.id))
                    if asked is None or self.answered.get(f"{self.name}-{asked}", TAKEN).outcome == "rejected":
                        self._answer(task, again=asked is not None)
                        self.gates[task_id, task.gate.id] = self.lives
                elif task is not None and task.paused:
                    self.ask(c.Resume(), task_id)
        self.world.after(1_500, self._look)

    def _answer(self, task: TaskState, *, again: bool) -> None:
        gate = task.gate
        assert gate is not None
        wishes = (AnswerWord.RETRY, AnswerWord.ACCEPT, AnswerWord.REVISE, AnswerWord.ABANDON)
        words = [word for word in wishes if word in gate.answers]
        word = words[0] if not self.world.chance(0.2) else self.world.random.choice(words)
        if again or len(self.gates) > 60:
            word = AnswerWord.ABANDON
        answer = c.Answer(
            gate=gate.id,
            word=word,
            message=Text(value="go on", size=5),
            base=gate.base,
            subject=gate.subject,
            change=gate.change,
            policy_digest=gate.policy_digest,
            root=gate.root,
        )
        self.ask(answer, task.spec.task)


class Simulation:
    """One world. `run` takes it to its end; `checks` says what must hold."""

    def __init__(
        self, seed: int, *, tasks: int = 10, workers: int = 3, slots: int = 2, troubles: Troubles | None = None
    ):
        self.world = World(seed)
        self.troubles = troubles or Troubles()
        self.starts: dict[Key, list[str]] = {}
        self.workers = {
            name: WorkerNode(self.world, name, slots, self.starts) for name in (f"w{n}" for n in range(1, workers + 1))
        }
        self.coordinator = CoordinatorNode(self.world, self.workers, {})
        self.client = SimClient(self.world, self.coordinator, "person")
        self.coordinator.clients["person"] = self.client.hear
        self.tasks = tuple(f"t{n}" for n in range(1, tasks + 1))
        self.overlaps: list[str] = []
        self.finished = False
        for worker in self.workers.values():
            worker.coordinator = self.coordinator
            worker.began = self._began
        self._found()

    def _found(self) -> None:
        """The home, its owner, everything started, the tasks on their way."""
        self.coordinator.start()
        rounds = self.coordinator.rounds
        assert rounds is not None
        owner = Principal(id="person", kind=PrincipalKind.PERSON, via="sim")
        enrol = c.EnrolPrincipal(principal=owner, token_digest=token_digest(TOKEN), labels=(ADMIN,))
        request = Request(key="enrol", principal=COORDINATOR, task="", command=enrol)
        rounds.inbox.append(request)
        for worker in self.workers.values():
            self.world.after(self.world.random.randint(0, 500), worker.start)
        for task in self.tasks:
            self.world.after(self.world.random.randint(100, BAD_MS - 10_000), functools.partial(self._submit, task))

    def _submit(self, task: str) -> None:
        bundle = self.world.random.choice(BUNDLES)
        command = c.Submit(
            task=task,
            project="",
            bundle=bundle.name,
            rules_digest=bundle.digest,
            semantics=SEMANTICS,
            text=Text(value="do it", size=5),
            flow="",
            preset=self.world.random.choice(bundle.presets)[0],
            policies=(),
            base="base",
            subject="subject",
            bindings=(AgentBinding("*", ("stub:one", "stub:two")),),
            caps=Caps(attempts=200, rounds=20),
        )
        self.client.ask(command, task)
        if self.world.chance(0.15):
            wait_ms = self.world.random.randint(500, 20_000)
            self.world.after(wait_ms, lambda: self.client.ask(c.Pause(), task))
        if self.world.chance(0.1):
            wait_ms = self.world.random.randint(500, 20_000)
            self.world.after(wait_ms, lambda: self.client.ask(c.Cancel(), task))

    def _began(self, who: WorkerNode, key: Key) -> None:
        """Nobody else may be at work on the same spawn now."""
        spawn = key[0].rpartition("#")[0]
        for worker in self.workers.values():
            for other in worker.alive:
                if other[0].rpartition("#")[0] == spawn:
                    self.overlaps.append(f"{who.name} began {key} while {worker.name} was at {other}")

    # -------------------------------------------------------------------------------------------------- troubles

    def _brew(self) -> None:
        """Draw when what goes wrong."""
        world, draw = self.world, self.world.random
        world.weather = self.troubles.weather
        names = sorted(self.workers)
        for _ in range(draw.randint(0, self.troubles.coordinator_crashes)):
            world.after(draw.randint(500, BAD_MS), functools.partial(self._kill_coordinator, draw.choice(HOW)))
        for _ in range(draw.randint(0, self.troubles.worker_crashes)):
            world.after(draw.randint(500, BAD_MS), self.workers[draw.choice(names)].crash)
        for _ in range(draw.randint(0, self.troubles.partitions)):
            self._for_a_while(world.cut, draw.choice([*names, "person"]))
        for _ in range(draw.randint(0, self.troubles.deafness)):
            self._for_a_while(world.deaf, draw.choice(names))
        for _ in range(draw.randint(0, self.troubles.freezes)):
            world.after(draw.randint(500, BAD_MS), self._freeze)
        for _ in range(draw.randint(0, self.troubles.clock_jumps)):
            world.after(draw.randint(500, BAD_MS), self._jump)
        for _ in range(draw.randint(0, self.troubles.full_disks)):
            start_ms = draw.randint(500, BAD_MS)
            world.after(start_ms, lambda: setattr(self.coordinator.disk, "full", True))
            world.after(start_ms + 4_000, lambda: setattr(self.coordinator.disk, "full", False))

    def _kill_coordinator(self, how: str) -> None:
        self.world.note("coordinator is to die", how)
        if how == "now":
            self.coordinator.crash()
        else:
            self.coordinator.disk.crash = how

    def _for_a_while(self, names: set[str], name: str) -> None:
        start_ms = self.world.random.randint(500, BAD_MS)
        length_ms = self.world.random.randint(500, 4 * LEASE_MS)
        self.world.after(start_ms, lambda: names.add(name))
        self.world.after(start_ms + length_ms, lambda: names.discard(name))

    def _freeze(self) -> None:
        self.coordinator.frozen_until_ms = self.world.now_ms + self.world.random.randint(1_000, 20_000)
        self.world.note("coordinator frozen until", self.coordinator.frozen_until_ms)

    def _jump(self) -> None:
        self.world.wall_offset_ms += self.world.random.randint(-3_600_000, 60_000)
        self.world.note("wall clock jumped")

    # ------------------------------------------------------------------------------------------------------- run

    def run(self) -> Simulation:
        """The bad time, then calm until every task is done and everybody is answered."""
        self._brew()
        self.world.run_until(BAD_MS)
        self.world.note("calm")
        self.world.weather = CALM
        self.world.cut.clear()
        self.world.deaf.clear()
        self.coordinator.disk.crash, self.coordinator.disk.full = "", False
        self.coordinator.start()
        for worker in self.workers.values():
            worker.misbehaves = False
            worker.start()
        self.finished = self.world.run_until(self.world.now_ms + CALM_MS, self._over)
        return self

    def _over(self) -> bool:
        rounds = self.coordinator.rounds
        if rounds is None or self.client.open or len(self.client.answered) < len(self.tasks):
            return False
        if any(worker.spool.reports() for worker in self.workers.values()):
            return False
        return not rounds.core.store.open_tasks()

    def task(self, task_id: str) -> TaskState:
        assert self.coordinator.rounds is not None
        found = self.coordinator.rounds.core.task(task_id)
        assert found is not None, f"task {task_id} is not there"
        return found

    def unfinished(self) -> list[str]:
        """Tasks that are not done, with what they wait for."""
        states = [self.task(task) for task in self.tasks]
        return [
            f"{state.spec.task} {state.spec.bundle} at {state.stage}: {[(s.id, s.status.value) for s in state.spawns]}"
            for state in states
            if state.status is not Status.DONE
        ]

    def history(self) -> str:
        """The end of what happened."""
        return "\n".join(self.world.trace)


HOW = ("now", "before", "after", "send")
