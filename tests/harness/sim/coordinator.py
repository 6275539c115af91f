"""The coordinator's process in the simulator: what the fabric does around `Rounds`, on a virtual network and disk.

It dies where the disk or the simulation says, and the next one starts on what the disk has. Real: Core, Rounds, Sessions,
Desk, Assigner, admission, store, codecs, frames. Not here: sockets, heartbeat thread, local processes, bundles' archives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.sim.disk import Crash, Disk, DiskStore
from harness.sim.plan import RULES
from harness.sim.witness import Witness
from harness.sim.world import World
from loom.coordinator import api, orphans
from loom.coordinator.admission import admit
from loom.coordinator.assign import Assigner
from loom.coordinator.clock import Wall
from loom.coordinator.core import Core
from loom.coordinator.desk import Desk, Principals
from loom.coordinator.errors import StoreFull, StoreUnavailable
from loom.coordinator.inbox import Request
from loom.coordinator.roster import Timing
from loom.coordinator.rounds import Rounds
from loom.coordinator.sessions import Sessions
from loom.workers.protocol import Ping, Report, ToWorker, decode_from_worker, encode, frames, split_attempt

if TYPE_CHECKING:
    from harness.sim.worker import WorkerNode

NAME = "coordinator"
LEASE_MS = 6_000
PING_MS = 500
IDLE_MS = 600_000
POLL_MS = 200
START_AGAIN_MS = 1_000
TOKEN = "worker-token"


class CoordinatorNode:
    """One coordinator after the other."""

    def __init__(self, world: World, disk: Disk, witness: Witness) -> None:
        self.world, self.disk, self.witness = world, disk, witness
        self.workers: dict[str, WorkerNode] = {}
        self.clients: dict[str, Callable[[bytes], None]] = {}
        self.rounds: Rounds | None = None
        self.life = 0
        self.dies_sending = False
        self._draw = world.stream("coordinator")
        self._entropy = world.stream("entropy")
        self._clock = Wall(0, world.wall_ms, world.now_ms)
        self._mail: list[Callable[[Rounds], None]] = []
        self._scheduled = False

    # ------------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """A new process on the same disk."""
        if self.rounds is not None:
            return
        self.life += 1
        self.disk.crash, self.dies_sending = "", False
        try:
            self._start()
        except (StoreFull, StoreUnavailable) as error:
            self.world.note(NAME, "cannot start:", error)
            self.world.after(START_AGAIN_MS, self.start)

    def _start(self) -> None:
        draw = self._entropy.randbytes
        store = DiskStore(self.disk)
        self._clock = Wall(store.head().now_ms, self.world.wall_ms, self.world.now_ms)
        core = Core(store, rules=RULES.__getitem__, draw=lambda: draw(8).hex())
        epoch = core.start(version="sim", boot=draw(4).hex(), now_ms=self._wall())
        sessions = self._sessions(core, epoch, draw(8))
        sessions.adopt(core.running(), self.world.now_ms)
        events = (event for happened in store.home_events() for event in happened.events)
        desk = Desk(
            Principals(events),
            has_blob=self._has_text,
            describe=lambda task: {},
            log=self._log,
            complete=functools.partial(orphans.completed, store),
        )
        self.rounds = Rounds(core, sessions, desk, None, self._log)
        self.world.note(NAME, "is up: epoch", epoch, "entries", core.head.seq)
        self.witness.coordinator_is_up(epoch)
        for worker in self.workers.values():
            worker.connection_lost(noticed=self._draw.random() < 0.7)
        self._poll(self.life)

    def _sessions(self, core: Core, epoch: int, secret: bytes) -> Sessions:
        return Sessions(
            epoch=epoch,
            secret=secret,
            token=TOKEN,
            assign=Assigner(
                rules=core.rules,
                home=lambda: core.head.home,
                text=core.store.text,
                repositories=Path("/nonexistent"),
                lease_ms=LEASE_MS,
            ),
            admit=functools.partial(self._admit, core),
            has_blob=self._has_text,
            timing=Timing(lease_ms=LEASE_MS, ping_ms=PING_MS, idle_exit_ms=IDLE_MS),
            log=self._log,
        )

    def crash(self, why: str = "") -> None:
        """Gone, with all that was not committed and not sent."""
        if self.rounds is not None:
            self.world.note(NAME, "dies", why)
            self.rounds = None
            self._mail.clear()
            self.world.after(self._draw.randint(10, 3_000), self.start)

    def _admit(self, core: Core, report: Report, worker: str) -> Request:
        task_id, spawn, _ = split_attempt(report.attempt)
        task = core.task(task_id)
        agents = core.rules(task.spec.rules_digest).agents if task else {}
        return admit(report, worker, agents.get(spawn.rpartition("/")[2]))

    def _has_text(self, identifier: str) -> bool:
        return identifier in self.disk.texts

    def _log(self, action: str, **fields: object) -> None:
        self.world.note(NAME, action, *(f"{name}={value}" for name, value in fields.items()))

    def _wall(self) -> int:
        return self._clock.at(self.world.wall_ms, self.world.now_ms)

    # ------------------------------------------------------------------------------------------- what comes in

    def worker_says(self, peer: bytes, frame: bytes) -> None:
        self._receive(lambda rounds: rounds.hear_worker(peer, frame, self.world.now_ms))

    def client_says(self, peer: bytes, frame: bytes) -> None:
        self._receive(lambda rounds: rounds.hear_client(peer, frame, self.world.now_ms))

    def pinged(self, worker: WorkerNode, frame: bytes) -> None:
        """The heartbeat's own socket."""

        def answer(rounds: Rounds) -> None:
            (ping,) = decode_from_worker(frame)
            assert isinstance(ping, Ping)
            said = encode([rounds.sessions.ping(ping, self.world.now_ms)])
            self.world.send(NAME, worker.name, said, lambda: worker.ponged(said))

        self._receive(answer)

    def worker_died(self, worker: WorkerNode) -> None:
        """The lock of a local worker is free, and nobody has it yet."""
        if self.rounds is not None and worker.actor is None:
            self.rounds.sessions.gone(worker.worker, f"worker {worker.worker} died")
            self._soon()

    def keep_text(self, identifier: str, salt: bytes, data: bytes) -> bool:
        """A large text came over the blob socket; False: nobody is there."""
        if self.rounds is not None:
            self.disk.texts[identifier] = (salt, data)
        return self.rounds is not None

    def _receive(self, heard: Callable[[Rounds], None]) -> None:
        if self.rounds is not None:
            self._mail.append(heard)
            self._soon()

    # ------------------------------------------------------------------------------------------------- rounds

    def _poll(self, life: int) -> None:
        if life == self.life and self.rounds is not None:
            self._soon()
            self.world.after(POLL_MS, lambda: self._poll(life), NAME)

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.world.after(self._draw.randint(0, 2), self._round, NAME)

    def _round(self) -> None:
        self._scheduled = False
        rounds = self.rounds
        if rounds is None:
            return
        mail, self._mail = self._mail, []
        try:
            for heard in mail:
                heard(rounds)
            seq = rounds.core.head.seq
            rounds.round(self.world.now_ms, self._wall())
            if self._send(rounds) and rounds.due(self.world.now_ms, self._wall()):
                self._soon()
                self.witness.is_due_again(moved=bool(mail) or rounds.core.head.seq > seq)
        except Crash:
            self.crash("at its COMMIT")
        except Exception as error:
            self.witness.died(NAME, error)
            self.crash()

    def _send(self, rounds: Rounds) -> bool:
        """What the round led to; whether the process lived through it."""
        dies = self.dies_sending
        for peer, messages in rounds.sessions.take_outbox().items():
            if dies and self._draw.random() < 0.5:
                self.crash("in the middle of sending")
                return False
            self._send_to_worker(rounds, peer, messages)
        for peer, said in rounds.desk.take_outbox():
            if dies and self._draw.random() < 0.5:
                break
            name = peer.decode()
            frame = api.encode(said)
            self.witness.leaves_for_client(name, said)
            self.world.send(NAME, name, frame, functools.partial(self.clients[name], frame))
        if dies:
            self.crash("after sending")
        return not dies

    def _send_to_worker(self, rounds: Rounds, peer: bytes, messages: list[ToWorker]) -> None:
        worker = self.workers[peer.decode().partition("/")[0]]
        if not self.world.takes(worker.name) or (worker.peer != peer and worker.closed_loudly):
            self.world.note(NAME, "cannot send to", peer.decode())
            rounds.sessions.unsent(peer, messages)
            return
        for message in messages:
            self.witness.leaves_for_worker(worker.worker, message)
        for frame in frames(messages):
            self.world.send(NAME, worker.name, frame, functools.partial(worker.hear, frame, peer))
