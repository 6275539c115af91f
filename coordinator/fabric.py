"""The coordinator's process: one plain ZeroMQ poll loop around `Core`, `Sessions` and `Desk`.

    drain every socket until EAGAIN → hear, tick → at most 64 requests: Core.turn, COMMIT → answers, assignments, pokes

No timer gathers requests: while one commit syncs, the next group gathers in the sockets. One frame a worker and round.
Nothing leaves before the turn that it speaks of is committed. When nothing can be written (a full disk), nothing is
acknowledged: clients are told, workers keep their reports, and the disk is tried again every second.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

import msgspec
import zmq

from loom.coordinator import api
from loom.coordinator.admission import admit
from loom.coordinator.assign import Assigner
from loom.coordinator.blobs import BlobFiles
from loom.coordinator.clock import Wall, boot_ms
from loom.coordinator.codec import encode_command
from loom.coordinator.core import GROUP
from loom.coordinator.desk import Desk
from loom.coordinator.endings import StaleReport
from loom.coordinator.errors import BlobMissing, StoreError
from loom.coordinator.home import Home
from loom.coordinator.inbox import Request, Slot, Turned
from loom.coordinator.local_workers import LocalWorkers
from loom.coordinator.opening import Opened
from loom.coordinator.roster import Timing
from loom.coordinator.sessions import Sessions
from loom.coordinator.side_sockets import Blobs, Context, Heartbeats, router
from loom.kernel.commands import EnrolPrincipal, KeepBundle, Submit
from loom.kernel.events import PrincipalEnrolled
from loom.workers.protocol import MAX_FRAME, Report, ToWorker, decode_from_worker, frames, split_attempt

DRAINED = 512
"""Frames read from one socket in one round at most."""
POLL_MS = 200
"""How long the loop sleeps at most: leases and slot locks are looked at so often."""
PROBE_MS = 1_000
"""How often a read-only coordinator tries to write."""
IDLE_EXIT_MS = 600_000
DUE_HOLDS_MS = 24 * 3_600_000
"""A wake or delayed attempt that is due within this time keeps the coordinator from leaving."""
DRAIN_MS = 30_000
"""How long the local workers may take to go when the coordinator was asked to take them with it."""
MAX_CLIENT_FRAME = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How this coordinator is to run. binds: more addresses for workers beside the ipc one; loopback only."""

    workers: int = 2
    slots: int = 4
    timing: Timing = field(default_factory=Timing)
    idle_exit_ms: int = IDLE_EXIT_MS
    stay: bool = False
    binds: tuple[str, ...] = ()
    worker_token: str = ""
    version: str = ""


class Fabric:
    """Runs a home until it is asked to leave or has nothing to do. `run` returns the exit code."""

    def __init__(self, home: Home, opened: Opened, options: Options, log: Callable[..., None]) -> None:
        self._home, self._options, self._log = home, options, log
        self.core, self._library = opened.core, opened.library
        self._files = BlobFiles(home.blobs)
        self._wall = Wall(self.core.head.now_ms)
        self._started_ms = boot_ms()
        self.sessions = self._make_sessions(opened)
        self.desk = Desk(opened.principals, has_blob=self._has_blob, describe=self._describe, log=log)
        self._locals = LocalWorkers(
            count=options.workers,
            slots=options.slots,
            folder=home.spool,
            logs=home.logs,
            endpoint=home.endpoint("control"),
            token_file=home.keys / "worker.token",
            secrets_file=home.path / "secrets.json",
            gone=self.sessions.gone,
            log=log,
        )
        self._inbox: deque[Request] = deque()
        self._read_only = ""
        self._probe_ms = 0
        self._seen_slots: tuple[Slot, ...] = ()
        self._busy_ms = self._started_ms
        self._draining_ms = -1
        self._code: int | None = None
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
        for address in self._options.binds:
            control.bind(address)
        self._control, self._client = control, client
        sides = self._sides()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(client, zmq.POLLIN)
        try:
            while self._code is None:
                ready = dict(poller.poll(0 if self._turn_is_due() else self._timeout_ms()))
                self.round(control in ready, client in ready)
        finally:
            for side in sides:
                side.close()
            self._locals.disown()
            client.close(linger=500)
            control.close(linger=500)
            self._context.term()
            self.core.store.close()
        return self._code

    def _sides(self) -> tuple[Heartbeats | Blobs, ...]:
        return (
            Heartbeats(self._context, self._home.endpoint("ping"), lambda ping: self.sessions.ping(ping, boot_ms())),
            Blobs(
                self._context,
                self._home.endpoint("blob"),
                folder=self._home.blobs,
                database=self._home.database,
                allowed=lambda token: self.sessions.knows(token) or self.desk.principals.of(token) is not None,
            ),
        )

    def round(self, control: bool, client: bool) -> None:
        """One round: what the sockets hold, at most one turn, and what it leads to."""
        mono_ms = boot_ms()
        if control:
            self._drain_control(mono_ms)
        if client:
            self._drain_client(mono_ms)
        self.sessions.tick(mono_ms)
        if self._draining_ms < 0:
            self._locals.look(mono_ms)
        self._inbox.extend(self.sessions.endings.take_requests())
        if self._turn_is_due():
            self._turn(mono_ms)
        self.desk.live(self.sessions.take_progress())
        self._keep_stale()
        self._send_to_workers()
        self._send_to_clients()
        self._maybe_leave(mono_ms)

    def _timeout_ms(self) -> int:
        due_ms = self.core.next_due_ms
        pace_ms = min(POLL_MS, max(1, self._options.timing.resend_ms // 8))
        return max(0, min(pace_ms, due_ms - self._wall.now_ms())) if due_ms else pace_ms

    def _drain_control(self, mono_ms: int) -> None:
        for _ in range(DRAINED):
            try:
                peer, frame = self._control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue  # not two frames: not a worker of ours
            try:
                messages = decode_from_worker(frame)
            except msgspec.MsgspecError as error:
                self._log("frame_refused", size=len(frame), error=str(error))
                continue
            self.sessions.hear(peer, messages, mono_ms)

    def _drain_client(self, mono_ms: int) -> None:
        for _ in range(DRAINED):
            try:
                peer, frame = self._client.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue
            request = self.desk.hear(peer, frame, mono_ms)
            if request is None:
                continue
            if self._read_only:
                self.desk.refuse(request.key, "read_only", self._read_only)
                continue
            if isinstance(request.command, Submit) and (keep := self._library.keep(request.command)):
                self._inbox.append(keep)
            self._inbox.append(request)

    # ------------------------------------------------------------------------------------------------- the turn

    def _turn_is_due(self) -> bool:
        if self._read_only and boot_ms() < self._probe_ms:
            return False
        due_ms = self.core.next_due_ms
        return bool(
            self._inbox
            or self._read_only
            or (due_ms and due_ms <= self._wall.now_ms())
            or (self.core.ready and self.sessions.slots() != self._seen_slots)
        )

    def _turn(self, mono_ms: int) -> None:
        group = [self._inbox.popleft() for _ in range(min(GROUP, len(self._inbox)))]
        if jumped_ms := self._wall.take_jump():
            self._log("clock_jumped", by_ms=jumped_ms)
        turned = self.core.turn(group, self.sessions.slots(), self._wall.now_ms())
        if turned.read_only:
            self._cannot_write(group, turned, mono_ms)
        elif self._read_only:
            self._log("writable_again")
            self._read_only = ""
        self._learn(group, turned)
        self.sessions.settle(turned, mono_ms)
        self.desk.settle(turned, mono_ms)
        self._inbox.extend(self.sessions.endings.take_requests())
        self._seen_slots = self.sessions.slots()
        if group or turned.granted:
            self._busy_ms = mono_ms

    def _cannot_write(self, group: list[Request], turned: Turned, mono_ms: int) -> None:
        """What was not committed is told to clients; workers' words wait here for the next try."""
        if not self._read_only:
            self._log("read_only", reason=turned.read_only)
        self._read_only, self._probe_ms = turned.read_only, mono_ms + PROBE_MS
        done = {reply.key for reply in turned.replies}
        waiting = [request for request in group if request.key not in done]
        kept = [r for r in (*waiting, *self._inbox) if not self.desk.refuse(r.key, "read_only", turned.read_only)]
        self._inbox = deque(kept)

    def _learn(self, group: list[Request], turned: Turned) -> None:
        """What committed commands about the home mean for the volatile side."""
        replies = {reply.key: reply.outcome for reply in turned.replies}
        for request in group:
            command = request.command
            if isinstance(command, KeepBundle | EnrolPrincipal) and replies.get(request.key) == "applied":
                if isinstance(command, KeepBundle):
                    self._library.kept(command)
                else:
                    enrolled = PrincipalEnrolled(command.principal, command.token_digest, command.labels)
                    self.desk.principals.learn(enrolled)

    def _keep_stale(self) -> None:
        stale = self.sessions.endings.take_stale()
        if not stale or self._read_only:
            return  # they come again
        try:
            self.core.store.begin()
            for one in stale:
                self._keep_orphan(one)
            self.core.store.commit()
        except StoreError as error:
            self.core.store.rollback()
            self._log("orphans_not_kept", error=str(error))
        else:
            self.sessions.endings.stored(stale)

    def _keep_orphan(self, one: StaleReport) -> None:
        try:
            task, spawn, number = split_attempt(one.report.attempt)
        except ValueError:
            task, spawn, number = "", one.report.attempt, 0
        command = encode_command(one.request.command) if one.request else msgspec.json.encode(one.report)
        for text in one.request.texts if one.request else ():
            self.core.store.put_text(text)
        self.core.store.orphan(
            now_ms=self._wall.now_ms(),
            task=task,
            spawn=spawn,
            attempt=number,
            fence=one.report.fence,
            worker=one.worker,
            reason=one.code,
            command=command,
        )

    # ------------------------------------------------------------------------------------------------- what goes out

    def _send_to_workers(self) -> None:
        for peer, messages in self.sessions.take_outbox().items():
            try:
                for frame in self._frames(messages):
                    self._control.send_multipart([peer, frame], zmq.NOBLOCK)
            except zmq.ZMQError as error:  # EHOSTUNREACH: gone; EAGAIN: does not read. It says Hello again
                self._log("worker_unreachable", error=str(error), messages=len(messages))
                self.sessions.unsent(peer, messages)

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
        if self.desk.leave is not None and not self._inbox:
            self._leave(mono_ms, workers=self.desk.leave.workers)
        elif not self._options.stay and mono_ms - self._busy_ms > self._options.idle_exit_ms:
            due_ms = self.core.next_due_ms
            held = bool(due_ms) and due_ms - self._wall.now_ms() < DUE_HOLDS_MS
            if not (held or self.core.ready or len(self.sessions.leases) or self.desk.watchers):
                self._log("leaving", reason="nothing to do")
                self._code = 0

    def _leave(self, mono_ms: int, *, workers: bool) -> None:
        if workers and self._draining_ms < 0:
            self._draining_ms = mono_ms
            self.sessions.drain("the coordinator was asked to leave with its workers")
        if not workers or not self._locals.alive() or mono_ms - self._draining_ms > DRAIN_MS:
            self._log("leaving", reason="asked to")
            self._code = 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._log("leaving", reason=signal.Signals(number).name)
        self._code = 0

    def _describe(self) -> dict[str, object]:
        return {
            "version": self._options.version,
            "epoch": self.sessions.epoch,
            "pid": os.getpid(),
            "home": str(self._home.path),
            "up_ms": boot_ms() - self._started_ms,
            "read_only": self._read_only,
            "next_seq": self.core.head.seq,
            "ready": self.core.ready,
            "due_ms": self.core.next_due_ms,
            "inbox": len(self._inbox),
            "leases": len(self.sessions.leases),
            "lease_ms": self._options.timing.lease_ms,
            "watchers": self.desk.watchers,
            "workers": self.sessions.describe(),
            "secrets": sorted(
                name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN")) and os.environ[name]
            ),
        }
