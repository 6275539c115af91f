"""The coordinator's process: one plain ZeroMQ poll loop around `Rounds`.

    drain every socket until EAGAIN → one round: at most 64 requests in one transaction → send what it led to

No timer gathers requests: while one commit syncs, the next group gathers in the sockets. One frame a worker and round.
Heartbeats and large texts have threads and sockets of their own; local workers are processes of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import zmq

from loom.coordinator import api, orphans
from loom.coordinator.admission import admit
from loom.coordinator.assign import Assigner
from loom.coordinator.blobs import BlobFiles
from loom.coordinator.board import Board
from loom.coordinator.clock import Wall, boot_ms
from loom.coordinator.desk import Desk
from loom.coordinator.doors import FAR, Address, Doors, is_far, server_key
from loom.coordinator.endings import Peer
from loom.coordinator.enrolment import Enrolment
from loom.coordinator.errors import BlobMissing, HomeExposed
from loom.coordinator.guests import Guests
from loom.coordinator.home import Home, runtime_folder
from loom.coordinator.inbox import Request
from loom.coordinator.lending import GitServer, Lending, Tickets, git_secret
from loom.coordinator.local_workers import LocalWorkers
from loom.coordinator.machine import MACHINE_FOLDER, MAX_SIZE, OFF, MachineSlots, usual_size
from loom.coordinator.opening import Opened
from loom.coordinator.roster import Ends, Timing
from loom.coordinator.rounds import Rounds
from loom.coordinator.sessions import Sessions
from loom.coordinator.side_sockets import Blobs, Context, Heartbeats, Side, router
from loom.kernel.state import HomeState
from loom.workers.protocol import MAX_FRAME, Report, ToWorker, encode_enrol, frames, split_attempt

DRAINED, ENROLS = 512, 16
"""Frames read from one socket in one round at most."""
POLL_MS = 200
"""How long the loop sleeps at most: leases and slot locks are looked at so often."""
IDLE_EXIT_MS = 600_000
DUE_HOLDS_MS = 24 * 3_600_000
"""A wake or delayed attempt that is due within this time keeps the coordinator from leaving."""
DRAIN_MS = 30_000
"""How long the local workers may take to go when the coordinator was asked to take them with it."""
MAX_CLIENT_FRAME = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How this coordinator is to run. listen: where workers on other hosts come in (None: nowhere)."""

    workers: int = 2
    slots: int = 4
    machine_slots: int = 0
    """Slots that all homes on this machine share (0: the usual number; OFF: not shared)."""
    machine_folder: Path | None = None
    """Where their locks are (None: in the user's runtime directory)."""
    timing: Timing = field(default_factory=Timing)
    idle_exit_ms: int = IDLE_EXIT_MS
    stay: bool = False
    listen: Address | None = None
    labels: tuple[str, ...] = ()
    """Of the workers that it starts."""
    worker_token: str = ""
    version: str = ""


class Fabric:
    """Runs a home until it is asked to leave or has nothing to do. `run` returns the exit code."""

    def __init__(self, home: Home, opened: Opened, options: Options, log: Callable[..., None]) -> None:
        self._home, self._options, self._log = home, options, log
        self.core, self._library, self._notary = opened.core, opened.library, opened.notary
        self._cold = True
        self._files = BlobFiles(home.blobs)
        self._wall = Wall(self.core.head.now_ms, time.time_ns() // 1_000_000, boot_ms())
        self._started_ms = boot_ms()
        self.sessions = self._make_sessions(opened)
        self.desk = Desk(
            opened.principals,
            has_blob=self._has_blob,
            describe=self._describe,
            log=log,
            complete=lambda take: orphans.completed(self.core.store, take),
        )
        self._locals = LocalWorkers(
            count=options.workers,
            slots=options.slots,
            folder=home.spool,
            logs=home.logs,
            endpoint=home.endpoint("control"),
            token_file=home.keys / "worker.token",
            secrets_file=home.path / "secrets.json",
            labels=options.labels,
            gone=self.sessions.gone,
            log=log,
        )
        self.rounds = Rounds(self.core, self.sessions, self.desk, self._library, log, self._machine())
        self.rounds.busy_ms = self._started_ms
        self._board = Board(home.run, lambda: self.rounds.queue(self._wall.now_ms()))
        self._draining_ms = -1
        self._code: int | None = None
        self._doors: Doors | None = None
        self._git: GitServer | None = None
        self._context: Context = zmq.Context()

    def _make_sessions(self, opened: Opened) -> Sessions:
        assigner = Assigner(
            rules=self.core.rules,
            home=lambda: self.core.head.home,
            text=self.core.store.text,
            repositories=self._home.repos,
            lease_ms=self._options.timing.lease_ms,
        )
        return Sessions(
            epoch=opened.epoch,
            secret=os.urandom(32),
            token=self._options.worker_token,
            assign=assigner,
            admit=self._admit,
            has_blob=self._has_blob,
            timing=self._options.timing,
            blob_endpoint=self._home.endpoint("blob"),
            ping_endpoint=self._home.endpoint("ping"),
            log=self._log,
        )

    def _machine(self) -> MachineSlots | None:
        """The slots that this home shares with others. One that has more of its own uses those that no other looks at."""
        wanted = self._options.machine_slots
        if wanted == OFF:
            return None
        size = min(MAX_SIZE, wanted or max(usual_size(), self._options.workers * self._options.slots))
        try:
            folder = self._options.machine_folder or runtime_folder(MACHINE_FOLDER)
            return MachineSlots(folder, self._home.digest, size)
        except (OSError, HomeExposed) as error:
            self._log("machine_not_shared", error=str(error))
            return None

    def _admit(self, report: Report, worker: str) -> Request:
        """The request of a report, read by the rules of its task. Raises ValueError."""
        task_id, spawn, _ = split_attempt(report.attempt)
        task = self.core.task(task_id)
        agents = self.core.rules(task.spec.rules_digest).agents if task else {}
        return admit(report, worker, agents.get(spawn.rpartition("/")[2]))

    def _has_blob(self, identifier: str) -> bool:
        try:
            return self._files.has(identifier)
        except BlobMissing:
            return False

    # ------------------------------------------------------------------------------------------------- the loop

    def run(self) -> int:
        """Until asked to leave, or idle for long."""
        self.sessions.adopt(self.core.running(), boot_ms())
        control = router(self._context, self._home.endpoint("control"), max_bytes=MAX_FRAME)
        client = router(self._context, self._home.endpoint("client"), max_bytes=MAX_CLIENT_FRAME)
        self._control, self._client = control, client
        doors = self._doors = self._open_doors() if self._options.listen else None
        sides = self._sides(doors)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(client, zmq.POLLIN)
        for socket in (doors.control, doors.enrol) if doors else ():
            poller.register(socket, zmq.POLLIN)
        try:
            while self._code is None:
                ready = dict(poller.poll(self._timeout_ms()))
                self._round(control in ready, client in ready)
                if not ready:
                    self._cold = self._cold and self._library.warm()
                    self.rounds.signatures.look(self.core.head.home)
        finally:
            for side in sides:
                side.close()
            self._board.take_down()
            self._locals.disown()
            if self.rounds.machine is not None:
                self.rounds.machine.close()
            for opened in (doors, self._git):
                if opened is not None:
                    opened.close()
            client.close(linger=500)
            control.close(linger=500)
            self._context.term()
            self._notary.sign(self.core.head.edge, self._wall.now_ms())
            self.core.store.close()
        return self._code

    def _open_doors(self) -> Doors:
        assert self._options.listen is not None
        key = server_key(self._home.keys)
        doors = Doors(self._context, self._options.listen, key, self._log)
        self.sessions.far = Ends(blob=doors.endpoint("blob"), ping=doors.endpoint("ping"))
        self._git = GitServer(doors.address, self._home, self._log)
        lending = Lending(git_secret(self._home.keys), self.sessions.leases.get, self._git)
        self.sessions.lend, self._open_token = lending.lend, lending.open

        def home() -> HomeState:
            return self.core.head.home

        self.rounds.guests = Guests(
            sessions=self.sessions,
            enrolment=Enrolment(home=home, control=doors.endpoint("control"), log=self._log),
            home=home,
            admit=doors.gatekeeper.admit,
            log=self._log,
        )
        self._log("listening", host=doors.address.host, port=doors.port("control"), enrol=doors.port("enrol"))
        return doors

    def _sides(self, doors: Doors | None) -> tuple[Side, ...]:
        tickets = (
            (Tickets(self._context, self._home.endpoint("tickets"), self._open_token, self._log),) if doors else ()
        )
        return (
            *tickets,
            Heartbeats(
                self._context,
                self._home.endpoint("ping"),
                lambda ping: self.sessions.ping(ping, boot_ms()),
                self._log,
                doors.ping if doors else None,
            ),
            Blobs(
                self._context,
                self._home.endpoint("blob"),
                folder=self._home.blobs,
                database=self._home.database,
                allowed=lambda token: self.sessions.knows(token) or self.desk.principals.of(token) is not None,
                log=self._log,
                far=doors.blob if doors else None,
            ),
        )

    def _round(self, control: bool, client: bool) -> None:
        """What the sockets hold, at most one turn, and what it leads to."""
        mono_ms = boot_ms()
        if control:
            self._drain(self._control, self.rounds.hear_worker, mono_ms)
        if client:
            self._drain(self._client, self.rounds.hear_client, mono_ms)
        if self._doors is not None:
            self._hear_guests(self._doors, mono_ms)
        if self._draining_ms < 0:
            self._locals.look(mono_ms)
        now_ms = self._wall.now_ms()
        if jumped_ms := self._wall.take_jump():
            self._log("clock_jumped", by_ms=jumped_ms)
        self.rounds.round(mono_ms, now_ms)
        self._send_to_workers()
        self._send_to_clients()
        self._notary.look(self.core.head.edge, mono_ms, now_ms)
        if self._doors is not None:
            self._send_to_askers(self._doors)
        self._board.look(mono_ms)
        self._maybe_leave(mono_ms)

    def _timeout_ms(self) -> int:
        if self.rounds.due(boot_ms(), self._wall.now_ms()):
            return 0
        due_ms = self.core.next_due_ms
        pace_ms = min(POLL_MS, max(1, self._options.timing.resend_ms // 8))
        return max(0, min(pace_ms, due_ms - self._wall.now_ms())) if due_ms else pace_ms

    def _drain(self, socket: zmq.Socket[bytes], hear: Callable[[Peer, bytes, int], None], mono_ms: int) -> None:
        for _ in range(DRAINED):
            try:
                peer, frame = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue  # not two frames: nobody of ours
            hear(peer, frame, mono_ms)

    def _hear_guests(self, doors: Doors, mono_ms: int) -> None:
        for peer, key, frame in doors.hear(doors.control, DRAINED):
            self.rounds.hear_far(peer, key, frame, mono_ms)
        for peer, key, frame in doors.hear(doors.enrol, ENROLS):
            self.rounds.hear_enrol(peer, key, frame, mono_ms)
        doors.look()
        if self._git is not None:
            self._git.look(mono_ms)

    # ------------------------------------------------------------------------------------------------- what goes out

    def _send_to_workers(self) -> None:
        for peer, messages in self.sessions.take_outbox().items():
            try:
                for frame in self._frames(messages):
                    self._send(peer, frame)
            except zmq.ZMQError as error:  # EHOSTUNREACH: gone; EAGAIN: does not read. It says Hello again
                self._log("worker_unreachable", error=str(error), messages=len(messages))
                self.sessions.unsent(peer, messages)

    def _send(self, peer: Peer, frame: bytes) -> None:
        if is_far(peer) and self._doors is not None:
            self._doors.control.send_multipart([peer[len(FAR) :], frame], zmq.NOBLOCK)
        else:
            self._control.send_multipart([peer, frame], zmq.NOBLOCK)

    def _send_to_askers(self, doors: Doors) -> None:
        assert self.rounds.guests is not None
        for peer, message in self.rounds.guests.enrolment.take_outbox():
            with contextlib.suppress(zmq.ZMQError):  # gone; it asks again, with the same key
                doors.enrol.send_multipart([peer[len(FAR) :], encode_enrol(message)], zmq.NOBLOCK)

    def _frames(self, messages: list[ToWorker]) -> list[bytes]:
        try:
            return frames(messages)
        except ValueError as error:
            self._log("frame_too_long", error=str(error))
            return [frame for message in messages for frame in self._frames_of_one(message)]

    def _frames_of_one(self, message: ToWorker) -> list[bytes]:
        try:
            return frames([message])
        except ValueError as error:
            self.sessions.too_long(message, str(error))
            return []

    def _send_to_clients(self) -> None:
        for peer, message in self.desk.take_outbox():
            try:
                self._client.send_multipart([peer, api.encode(message)], zmq.NOBLOCK)
            except zmq.ZMQError:
                self.desk.gone(peer)  # it asks again, with the same key, if it still wants to know

    # ----------------------------------------------------------------------------------------------------- leaving

    def _maybe_leave(self, mono_ms: int) -> None:
        if self.desk.leave is not None and not self.rounds.inbox:
            self._leave(mono_ms, workers=self.desk.leave.workers)
        elif not self._options.stay and mono_ms - self.rounds.busy_ms > self._options.idle_exit_ms:
            due_ms = self.core.next_due_ms
            held = bool(due_ms) and due_ms - self._wall.now_ms() < DUE_HOLDS_MS
            if not (held or self.core.ready or len(self.sessions.leases) or self.desk.watchers):
                self._log("leaving", reason="nothing to do")
                self._code = 0

    def _leave(self, mono_ms: int, *, workers: bool) -> None:
        if workers:
            self._draining_ms = mono_ms if self._draining_ms < 0 else self._draining_ms
            # In each round: a worker that was just being started says Hello after the wish to leave.
            self.sessions.drain("the coordinator was asked to leave with its workers")
        if not workers or not self._locals.alive() or mono_ms - self._draining_ms > DRAIN_MS:
            self._log("leaving", reason="asked to")
            self._code = 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._log("leaving", reason=signal.Signals(number).name)
        self._code = 0

    def _describe(self, task: str = "") -> dict[str, object]:
        return {
            "version": self._options.version,
            "epoch": self.sessions.epoch,
            "pid": os.getpid(),
            "home": str(self._home.path),
            "up_ms": boot_ms() - self._started_ms,
            "read_only": self.rounds.read_only,
            "next_seq": self.core.head.seq,
            "ready": self.core.ready,
            "queue": self.rounds.queue(self._wall.now_ms(), task),
            "due_ms": self.core.next_due_ms,
            "inbox": len(self.rounds.inbox),
            "leases": len(self.sessions.leases),
            "lease_ms": self._options.timing.lease_ms,
            "watchers": self.desk.watchers,
            "workers": self.sessions.describe(),
            "listen": self._doors.describe(self._git.port) if self._doors and self._git else {},
            "enrolled": [{"worker": each.worker, "labels": list(each.labels)} for each in self.core.head.home.workers],
            "secrets": sorted(
                name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN")) and os.environ[name]
            ),
        }
