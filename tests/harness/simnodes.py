"""The nodes of the simulator: the real Core, Sessions, Desk and Actor, each with a disk that outlives it."""

from __future__ import annotations

import functools
import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import structs

from harness import toy
from harness.world import World
from loom.coordinator import api, orphans
from loom.coordinator.admission import admit
from loom.coordinator.assign import Assigner
from loom.coordinator.blobs import BlobFiles
from loom.coordinator.clock import Wall
from loom.coordinator.core import Core
from loom.coordinator.desk import Desk, Principals
from loom.coordinator.errors import StoreFull
from loom.coordinator.inbox import Request
from loom.coordinator.roster import Timing
from loom.coordinator.rounds import Rounds
from loom.coordinator.sessions import Sessions
from loom.coordinator.store import Store
from loom.kernel.work import Rules, rules_for
from loom.workers.actions import Forget, Keep, Key, Kill, Leave, Start, Upload, Welcomed
from loom.workers.actor import Actor
from loom.workers.protocol import (
    Assign,
    End,
    ErrorClass,
    Hello,
    Nack,
    Ping,
    Pong,
    Report,
    decode_from_worker,
    decode_to_worker,
    encode,
    frames,
    split_attempt,
)
from loom.workers.spool import MemorySpool
from loom.workers.stub import Stub

LEASE_MS = 6_000
PING_MS = 1_000
TOKEN = "worker-token"
POLL_MS = 150
BUNDLES = (toy.TOY, toy.FANOUT, toy.REVIEW, toy.GIVING_UP, toy.CHOOSING, toy.DELIVERED, toy.serial(8))
RULES: dict[str, Rules] = {bundle.digest: rules_for(bundle) for bundle in BUNDLES}


class Crash(Exception):
    """The process is gone, in the middle of what it did."""


@functools.cache
def empty_database() -> bytes:
    """The bytes of a new database, as a disk would hold them; not in WAL mode, which memory cannot do."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        Store.create(path).close()
        data = bytearray(path.read_bytes())
    data[18:20] = b"\x01\x01"
    return bytes(data)


class Disk:
    """What survives: the database's bytes at the last COMMIT. The next commits may fail or be the last."""

    def __init__(self) -> None:
        self.data = empty_database()
        self.full = False
        self.crash = ""
        """"before" or "after": the next COMMIT is where the process dies."""


class DiskStore(Store):
    """The real store in memory; its COMMIT goes to the disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.memory = sqlite3.connect(":memory:", isolation_level=None)
        self.memory.deserialize(disk.data)
        super().__init__(self.memory, BlobFiles(Path("/nonexistent")))

    def commit(self) -> None:
        if self.disk.full:
            raise StoreFull("the disk of this simulation is full")
        if self.disk.crash == "before":
            raise Crash
        super().commit()
        self.disk.data = self.memory.serialize()
        if self.disk.crash == "after":
            raise Crash


class CoordinatorNode:
    """The coordinator's process: what the fabric does, on a virtual network."""

    def __init__(self, world: World, workers: dict[str, WorkerNode], clients: dict[str, Callable[[bytes], None]]):
        self.world, self.workers, self.clients = world, workers, clients
        self.disk = Disk()
        self.rounds: Rounds | None = None
        self.life = 0
        self.frozen_until_ms = 0
        self._clock = Wall(0, world.wall_ms, world.now_ms)
        self._mail: list[Callable[[Rounds], None]] = []
        self._scheduled = False

    @property
    def name(self) -> str:
        return "coordinator"

    def start(self) -> None:
        """A new process on the same disk."""
        if self.rounds is not None:
            return
        self.life += 1
        self.disk.crash = ""
        self.disk.full = False
        store = DiskStore(self.disk)
        draw = self.world.random.randbytes
        self._clock = Wall(store.head().now_ms, self.world.wall_ms, self.world.now_ms)
        core = Core(store, rules=RULES.__getitem__, draw=lambda: draw(8).hex())
        epoch = core.start(version="sim", boot=draw(4).hex(), now_ms=self._wall())
        sessions = Sessions(
            epoch=epoch,
            secret=draw(8),
            token=TOKEN,
            assign=Assigner(
                rules=core.rules,
                home=lambda: core.head.home,
                text=store.text,
                repositories=Path("/nonexistent"),
                lease_ms=LEASE_MS,
            ),
            admit=functools.partial(self._admit, core),
            has_blob=lambda identifier: False,
            timing=Timing(lease_ms=LEASE_MS, ping_ms=PING_MS, idle_exit_ms=600_000),
            log=self._log,
        )
        sessions.adopt(core.running(), self.world.now_ms)
        events = (event for happened in store.home_events() for event in happened.events)
        desk = Desk(
            Principals(events),
            has_blob=lambda identifier: False,
            describe=dict,
            log=self._log,
            complete=functools.partial(orphans.completed, store),
        )
        self.rounds = Rounds(core, sessions, desk, None, self._log)
        self.world.note("coordinator up, epoch", epoch)
        for worker in self.workers.values():
            worker.coordinator_is_new()
        self._poll(self.life)

    def _admit(self, core: Core, report: Report, worker: str) -> Request:
        task_id, spawn, _ = split_attempt(report.attempt)
        task = core.task(task_id)
        agents = core.rules(task.spec.rules_digest).agents if task else {}
        return admit(report, worker, agents.get(spawn.rpartition("/")[2]))

    def _log(self, action: str, **fields: object) -> None:
        self.world.note("coordinator", action, *(f"{name}={value}" for name, value in fields.items()))

    def _wall(self) -> int:
        return self._clock.at(self.world.wall_ms, self.world.now_ms)

    def crash(self) -> None:
        """Gone, with all that was not committed and not sent."""
        if self.rounds is not None:
            self.world.note("coordinator crashed")
            self.rounds = None
            self._mail.clear()
            self.world.after(self.world.random.randint(10, 3_000), self.start)

    def worker_says(self, peer: bytes, frame: bytes) -> None:
        self._receive(lambda rounds: rounds.hear_worker(peer, frame, self.world.now_ms))

    def client_says(self, peer: bytes, frame: bytes) -> None:
        self._receive(lambda rounds: rounds.hear_client(peer, frame, self.world.now_ms))

    def pinged(self, worker: WorkerNode, frame: bytes) -> None:
        def answer(rounds: Rounds) -> None:
            (ping,) = decode_from_worker(frame)
            assert isinstance(ping, Ping)
            said = encode([rounds.sessions.ping(ping, self.world.now_ms)])
            self.world.send(self.name, worker.name, lambda: worker.ponged(said))

        self._receive(answer)

    def _receive(self, heard: Callable[[Rounds], None]) -> None:
        if self.rounds is not None:
            self._mail.append(heard)
            self._soon()

    def _poll(self, life: int) -> None:
        if life == self.life and self.rounds is not None:
            self._soon()
            self.world.after(POLL_MS, lambda: self._poll(life))

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            delay_ms = max(self.world.random.randint(0, 2), self.frozen_until_ms - self.world.now_ms)
            self.world.after(delay_ms, self._round)

    def _round(self) -> None:
        self._scheduled = False
        rounds = self.rounds
        if rounds is None:
            return
        mail, self._mail = self._mail, []
        for heard in mail:
            heard(rounds)
        try:
            rounds.round(self.world.now_ms, self._wall())
        except Crash:
            self.crash()
            return
        if self._send(rounds) and rounds.due(self.world.now_ms, self._wall()):
            self._soon()

    def _send(self, rounds: Rounds) -> bool:
        """What the round led to; in bad times the process dies in the middle of it."""
        dies = self.disk.crash == "send"
        for peer, messages in rounds.sessions.take_outbox().items():
            worker = self.workers[peer.decode().partition("/")[0]]
            if dies and self.world.chance(0.5):
                self.crash()
                return False
            if worker.peer != peer:
                rounds.sessions.unsent(peer, messages)
                continue
            for frame in frames(messages):
                self.world.send(self.name, worker.name, functools.partial(worker.hear, frame, peer))
        for peer, said in rounds.desk.take_outbox():
            frame = api.encode(said)
            deliver = self.clients[peer.decode()]
            self.world.send(self.name, peer.decode(), functools.partial(deliver, frame))
        if dies:
            self.crash()
            return False
        return True


class WorkerNode:
    """A worker's process: what its loop does; the hands are a die."""

    def __init__(self, world: World, name: str, slots: int, ledger: dict[Key, list[str]]) -> None:
        """ledger: who started which attempt, across all lives."""
        self.world, self.name, self.slots = world, name, slots
        self.coordinator: CoordinatorNode | None = None
        self.spool = MemorySpool()
        self.starts = ledger
        self.alive: set[Key] = set()
        self.answers: list[tuple[str, Key]] = []
        self.began: Callable[[WorkerNode, Key], None] = lambda worker, key: None
        self.actor: Actor | None = None
        self.boot = ""
        self.life = self.connections = 0
        self.misbehaves = True

    @property
    def peer(self) -> bytes:
        return f"{self.name}/{self.connections}".encode()

    def start(self) -> None:
        if self.actor is not None:
            return
        self.life += 1
        self.connections += 1
        self.boot = f"{self.name}.{self.life}"
        hello = Hello(worker=self.name, boot=self.boot, low=1, high=1, host="sim", slots=self.slots, token=TOKEN)
        self.actor = Actor(hello, self.spool.reports(), self.world.now_ms)
        self.stub = Stub({}, boot=self.boot, host="sim")
        self.world.note(self.name, "up, spooled", len(self.spool.reports()))
        self._poll(self.life)
        self._ping(self.life, 1)

    def crash(self, wait_ms: int = 0) -> None:
        if self.actor is not None:
            self.world.note(self.name, "crashed, running", len(self.alive))
            self.actor = None
            self.alive.clear()
            self.world.after(wait_ms or self.world.random.randint(10, 8_000), self.start)

    def coordinator_is_new(self) -> None:
        """The connection is made again; now and then nobody notices (half open)."""
        if self.actor is not None:
            self.connections += 1
            if self.world.chance(0.7):
                self.actor.reconnected(self.world.now_ms)

    def _poll(self, life: int) -> None:
        if life == self.life and self.actor is not None:
            self._step()
            if self.actor is not None:
                self.world.after(min(POLL_MS, self.actor.pace_ms), lambda: self._poll(life))

    def _ping(self, life: int, sequence: int) -> None:
        coordinator = self.coordinator
        if life != self.life or self.actor is None or coordinator is None:
            return
        if self.actor.session:
            frame = encode([Ping(session=self.actor.session, sequence=sequence)])
            self.world.send(self.name, coordinator.name, lambda: coordinator.pinged(self, frame))
        self.world.after(PING_MS, lambda: self._ping(life, sequence + 1))

    def ponged(self, frame: bytes) -> None:
        if self.actor is None:
            return
        for message in decode_to_worker(frame):
            if isinstance(message, Pong):
                self.actor.heard(self.world.now_ms)
            elif isinstance(message, Nack):
                self.actor.reconnected(self.world.now_ms)
        self._step()

    def hear(self, frame: bytes, peer: bytes) -> None:
        if self.actor is None or peer != self.peer:
            return
        messages = decode_to_worker(frame)
        for message in messages:
            kind = type(message).__name__
            if kind in ("Committed", "Duplicate", "Stale"):
                self.answers.append((kind, (message.attempt, message.fence)))  # type: ignore[union-attr]
        self.actor.hear(messages, self.world.now_ms)
        self._step()

    def _step(self) -> None:
        actor = self.actor
        if actor is None:
            return
        actor.tick(self.world.now_ms)
        while actions := actor.take_actions():
            for action in actions:
                match action:
                    case Start(assign):
                        self._begin(assign)
                    case Kill(key, _):
                        self._kill(key)
                    case Keep(report):
                        self._keep(report)
                    case Forget(report):
                        self.spool.forget([report])
                    case Leave(reason, _):
                        self.world.note(self.name, "leaves:", reason)
                        self.crash(1_000)
                        return
                    case Upload() | Welcomed():
                        pass
                if self.actor is not actor:
                    return
        out = actor.take_outbox()
        coordinator = self.coordinator
        if out and coordinator is not None:
            peer = self.peer
            for frame in frames(out):
                self.world.send(self.name, coordinator.name, functools.partial(coordinator.worker_says, peer, frame))

    def _begin(self, assign: Assign) -> None:
        key = (assign.attempt, assign.fence)
        self.starts.setdefault(key, []).append(self.boot)
        self.began(self, key)
        self.alive.add(key)
        self.world.note(self.name, "starts", *key)
        life = self.life
        took_ms = self.world.random.choice((5, 50, 300, 2_000, 9_000)) if self.misbehaves else 20
        self.world.after(took_ms, lambda: self._finish(life, key, assign))

    def _finish(self, life: int, key: Key, assign: Assign) -> None:
        if life == self.life and self.actor is not None and key in self.alive:
            self.alive.discard(key)
            self.actor.ended(self._outcome(assign))
            self._step()

    def _outcome(self, assign: Assign) -> Report:
        report = self.stub.report(assign)
        die = self.world.random.random() if self.misbehaves else 1.0
        if die < 0.08:
            return structs.replace(
                report, end=End.FAILED, error_class=ErrorClass.TRANSIENT, message="overloaded", result=None
            )
        if die < 0.11:
            again_ms = self.world.wall_ms + self.world.random.randint(100, 5_000)
            limited = ErrorClass.RATE_LIMIT
            return structs.replace(
                report, end=End.FAILED, error_class=limited, message="429", not_before_ms=again_ms, result=None
            )
        if die < 0.15 and report.result is not None:
            return structs.replace(report, result=structs.replace(report.result, output="not json"))
        if die < 0.22 and assign.agent.startswith("reviewer") and report.result is not None:
            blocker = {"severity": "blocking", "category": "logic", "message": f"no {self.world.random.randint(0, 9)}"}
            output = json.dumps({"outcome": "block", "summary": "", "findings": [blocker]})
            return structs.replace(report, result=structs.replace(report.result, output=output))
        return report

    def _kill(self, key: Key) -> None:
        life = self.life

        def dead() -> None:
            if life == self.life and self.actor is not None and key in self.alive:
                self.alive.discard(key)
                self.actor.vanished(key, guaranteed=True)
                self._step()

        self.world.after(self.world.random.randint(0, 200), dead)

    def _keep(self, report: Report) -> None:
        if self.misbehaves and self.world.chance(0.01):
            if self.world.chance(0.5):
                self.spool.keep([report])
            self.crash()
            return
        self.spool.keep([report])
        life, actor = self.life, self.actor

        def kept() -> None:
            if life == self.life and actor is not None and self.actor is actor:
                actor.kept(report, self.world.now_ms)
                self._step()

        self.world.after(self.world.random.randint(0, 3), kept)
