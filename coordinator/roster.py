"""Who is there: sessions of workers by connection, by name and by session id. No socket, no clock."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from loom.coordinator.endings import Peer
from loom.coordinator.inbox import HOME_LABEL, Slot
from loom.workers.protocol import (
    LEASE_MS,
    MAX_SLOTS,
    PING_MS,
    PROTOCOL_HIGH,
    PROTOCOL_LOW,
    Hello,
    Refused,
)

RESEND_MS = 2_000
"""An unanswered Assign or Stop is sent again after this time (or a sixth of the lease, if that is shorter)."""
IDLE_EXIT_MS = 600_000
"""A worker leaves when it is idle and unanswered for this time; a silent session without leases is forgotten then."""
RETIRED_KEPT = 1_000
"""Boot nonces of processes that were superseded; a Hello of one of them is refused."""
WORKER_NAME_LENGTH = 64
WARM_WORKERS, WARM_PROJECTS = 8, 1_024
"""So many workers are remembered for a project, and so many projects: who worked on it lately has its commits there."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals that Welcome tells the worker, in milliseconds."""

    lease_ms: int = LEASE_MS
    ping_ms: int = PING_MS
    idle_exit_ms: int = IDLE_EXIT_MS

    @property
    def resend_ms(self) -> int:
        return min(RESEND_MS, max(1, self.lease_ms // 6))


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a worker finds the coordinator's other sockets."""

    blob: str = ""
    ping: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Whom a connection from another host was let in as, by the key that it showed."""

    worker: str
    labels: tuple[str, ...] = ()


@dataclass(slots=True)
class Session:
    """One worker process, from its Hello on. `peer`: where its messages come from now."""

    id: str
    peer: Peer
    hello: Hello
    heard_ms: int
    free: int
    as_of: int
    suspect: bool = False
    draining: bool = False
    labels: tuple[str, ...] = ()
    """What a requirement is held against: what it was enrolled with, never what a worker elsewhere says of itself."""
    remote: bool = False
    """It came over the network: it sees none of the home's files."""

    def slot(self, free: int) -> Slot:
        """What of it the scheduler may use."""
        said = self.hello
        return Slot(
            said.worker,
            said.boot,
            free,
            self.labels,
            said.sandboxes,
            said.harnesses,
            said.families,
            local=not self.remote,
        )

    def describe(self) -> dict[str, object]:
        """As `Describe` shows it."""
        return {
            "worker": self.hello.worker,
            "boot": self.hello.boot,
            "host": self.hello.host,
            "pid": self.hello.pid,
            "slots": self.hello.slots,
            "free": self.free,
            "suspect": self.suspect,
            "draining": self.draining,
            "harnesses": list(self.hello.harnesses),
            "sandboxes": list(self.hello.sandboxes),
            "families": list(self.hello.families),
            "labels": list(self.labels),
            "remote": self.remote,
        }


class Roster:
    """The sessions. A worker has one; the latest boot of it wins, and the ones before are retired."""

    def __init__(self, *, epoch: int, secret: bytes, token: str) -> None:
        self._epoch, self._secret, self._token = epoch, secret, token
        self._by_peer: dict[Peer, Session] = {}
        self._by_worker: dict[str, Session] = {}
        self._by_id: dict[str, Session] = {}
        self._retired: dict[str, None] = {}
        self._warm: dict[str, tuple[str, ...]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_worker.values()))

    def there(self) -> tuple[Slot, ...]:
        """Every worker that takes work, whether it has room or not."""
        return tuple(each.slot(0) for each in self._by_worker.values() if not (each.suspect or each.draining))

    def at(self, peer: Peer) -> Session | None:
        return self._by_peer.get(peer)

    def of(self, worker: str) -> Session | None:
        return self._by_worker.get(worker)

    def named(self, session: str) -> Session | None:
        return self._by_id.get(session)

    def worked_on(self, project: str, worker: str) -> None:
        """The worker was given work of the project."""
        warm = self._warm
        found = warm.get(project, ())
        if not project or found[:1] == (worker,):
            return
        if project not in warm and len(warm) >= WARM_PROJECTS:
            del warm[next(iter(warm))]
        warm[project] = (worker, *(each for each in found if each != worker))[:WARM_WORKERS]

    def near(self, project: str, task: str) -> tuple[str, ...]:
        """The workers that worked on the project lately, the latest first: its clone is warm there."""
        return self._warm.get(project, ())

    def peer_of(self, worker: str) -> Peer | None:
        session = self._by_worker.get(worker)
        return session.peer if session else None

    def refusal(self, hello: Hello, enrolled: Enrolled | None = None) -> Refused | None:
        """Why this Hello opens no session (None: it does). enrolled: whom its connection's key stands for (None: it is a
        connection on this machine, and the token speaks)."""
        if enrolled is not None:
            if hello.worker != enrolled.worker:
                sentence = f"this key was enrolled as worker {enrolled.worker}; it cannot be {hello.worker}"
                return Refused(code="identity", sentence=sentence)
        elif not hmac.compare_digest(hello.token.encode(), self._token.encode()):
            return Refused(
                code="token", sentence="the worker's token is not this home's; start it again from this home"
            )
        if hello.low > PROTOCOL_HIGH or hello.high < PROTOCOL_LOW:
            spoken = f"{PROTOCOL_LOW}–{PROTOCOL_HIGH}"
            return Refused(
                code="protocol",
                sentence=f"worker speaks protocol {hello.low}–{hello.high}, this coordinator {spoken}: upgrade the older",
            )
        if not 1 <= hello.slots <= MAX_SLOTS or not 1 <= len(hello.worker) <= WORKER_NAME_LENGTH or not hello.boot:
            return Refused(
                code="malformed",
                sentence=f"a Hello needs a name of 1–{WORKER_NAME_LENGTH} characters, a boot nonce, 1–{MAX_SLOTS} slots",
            )
        if hello.boot in self._retired:
            return Refused(code="superseded", sentence="another process of this worker has taken over; leave")
        return None

    def enter(self, peer: Peer, hello: Hello, mono_ms: int, enrolled: Enrolled | None = None) -> tuple[Session, bool]:
        """The session of a Hello, and whether that Hello was overtaken by later words of the same process."""
        known = self._by_worker.get(hello.worker)
        session = Session(self._session_id(hello), peer, hello, mono_ms, hello.slots, hello.as_of)
        session.remote = enrolled is not None
        session.labels = (*hello.labels, HOME_LABEL) if enrolled is None else enrolled.labels
        overtaken = False
        if known is not None:
            self.forget(known)
            if known.hello.boot == hello.boot:
                overtaken = hello.as_of <= known.as_of
                session.draining, session.free = known.draining, known.free
                session.as_of = max(known.as_of, hello.as_of)
            else:
                self._retire(known.hello.boot)
        self._by_peer[peer] = self._by_worker[hello.worker] = self._by_id[session.id] = session
        return session, overtaken

    def forget(self, session: Session) -> None:
        self.disconnect(session)
        if self._by_worker.get(session.hello.worker) is session:
            del self._by_worker[session.hello.worker]
        if self._by_id.get(session.id) is session:
            del self._by_id[session.id]

    def disconnect(self, session: Session) -> None:
        """Its connection is of no use any more; the session stays until its next Hello."""
        if self._by_peer.get(session.peer) is session:
            del self._by_peer[session.peer]

    def _retire(self, boot: str) -> None:
        self._retired[boot] = None
        if len(self._retired) > RETIRED_KEPT:
            del self._retired[next(iter(self._retired))]

    def _session_id(self, hello: Hello) -> str:
        said = f"{self._epoch}\0{hello.worker}\0{hello.boot}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()[:32]
