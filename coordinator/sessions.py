"""Sessions of workers: what they said, what they hold, what to tell them. No socket, no clock, no thread.

The fabric (or the simulator) hears frames and asks for the time; this object answers with requests for the next turn,
free slots for the scheduler, and messages to send. The order of one round is always the same:

    hear(…), tick(mono_ms) → take_requests() → Core.turn → COMMIT → settle(turned) → store take_stale() → stored(…)
    → take_outbox() → send

so nothing is acknowledged or assigned before it is durable. Every message may be lost, doubled, late or out of order:
assignments and stops are sent again until answered, reports are answered every time they come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import assert_never

from loom.coordinator.endings import Endings, Peer
from loom.coordinator.errors import LoomError
from loom.coordinator.inbox import Granted, Halt, Request, Slot, Turned
from loom.coordinator.leases import Key, Lease, Leases, boot_of
from loom.coordinator.roster import Ends, Enrolled, Roster, Session, Timing
from loom.kernel.values import End, ErrorClass
from loom.workers.protocol import (
    PINGS_MISSED,
    Accepted,
    Assign,
    Credit,
    Declined,
    Drain,
    Fenced,
    FromWorker,
    Goodbye,
    Hello,
    Nack,
    Ping,
    Pong,
    Progress,
    Refused,
    Renew,
    Renewed,
    Report,
    Stop,
    Stopped,
    ToWorker,
    Welcome,
    attempt_id,
)

STOP_HARD_MS = 10_000
"""A polite Stop becomes a hard one after this time."""
DEAF_MS = 3_000
"""A gap between two ticks that is longer means that nothing could be heard: full leases again."""
ASSIGN_TRIES = 5
"""An assignment is sent so often at most; then its lease runs out, unless the worker says Hello."""
PROGRESS_KEPT = 1_000


class Sessions:
    """The volatile side of the workers."""

    def __init__(
        self,
        *,
        epoch: int,
        secret: bytes,
        token: str,
        assign: Callable[[Granted], Assign],
        admit: Callable[[Report, str], Request],
        has_blob: Callable[[str], bool],
        timing: Timing | None = None,
        blob_endpoint: str = "",
        ping_endpoint: str = "",
        log: Callable[..., None] = lambda action, **fields: None,
    ) -> None:
        """epoch: this coordinator's; secret: entropy that session ids are made of; token: what a Hello must bring.

        assign, admit: make an Assign of what was granted, and a request of what was reported by a worker.
        """
        self.timing = timing or Timing()
        self.leases = Leases(self.timing.lease_ms)
        self.endings = Endings(self.leases, admit=admit, has_blob=has_blob, tell=self._tell, log=log)
        self.epoch = epoch
        self._assign = assign
        self._near, self.far = Ends(blob_endpoint, ping_endpoint), Ends()
        self.lend: Callable[[Assign], Assign] = lambda assign: assign  # for a worker on another host
        self._log = log
        self.roster = Roster(epoch=epoch, secret=secret, token=token)
        self._out: dict[Peer, list[ToWorker]] = {}
        self._progress: list[tuple[str, Progress]] = []
        self._ticked_ms, self._scan_ms = -1, 0

    # ------------------------------------------------------------------------------------------ what comes in

    def hear(self, peer: Peer, messages: Iterable[FromWorker], mono_ms: int, enrolled: Enrolled | None = None) -> None:
        """The messages of one frame, in order. enrolled: whom the peer's key stands for, if it is on another host."""
        for message in messages:
            session = self.roster.at(peer)
            if isinstance(message, Hello):
                self._hello(peer, message, mono_ms, enrolled)
            elif session is None:
                self._tell(peer, Nack(code="hello_first", sentence="say Hello before anything else"))
                return
            else:
                session.heard_ms, session.suspect = mono_ms, False
                self._from_worker(session, message, mono_ms)

    def _from_worker(self, session: Session, message: FromWorker, mono_ms: int) -> None:  # noqa: C901 - a closed match
        worker = session.hello.worker
        match message:
            case Report():
                self.endings.report(worker, session.peer, message)
            case Credit(free=free, as_of=as_of):
                if as_of > session.as_of:
                    session.free, session.as_of = free, as_of
            case Accepted(attempt=attempt, fence=fence):
                if self._holds(worker, (attempt, fence)) is None:
                    self._tell(session.peer, Fenced(attempt=attempt, fence=fence))
            case Progress():
                lease = self._holds(worker, (message.attempt, message.fence))
                if lease is not None and len(self._progress) < PROGRESS_KEPT:
                    self._progress.append((lease.task, message))
            case Renew():
                self._renew(session, message, mono_ms)
            case Declined():
                self._declined(worker, message)
            case Stopped(attempt=attempt, fence=fence):
                lease = self.leases.get((attempt, fence))
                if lease is not None and lease.stopping:
                    self.leases.drop(lease.key)
            case Ping(sequence=sequence):
                self._tell(session.peer, Pong(sequence=sequence))
            case Goodbye(reason=reason):
                self._tell(session.peer, Goodbye(reason="acknowledged"))
                self.gone(worker, f"worker {worker} left: {reason or 'no reason given'}")
            case Nack(code=code, sentence=sentence):
                self._log("worker_nack", worker=worker, code=code, sentence=sentence)
            case Hello():
                raise AssertionError("Hello is taken by hear")
            case _:
                assert_never(message)

    def ping(self, ping: Ping, mono_ms: int) -> Pong | Nack:
        """A heartbeat, on its own socket, tied in by the session from Welcome."""
        session = self.roster.named(ping.session)
        if session is None or self.roster.at(session.peer) is not session:
            return Nack(code="hello_first", sentence="this coordinator cannot reach such a session; say Hello")
        session.heard_ms, session.suspect = mono_ms, False
        return Pong(sequence=ping.sequence)

    def knows(self, session: str) -> bool:
        """Whether a session id was given by this coordinator and still stands (the blob socket asks)."""
        return self.roster.named(session) is not None

    # ------------------------------------------------------------------------------------------------- Hello

    def _hello(self, peer: Peer, hello: Hello, mono_ms: int, enrolled: Enrolled | None) -> None:
        if refusal := self.roster.refusal(hello, enrolled):
            self._log("worker_refused", worker=hello.worker, code=refusal.code)
            self._tell(peer, refusal)
            return
        ends = self.far if enrolled is not None else self._near
        session, overtaken = self.roster.enter(peer, hello, mono_ms, enrolled)
        self._tell(
            peer,
            Welcome(
                session=session.id,
                epoch=self.epoch,
                lease_ms=self.timing.lease_ms,
                ping_ms=self.timing.ping_ms,
                idle_exit_ms=self.timing.idle_exit_ms,
                blob_endpoint=ends.blob,
                ping_endpoint=ends.ping,
            ),
        )
        if session.draining:
            self._tell(peer, Drain(reason="still draining"))
        if not overtaken:  # a Hello that was overtaken by later words says nothing about what runs now
            self._account(session, mono_ms)
        self._log("worker_hello", worker=hello.worker, boot=hello.boot, running=len(hello.running))

    def _account(self, session: Session, mono_ms: int) -> None:
        """Hold what the worker says it has against what it was given: adopt, assign again, or end."""
        hello, named = session.hello, set(session.hello.running)
        held = self.leases.of(hello.worker)
        ran = sum(lease.key not in named for lease in held)
        for lease in held:
            if lease.key in named:
                self.leases.answered(lease)
                self.leases.extend(lease, mono_ms)
            elif lease.boot != hello.boot:
                self._lost(lease, f"worker {hello.worker} died while it ran this attempt", ran)
            elif not lease.answered:
                self._send_assign(session, lease, mono_ms)
            else:
                self._lost(lease, f"worker {hello.worker} has lost this attempt", 1)
        for attempt, fence in sorted(named):
            known = self.leases.get((attempt, fence))
            if known is None or known.worker != hello.worker:
                self._tell(session.peer, Fenced(attempt=attempt, fence=fence))

    # ------------------------------------------------------------------------------------ leases and their ends

    def _holds(self, worker: str, key: Key) -> Lease | None:
        """The worker's lease of this key, now known to have reached it."""
        lease = self.leases.get(key)
        if lease is None or lease.worker != worker:
            return None
        self.leases.answered(lease)
        return lease

    def _renew(self, session: Session, renew: Renew, mono_ms: int) -> None:
        renewed = []
        for attempt, fence in renew.attempts:
            lease = self._holds(session.hello.worker, (attempt, fence))
            if lease is None:
                self._tell(session.peer, Fenced(attempt=attempt, fence=fence))
            else:
                self.leases.extend(lease, mono_ms)
                renewed.append((attempt, fence))
        if renewed:
            self._tell(session.peer, Renewed(attempts=tuple(renewed), as_of=renew.as_of))

    def _declined(self, worker: str, declined: Declined) -> None:
        lease = self.leases.get((declined.attempt, declined.fence))
        if lease is not None and lease.worker == worker:
            self.endings.end(lease, End.UNDELIVERED, ErrorClass.NONE, f"worker {worker} declined: {declined.reason}")

    def gone(self, worker: str, sentence: str) -> None:
        """The worker is certainly not there any more: what it held is lost now, not after a lease."""
        if session := self.roster.of(worker):
            self.roster.forget(session)
        held = self.leases.of(worker)
        for lease in held:
            self._lost(lease, sentence, len(held))

    def refuse(self, peer: Peer, refused: Refused) -> None:
        """A peer that has no session gets none."""
        self._tell(peer, refused)

    def expel(self, worker: str, refused: Refused) -> None:
        """It is let in no more: its session ends, and what it held is lost now."""
        if session := self.roster.of(worker):
            self._tell(session.peer, refused)
        self.gone(worker, f"worker {worker} was revoked")

    def _lost(self, lease: Lease, sentence: str, held: int) -> None:
        """Its worker is gone, or silent for a lease. held: what the worker held then, this one counted: one of several
        is not blamed for the death (transient), the only one is."""
        if lease.sent == 0 and not lease.answered and not lease.adopted:
            self.endings.end(lease, End.UNDELIVERED, ErrorClass.NONE, f"worker {lease.worker} could not be reached")
            return
        blamed = ErrorClass.NONE if held == 1 else ErrorClass.TRANSIENT
        company = f", and {held - 1} more" if held > 1 else ""
        self.endings.end(lease, End.LOST, blamed, f"{sentence}{company}")

    # ------------------------------------------------------------------------------------------------- the time

    def tick(self, mono_ms: int) -> None:
        """Expire, send again, suspect. Cheap to call often; looks through the leases a few times a resend interval."""
        gap = mono_ms - self._ticked_ms if self._ticked_ms >= 0 else 0
        self._ticked_ms = mono_ms
        if gap > min(DEAF_MS, self.timing.lease_ms // 3):
            self._log("was_deaf", gap_ms=gap)
            self.leases.extend_all(mono_ms)
            for session in self.roster:
                session.heard_ms = mono_ms
        if mono_ms < self._scan_ms:
            return
        self._scan_ms = mono_ms + max(1, self.timing.resend_ms // 8)
        held = Counter(lease.worker for lease in self.leases)
        for lease in self.leases:
            self._look_at(lease, mono_ms, held[lease.worker])
        for session in self.roster:
            silent = mono_ms - session.heard_ms
            session.suspect = silent > PINGS_MISSED * self.timing.ping_ms
            if silent > self.timing.idle_exit_ms and not self.leases.of(session.hello.worker):
                self.roster.forget(session)

    def _look_at(self, lease: Lease, mono_ms: int, held: int) -> None:
        if self.endings.on_the_way(lease.key):
            return
        if mono_ms >= lease.expires_ms:
            self._lost(lease, f"worker {lease.worker} was silent for a whole lease", held)
            return
        session = self.roster.of(lease.worker)
        if session is None or self.roster.at(session.peer) is not session or mono_ms < lease.again_ms:
            return
        if lease.stopping:
            self._send_stop(session, lease, mono_ms)
        elif not lease.answered and lease.boot == session.hello.boot and lease.tries < ASSIGN_TRIES:
            self._send_assign(session, lease, mono_ms)

    # ----------------------------------------------------------------------------------------------- the turn

    def adopt(self, granted: Iterable[Granted], mono_ms: int) -> None:
        """After a restart: what the database says is granted. Each waits one full lease for its worker's Hello."""
        for one in granted:
            self.leases.add(one, boot_of(one), mono_ms).adopted = True

    def slots(self) -> tuple[Slot, ...]:
        """What the scheduler may use now: neither suspect nor draining, by the worker's credit and by our own count."""
        found = []
        for session in self.roster:
            if session.suspect or session.draining:
                continue
            hello = session.hello
            held, unanswered = self.leases.counts(hello.worker)
            free = min(hello.slots - held, session.free - unanswered)
            if free > 0:
                found.append(session.slot(free))
        return tuple(found)

    def settle(self, turned: Turned, mono_ms: int) -> None:
        """A turn was committed: answer reports, assign what was granted, stop what was halted."""
        for reply in turned.replies:
            self.endings.answer(reply, self.roster.peer_of)
        for granted in turned.granted:
            lease = self.leases.add(granted, boot_of(granted), mono_ms)
            if session := self.roster.of(granted.worker):
                self.roster.worked_on(granted.task.spec.project, granted.worker)
                self._send_assign(session, lease, mono_ms)
        for halt in turned.halts:
            self._halt(halt, mono_ms)

    def _halt(self, halt: Halt, mono_ms: int) -> None:
        lease = self.leases.get((attempt_id(halt.spawn, halt.attempt), halt.fence))
        if lease is None:
            return
        lease.stopping, lease.stop_since_ms = True, mono_ms
        if session := self.roster.of(lease.worker):
            self._send_stop(session, lease, mono_ms)

    # ----------------------------------------------------------------------------------------------- what goes out

    def _tell(self, peer: Peer, message: ToWorker) -> None:
        self._out.setdefault(peer, []).append(message)

    def _send_assign(self, session: Session, lease: Lease, mono_ms: int) -> None:
        if lease.assign is None:
            try:
                assign = self._assign(lease.granted)
                lease.assign = self.lend(assign) if session.remote else assign
            except (ValueError, LookupError, LoomError) as error:
                self.endings.end(lease, End.FAILED, ErrorClass.PERMANENT, f"no assignment could be made: {error}")
                return
        lease.sent, lease.tries = lease.sent + 1, lease.tries + 1
        self.leases.extend(lease, mono_ms)  # the worker counts its lease from when this one reaches it
        lease.again_ms = mono_ms + self.timing.resend_ms
        self._tell(session.peer, lease.assign)

    def _send_stop(self, session: Session, lease: Lease, mono_ms: int) -> None:
        hard = mono_ms - lease.stop_since_ms >= STOP_HARD_MS
        lease.again_ms = mono_ms + self.timing.resend_ms
        self._tell(session.peer, Stop(attempt=lease.key[0], fence=lease.key[1], hard=hard))

    def take_outbox(self) -> dict[Peer, list[ToWorker]]:
        """Messages by peer, in order. To be sent after COMMIT only."""
        taken, self._out = self._out, {}
        return taken

    def unsent(self, peer: Peer, messages: Iterable[ToWorker]) -> None:
        """The peer could not be reached: what was assigned did not leave; it comes back with a new Hello."""
        for message in messages:
            if isinstance(message, Assign) and (lease := self.leases.get((message.attempt, message.fence))):
                lease.sent = max(0, lease.sent - 1)
        if session := self.roster.at(peer):
            session.suspect = True
            self.roster.disconnect(session)

    def too_long(self, message: ToWorker, sentence: str) -> None:
        """A message that fits no frame: an attempt that cannot be told to its worker ends here."""
        if isinstance(message, Assign) and (lease := self.leases.get((message.attempt, message.fence))):
            self.endings.end(lease, End.FAILED, ErrorClass.PERMANENT, sentence)

    def drain(self, reason: str) -> None:
        """No new work for anybody; each worker leaves when it has nothing left. Said once to each: call it again for those
        that came since."""
        for session in self.roster:
            if not session.draining:
                session.draining = True
                self._tell(session.peer, Drain(reason=reason))

    def take_progress(self) -> list[tuple[str, Progress]]:
        """(task, progress) pairs for the watchers; lossy."""
        taken, self._progress = self._progress, []
        return taken

    def describe(self) -> list[dict[str, object]]:
        """The workers as `Describe` shows them."""
        return [
            session.describe() | {"attempts": [list(lease.key) for lease in self.leases.of(session.hello.worker)]}
            for session in self.roster
        ]
