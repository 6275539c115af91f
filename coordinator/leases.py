"""Leases: who may work on which attempt, until when. Volatile; the durable fact is only AttemptEnded(lost).

All times are milliseconds of one clock that goes on during a suspend (boot time). A lease is counted from when the
coordinator could hear: after a start, a suspend or a long silence of its own, every lease is a full one again. It expires
a grace after its end, the worker kills a grace before it (`protocol.grace_ms`): no overlap without clock agreement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from loom.coordinator.inbox import Granted, Request
from loom.kernel.commands import AttemptEnded
from loom.kernel.limits import INLINE_TEXT_BYTES
from loom.kernel.values import End, ErrorClass, Execution, Principal, PrincipalKind, Text
from loom.workers.protocol import Assign, attempt_id, grace_ms

Key = tuple[str, int]
"""(attempt, fence): what a lease, a report and every answer to one are named by."""

COORDINATOR = Principal(id="coordinator", kind=PrincipalKind.SYSTEM, via="fabric", assurance="A0")
"""Who ends an attempt that its worker did not end."""


@dataclass(slots=True)
class Lease:
    """One attempt at one worker. `assign`: what to send again until it is answered (None: answered or adopted)."""

    key: Key
    task: str
    spawn: str
    number: int
    worker: str
    boot: str
    expires_ms: int
    granted: Granted
    assign: Assign | None = None
    answered: bool = False
    """The worker said that it has it (Accepted, Progress, Renew, named in Hello)."""
    adopted: bool = False
    """Granted by an earlier coordinator, and not yet heard of."""
    sent: int = 0
    """How often it left this process; 0: it cannot have reached the worker."""
    tries: int = 0
    """How often it was to be sent."""
    again_ms: int = 0
    stopping: bool = False
    stop_since_ms: int = 0


@dataclass(slots=True)
class _Held:
    """The leases that occupy one worker's slots."""

    leases: dict[Key, Lease] = field(default_factory=dict)
    unanswered: set[Key] = field(default_factory=set)


class Leases:
    """Every lease, and per worker those that occupy a slot."""

    def __init__(self, lease_ms: int) -> None:
        self.lease_ms = lease_ms
        self.full_ms = lease_ms + grace_ms(lease_ms)
        self._all: dict[Key, Lease] = {}
        self._held: dict[str, _Held] = {}
        self.occupied = 0
        """Leases that occupy a slot, of all workers."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Lease]:
        return iter(tuple(self._all.values()))

    def add(self, granted: Granted, boot: str, mono_ms: int) -> Lease:
        """A new, full lease for a granted attempt."""
        key = (attempt_id(granted.spawn, granted.attempt), granted.fence)
        lease = Lease(
            key=key,
            task=granted.task.spec.task,
            spawn=granted.spawn,
            number=granted.attempt,
            worker=granted.worker,
            boot=boot,
            expires_ms=mono_ms + self.full_ms,
            granted=granted,
        )
        self._all[key] = lease
        held = self._held.setdefault(lease.worker, _Held())
        self.occupied += key not in held.leases
        held.leases[key] = lease
        held.unanswered.add(key)
        return lease

    def get(self, key: Key) -> Lease | None:
        return self._all.get(key)

    def of(self, worker: str) -> tuple[Lease, ...]:
        """The leases that occupy a slot of this worker."""
        held = self._held.get(worker)
        return tuple(held.leases.values()) if held else ()

    def counts(self, worker: str) -> tuple[int, int]:
        """(occupied slots, those whose assignment is not answered yet) of a worker."""
        held = self._held.get(worker)
        return (len(held.leases), len(held.unanswered)) if held else (0, 0)

    def answered(self, lease: Lease) -> None:
        """The worker has it: nothing is sent again."""
        if lease.answered:
            return
        lease.answered, lease.adopted, lease.assign = True, False, None
        if held := self._held.get(lease.worker):
            held.unanswered.discard(lease.key)

    def extend(self, lease: Lease, mono_ms: int) -> None:
        lease.expires_ms = mono_ms + self.full_ms

    def extend_all(self, mono_ms: int) -> None:
        """Full leases again: nothing could be heard for a while, and that was not the workers' doing."""
        for lease in self._all.values():
            lease.expires_ms = mono_ms + self.full_ms

    def free_slot(self, lease: Lease) -> None:
        """Its end is on the way: the slot is free, the lease stays until the end is committed."""
        if held := self._held.get(lease.worker):
            self.occupied -= held.leases.pop(lease.key, None) is not None
            held.unanswered.discard(lease.key)
            if not held.leases:
                del self._held[lease.worker]

    def drop(self, key: Key) -> Lease | None:
        """Forget it."""
        lease = self._all.pop(key, None)
        if lease is not None:
            self.free_slot(lease)
        return lease


def boot_of(granted: Granted) -> str:
    """The boot nonce of the worker that the attempt was granted to, as its state says."""
    return next((spawn.boot for spawn in granted.task.spawns if spawn.id == granted.spawn), "")


def end_key(key: Key) -> str:
    """Idempotency key of an attempt's end, whoever says it: the first word counts."""
    return f"{key[0]}:{key[1]}:end"


def ended_by_coordinator(lease: Lease, end: End, error_class: ErrorClass, sentence: str) -> Request:
    """The request that ends an attempt by the coordinator's word."""
    value = _inline(sentence)
    command = AttemptEnded(
        spawn=lease.spawn,
        attempt=lease.number,
        fence=lease.key[1],
        end=end,
        error_class=error_class,
        message=Text(value=value, size=len(value.encode())),
        execution=Execution(worker=lease.worker, boot=lease.boot),
    )
    return Request(key=end_key(lease.key), principal=COORDINATOR, task=lease.task, command=command)


def _inline(sentence: str) -> str:
    """At most INLINE_TEXT_BYTES of UTF-8, cut between characters."""
    return sentence.encode()[:INLINE_TEXT_BYTES].decode(errors="ignore")
