"""One round of the coordinator without its sockets: what was heard, at most one turn, what it leads to.

    hear_worker, hear_client → round: tick · at most 64 requests: Core.turn, COMMIT · answers, assignments, pokes → outboxes

The fabric puts sockets and processes around it, the simulator a virtual network and clock. Nothing stands in an outbox
before the turn that it speaks of is committed. When nothing can be written (a full disk), nothing is acknowledged: clients
are told, workers keep their reports, and the disk is tried again every second.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from loom.coordinator import waiting
from loom.coordinator.admission import held
from loom.coordinator.codec import encode_command
from loom.coordinator.core import COORDINATOR, GRANTS_PER_TURN, GROUP, Core
from loom.coordinator.desk import Desk
from loom.coordinator.endings import Peer, StaleReport
from loom.coordinator.errors import BlobError, LoomError, StoreConflict, StoreError, StoreRefused
from loom.coordinator.forking import with_origin
from loom.coordinator.guests import Guests
from loom.coordinator.inbox import Request, Slot, Turned
from loom.coordinator.library import Library
from loom.coordinator.machine import MachineSlots
from loom.coordinator.proof.batches import key_of
from loom.coordinator.proof.checking import ReportCheck
from loom.coordinator.roster import Enrolled
from loom.coordinator.sessions import Sessions
from loom.coordinator.waiting import Hands
from loom.kernel.commands import EnrolKey, EnrolPrincipal, KeepBundle, Submit
from loom.kernel.events import PrincipalEnrolled
from loom.kernel.values import PrincipalKind
from loom.kernel.work import Refused
from loom.workers.protocol import Hello, Malformed, decode_from_worker, split_attempt

PROBE_MS = 1_000
"""How often a read-only coordinator tries to write."""


class Rounds:
    """Core, sessions and desk, and the requests between them."""

    def __init__(
        self,
        core: Core,
        sessions: Sessions,
        desk: Desk,
        library: Library | None,
        log: Callable[..., None],
        machine: MachineSlots | None = None,
    ) -> None:
        """library: keeps the bundles of new tasks (None: they are kept already). machine: what is shared with other homes."""
        self.core, self.sessions, self.desk, self.machine = core, sessions, desk, machine
        core.shared = machine
        core.near = sessions.roster.near
        self._library, self._log = library, log
        self.guests: Guests | None = None
        """Workers on other hosts (None: this coordinator listens to none)."""
        self.inbox: deque[Request] = deque()
        self.signatures = ReportCheck(log)
        self.read_only = ""
        self._probe_ms = 0
        self._seen_slots: tuple[Slot, ...] = ()
        self.busy_ms = 0
        """When the last turn did something."""

    def hear_far(self, peer: Peer, key: str, frame: bytes, mono_ms: int) -> None:
        """One frame of the control door, from the holder of this key."""
        if self.guests is not None and (enrolled := self.guests.who(peer, key)):
            self.hear_worker(peer, frame, mono_ms, enrolled)

    def hear_worker(self, peer: Peer, frame: bytes, mono_ms: int, enrolled: Enrolled | None = None) -> None:
        """One frame of the control socket; what is none of the protocol is logged and left out."""
        try:
            messages = decode_from_worker(frame)
        except Malformed as error:
            self._log("frame_refused", size=len(frame), error=str(error))
        else:
            self.sessions.hear(peer, messages, mono_ms, enrolled)
            if messages and type(messages[0]) is Hello:
                self._enrol_key(peer, messages[0])

    def _enrol_key(self, peer: Peer, hello: Hello) -> None:
        """The key of a worker that was let in goes on record, once."""
        session = self.sessions.roster.at(peer)
        known = dict(self.core.head.home.hands)
        boot = session.hello.boot if session else ""
        if boot != hello.boot or not hello.key or hello.key in known or self.read_only:
            return
        if hello.key in self.core.head.home.revoked or not key_of(hello.key, hello.worker):
            self._log("worker_key_refused", worker=hello.worker)
            return
        command = EnrolKey(principal=hello.worker, kind=PrincipalKind.WORKER, key=hello.key)
        self.inbox.append(Request(f"key:{hello.key}", COORDINATOR, "", command))

    def hear_client(self, peer: Peer, frame: bytes, mono_ms: int) -> None:
        """One message of a client."""
        request = self.desk.hear(peer, frame, mono_ms)
        if request is None:
            return
        if self.read_only:
            self.desk.refuse(request.key, "read_only", self.read_only)
            return
        try:
            request = with_origin(self.core.store, request)
        except Refused as refusal:
            self.desk.refuse(request.key, refusal.code, refusal.sentence)
            return
        if isinstance(request.command, Submit) and self._library and (keep := self._library.keep(request.command)):
            self.inbox.append(keep)
        self.inbox.append(request)

    def hear_enrol(self, peer: Peer, key: str, frame: bytes, mono_ms: int) -> None:
        """One message of the enrol door."""
        if self.guests is not None and not self.read_only and (asked := self.guests.ask(peer, key, frame, mono_ms)):
            self.inbox.append(asked)

    def due(self, mono_ms: int, now_ms: int) -> bool:
        """Whether a turn has something to do."""
        if self.read_only and mono_ms < self._probe_ms:
            return False
        due_ms = self.core.next_due_ms
        return bool(
            self.inbox
            or self.read_only
            or (due_ms and due_ms <= now_ms)
            or (self.core.ready and self.sessions.slots() != self._seen_slots)
            or (self.core.ready and self.machine is not None and self.machine.asks_again(mono_ms))
        )

    def round(self, mono_ms: int, now_ms: int) -> None:
        """At most one turn; call `due` to know whether another one waits."""
        self.sessions.tick(mono_ms)
        self.inbox.extend(self.sessions.endings.take_requests())
        if self.due(mono_ms, now_ms):
            self._turn(mono_ms, now_ms)
        self.desk.live(self.sessions.take_progress())
        self._keep_stale(now_ms)

    def queue(self, now_ms: int, task: str = "") -> dict[str, Any]:
        """What waits and why, for people: by group, or each attempt of one task."""
        machine = self.machine
        hands = Hands.of(
            self.sessions.roster.there(), self.sessions.slots(), machine_full=machine is not None and machine.waits
        )
        found: dict[str, Any] = {"ready": self.core.ready, "machine": None}
        if machine is not None:
            found["machine"] = {"size": machine.size, "held": machine.held, "waits": machine.waits}
        if task:
            found["attempts"] = waiting.of_task(self.core.queue, task, hands, now_ms)
        else:
            found["groups"] = waiting.groups(self.core.queue, hands, now_ms)
        return found

    def _turn(self, mono_ms: int, now_ms: int) -> None:
        group = [self.inbox.popleft() for _ in range(min(GROUP, len(self.inbox)))]
        if self.machine is not None:
            self.machine.begin(self._at_work_here(), mono_ms)
        turned = self.core.turn(group, self.sessions.slots(), now_ms)
        if turned.read_only:
            self._cannot_write(group, turned, mono_ms)
        elif self.read_only:
            self._log("writable_again")
            self.read_only = ""
        self._learn(group, turned)
        self.signatures.take(group, turned.replies)
        self.sessions.settle(turned, mono_ms)
        self.desk.settle(turned, mono_ms)
        if self.guests is not None:
            self.guests.settle(turned)
        self.inbox.extend(self.sessions.endings.take_requests())
        if self.machine is not None:
            self.machine.settle(self._at_work_here())
        full = turned.unplaced or len(turned.granted) >= GRANTS_PER_TURN
        self._seen_slots = () if full else self.sessions.slots()
        if group or turned.granted:
            self.busy_ms = mono_ms

    def _at_work_here(self) -> int:
        """Attempts at work on this machine; those of workers that were not heard of yet are counted in."""
        leases = self.sessions.leases
        away = (leases.counts(session.hello.worker)[0] for session in self.sessions.roster if session.remote)
        return leases.occupied - sum(away)

    def _cannot_write(self, group: list[Request], turned: Turned, mono_ms: int) -> None:
        """What was not committed is told to clients; workers' words wait here for the next try."""
        if not self.read_only:
            self._log("read_only", reason=turned.read_only)
        self.read_only, self._probe_ms = turned.read_only, mono_ms + PROBE_MS
        done = {reply.key for reply in turned.replies}
        waiting = [request for request in group if request.key not in done]
        kept = [r for r in (*waiting, *self.inbox) if not self.desk.refuse(r.key, "read_only", turned.read_only)]
        self.inbox = deque(kept)

    def _learn(self, group: list[Request], turned: Turned) -> None:
        """What committed commands about the home mean for the volatile side."""
        replies = {reply.key: reply.outcome for reply in turned.replies}
        for request in group:
            command = request.command
            if isinstance(command, KeepBundle | EnrolPrincipal) and replies.get(request.key) == "applied":
                if isinstance(command, KeepBundle):
                    if self._library is not None:
                        self._library.kept(command)
                else:
                    enrolled = PrincipalEnrolled(command.principal, command.token_digest, command.labels)
                    self.desk.principals.learn(enrolled)

    def _keep_stale(self, now_ms: int) -> None:
        stale = self.sessions.endings.take_stale()
        if not stale or self.read_only:
            return  # they come again
        try:
            self._keep_orphans(stale, now_ms)
        except (StoreConflict, StoreRefused):
            for one in stale:  # so that the culprit is left out, and nobody else
                self._keep_alone(one, now_ms)
        except StoreError as error:  # the disk: they come again
            self._log("orphans_not_kept", error=str(error))
        else:
            self.sessions.endings.stored(stale)

    def _keep_alone(self, one: StaleReport, now_ms: int) -> None:
        try:
            self._keep_orphans((one,), now_ms)
        except (StoreConflict, StoreRefused) as error:  # it would be refused every time
            self._log("orphan_dropped", worker=one.worker, attempt=one.report.attempt, error=str(error))
        except StoreError as error:
            self._log("orphans_not_kept", error=str(error))
            return
        self.sessions.endings.stored((one,))

    def _keep_orphans(self, stale: Iterable[StaleReport], now_ms: int) -> None:
        self.core.store.begin()
        try:
            for one in stale:
                self._keep_orphan(one, now_ms)
            self.core.store.commit()
        except BaseException:
            self.core.store.rollback()
            raise

    def _keep_orphan(self, one: StaleReport, now_ms: int) -> None:
        try:
            task, spawn, number = split_attempt(one.report.attempt)
        except ValueError:
            task, spawn, number = "", one.report.attempt, 0
        for text in one.request.texts if one.request else ():
            try:
                self.core.store.put_text(text)
            except (
                BlobError,
                StoreConflict,
                ValueError,
            ) as error:  # it is not what its id names: the row is kept without
                self._log("orphan_text_dropped", worker=one.worker, attempt=one.report.attempt, error=str(error))
        self.core.store.orphan(
            now_ms=now_ms,
            task=task,
            spawn=spawn,
            attempt=held(number),
            fence=held(one.report.fence),
            worker=one.worker,
            reason=one.code,
            command=_asked(one),
        )


def _asked(one: StaleReport) -> bytes:
    """The command that a report would have been; the report itself where it makes none."""
    if one.request is not None:
        with contextlib.suppress(LoomError):
            return encode_command(one.request.command)
    return msgspec.json.encode(one.report)
