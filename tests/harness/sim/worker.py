"""A worker's process in the simulator: what its loop does around the real `Actor`; its spool outlives it.

It dies before and after everything that it makes durable or sends. Not here: sockets, threads, executors, sandboxes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from harness.sim.coordinator import LEASE_MS, NAME, PING_MS, TOKEN
from harness.sim.disk import Crash, Holder
from harness.sim.hands import Hands
from harness.sim.witness import Witness
from harness.sim.world import World
from loom.workers.actions import Forget, Keep, Kill, Leave, Start, Upload, Welcomed
from loom.workers.actor import Actor
from loom.workers.protocol import (
    Assign,
    Committed,
    Duplicate,
    Hello,
    Nack,
    Ping,
    Pong,
    Report,
    Stale,
    decode_to_worker,
    encode,
    frames,
)
from loom.workers.spool import MemorySpool
from loom.workers.stub import Stub

if TYPE_CHECKING:
    from harness.sim.coordinator import CoordinatorNode

KEEP_AGAIN_MS = 500
"""A full disk is tried again after this time, as the loop does."""
UPLOAD_MS = LEASE_MS // 2
"""How long an upload takes to give up."""
DEATHS = ("before keeping", "after keeping", "before sending", "after sending")


class WorkerNode:
    """One process after the other under one name. `name` is the node's, `worker` what it calls itself."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        worker: str,
        slots: int,
        watched: bool,
        hands: Hands,
        coordinator: CoordinatorNode,
    ) -> None:
        self.world, self.name, self.worker, self.slots, self.hands = world, name, worker, slots, hands
        self.watched = watched
        """The coordinator sees at once that it died."""
        self.coordinator = coordinator
        self.witness: Witness = coordinator.witness
        self.spool = MemorySpool()
        self.alive: set[Holder] = set()
        """Attempts that something is at work on."""
        self.excused: set[Holder] = set()
        """Those of them that went on while nothing could stop them: the process was suspended."""
        self.actor: Actor | None = None
        self.boot = ""
        self.life = self.connections = 0
        self.closed_loudly = True
        """Whether the coordinator's system knows that the last connection is gone."""
        self.dies = ""
        """Where the process is to die: one of DEATHS."""
        self.spool_full = self.loses_texts = False
        self.stays_away = False
        """Does not come back after it ended."""
        self._unkept: list[Report] = []
        self._draw = world.stream(f"worker {name}")

    @property
    def peer(self) -> bytes:
        return f"{self.name}/{self.connections}".encode()

    # ------------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """A new process with the spool of the last one."""
        if self.actor is not None or self.stays_away:
            return
        self.life += 1
        self.connections += 1
        self.boot = f"{self.name}.{self.life}"
        hello = Hello(worker=self.worker, boot=self.boot, low=1, high=1, host="sim", slots=self.slots, token=TOKEN)
        self.actor = Actor(hello, self.spool.reports(), self.world.now_ms)
        self._stub = Stub({}, boot=self.boot, host="sim")
        self._unkept = []
        self.dies = ""
        self.world.note(self.name, "is up, spooled", len(self.spool.reports()))
        self._poll(self.life)
        self._ping(self.life, 1)

    def crash(self, why: str = "", wait_ms: int = 0) -> None:
        """Gone with all that it ran; what its spool has stays."""
        if self.actor is None:
            return
        self.world.note(self.name, "dies", why, "running", len(self.alive))
        self.actor = None
        self.alive.clear()
        self.excused.clear()
        self.closed_loudly = self._draw.random() < 0.7
        if self.watched:
            self.world.after(self._draw.randint(50, 1_500), lambda: self.coordinator.worker_died(self), NAME)
        self.world.after(wait_ms or self._draw.randint(10, 8_000), self.start)

    def connection_lost(self, *, noticed: bool) -> None:
        """It is made again; now and then nobody here notices (half open)."""
        if self.actor is not None:
            self.connections += 1
            self.closed_loudly = True
            if noticed:
                self.actor.reconnected(self.world.now_ms)

    def suspend(self, length_ms: int) -> None:
        """Nothing of it moves; what it runs may go on elsewhere, and nobody can stop it."""
        self.world.note(self.name, "is suspended for", length_ms, "ms")
        self.world.freeze(self.name, length_ms)
        self.excused |= self.alive

    # ------------------------------------------------------------------------------------------------- the loop

    def _poll(self, life: int) -> None:
        if life == self.life and self.actor is not None:
            self._step()
            if self.actor is not None:
                self.world.after(self.actor.pace_ms, lambda: self._poll(life), self.name)

    def _ping(self, life: int, sequence: int) -> None:
        if life != self.life or self.actor is None:
            return
        if self.actor.session:
            frame = encode([Ping(session=self.actor.session, sequence=sequence)])
            self.world.send(self.name, NAME, frame, lambda: self.coordinator.pinged(self, frame))
        self.world.after(PING_MS, lambda: self._ping(life, sequence + 1), self.name)

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
        """A frame of the control socket; `peer`: the connection that it came over."""
        if self.actor is None or peer != self.peer:
            return
        messages = decode_to_worker(frame)
        for message in messages:
            if isinstance(message, Committed | Duplicate | Stale):
                holder = (message.attempt, message.fence)
                self.witness.told.append((self.worker, type(message).__name__, holder))
        self.actor.hear(messages, self.world.now_ms)
        self._step()

    def _step(self) -> None:
        actor = self.actor
        if actor is None:
            return
        try:
            actor.tick(self.world.now_ms)
            self._carry_out(actor)
            if self.actor is actor:
                self._send(actor)
        except Crash:
            self.crash(self.dies)
        except Exception as error:
            self.witness.died(self.name, error)
            self.crash()

    def _carry_out(self, actor: Actor) -> None:
        while actions := actor.take_actions():
            for action in actions:
                match action:
                    case Start(assign):
                        self._begin(assign)
                    case Kill(key, _):
                        self._kill(key)
                    case Keep(report):
                        self._unkept.append(report)
                        self._keep(actor)
                    case Forget(report):
                        self.spool.forget([report])
                    case Upload(report):
                        self._upload(report)
                    case Leave(reason, _):
                        self.crash(f"in order: {reason};", 1_000)
                        return
                    case Welcomed():
                        pass

    def _send(self, actor: Actor) -> None:
        out = actor.take_outbox()
        if not out:
            return
        self._may_die("before sending")
        peer = self.peer
        for frame in frames(out):
            deliver = functools.partial(self.coordinator.worker_says, peer, frame)
            self.world.send(self.name, NAME, frame, deliver)
        self._may_die("after sending")

    def _may_die(self, where: str) -> None:
        if self.dies == where:
            raise Crash

    # ------------------------------------------------------------------------------------------------- attempts

    def _begin(self, assign: Assign) -> None:
        key = (assign.attempt, assign.fence)
        self.world.note(self.name, "begins", f"{key[0]}:{key[1]}")
        self.witness.begins(self, key)
        self.alive.add(key)
        life = self.life
        self.world.after(self.hands.takes_ms(), lambda: self._finish(life, key, assign), self.name)

    def _finish(self, life: int, key: Holder, assign: Assign) -> None:
        if life == self.life and self.actor is not None and key in self.alive:
            self._rest(key)
            report = self.hands.report(self._stub, assign, self.spool)
            self.world.note(self.name, "ends", f"{key[0]}:{key[1]}", report.end.value, report.error_class.value)
            self.actor.ended(report)
            self._step()

    def _kill(self, key: Holder) -> None:
        life = self.life

        def dead() -> None:
            if life == self.life and self.actor is not None and key in self.alive:
                self._rest(key)
                self.world.note(self.name, "killed", f"{key[0]}:{key[1]}")
                self.actor.vanished(key, guaranteed=True)
                self._step()

        self.world.after(self._draw.randint(0, 200), dead, self.name)

    def _rest(self, key: Holder) -> None:
        self.alive.discard(key)
        self.excused.discard(key)

    # ------------------------------------------------------------------------------------------ spool and uploads

    def _keep(self, actor: Actor) -> None:
        """All that is not durable yet, in one fsync; a full disk is tried again."""
        life = self.life
        if self.spool_full:
            self.world.note(self.name, "cannot keep a report: the disk is full")
            self.world.after(KEEP_AGAIN_MS, lambda: self._keep_again(life), self.name)
            return
        self._may_die("before keeping")
        self.spool.keep(self._unkept)
        self._may_die("after keeping")
        kept, self._unkept = self._unkept, []
        for report in kept:
            actor.kept(report, self.world.now_ms)

    def _keep_again(self, life: int) -> None:
        if life == self.life and self.actor is not None and self._unkept:
            try:
                self._keep(self.actor)
            except Crash:
                self.crash(self.dies)
            self._step()

    def _upload(self, report: Report) -> None:
        """Over the blob socket: it takes a while, and finds nobody when the coordinator is away or cut off."""
        life, quick_ms = self.life, self._draw.randint(5, 80)
        cut = {self.name, NAME} & (self.world.cut | self.world.deaf | self.world.mute)
        away = cut or self.coordinator.rounds is None

        def done() -> None:
            actor = self.actor
            if life != self.life or actor is None:
                return
            brought = not away and all(self._bring(text.id, text.salt) for text in report.texts)
            actor.uploaded(report, self.world.now_ms, done=brought)
            self._step()

        self.world.after(UPLOAD_MS if away else quick_ms, done, self.name)

    def _bring(self, identifier: str, salt: bytes) -> bool:
        try:
            data = self.spool.text(identifier)
        except KeyError:
            return False  # its report was answered meanwhile
        if self.loses_texts and self._draw.random() < 0.5:
            self.world.note(NAME, "loses the text", identifier[:8], "that it took")
            return True
        return self.coordinator.keep_text(identifier, salt, data)
