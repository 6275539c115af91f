"""The words of the process: closed enumerations and the small records that commands, events and state are made of.

Everything is a frozen, slotted dataclass of str, int, bool, None, Enum, one dataclass, or tuples of those. Money is in
integer micro-units, time in integer milliseconds UTC. Pairs stand for maps: sorted tuples of (key, value).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from loom.kernel.copying import quicken

Pairs = tuple[tuple[str, str], ...]
Counts = tuple[tuple[str, int], ...]

V = TypeVar("V")


class Capability(StrEnum):
    ANSWER = "answer"
    READ = "read"
    EDIT = "edit"
    CHECKS = "checks"
    ACT = "act"


class Tier(StrEnum):
    FAST = "fast"
    BALANCED = "balanced"
    PREMIUM = "premium"


class Status(StrEnum):
    OPEN = "open"
    DONE = "done"


class Verdict(StrEnum):
    NONE = ""
    ACCEPTED = "accepted"
    ANSWERED = "answered"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    FAILED = "failed"


class SpawnStatus(StrEnum):
    READY = "ready"
    GRANTED = "granted"
    SETTLED = "settled"
    FAILED = "failed"
    WAIVED = "waived"


class End(StrEnum):
    REPORTED = "reported"
    FAILED = "failed"
    LOST = "lost"
    UNDELIVERED = "undelivered"
    STOPPED = "stopped"
    OBJECTED = "objected"
    IN_DOUBT = "in_doubt"
    """Of an act: nobody can say whether it happened outside."""


class ErrorClass(StrEnum):
    NONE = ""
    TRANSIENT = "transient"
    RATE_LIMIT = "rate_limit"
    PERMANENT = "permanent"
    UNPARSEABLE = "unparseable"
    WORKSPACE = "workspace"
    LIMIT = "limit"


class Bound(StrEnum):
    """How well a cap on an attempt holds."""

    ENFORCED = "enforced"
    METERED = "metered"
    DECLARED = "declared"
    NONE = "none"


class Severity(StrEnum):
    BLOCKING = "blocking"
    WARN = "warn"
    INFO = "info"


class FindingStatus(StrEnum):
    OPEN = "open"
    FIXED = "fixed"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    SUPERSEDED = "superseded"


class Origin(StrEnum):
    """Who is behind a finding. Harness trouble goes to a person and is never counted as bad work."""

    AGENT = "agent"
    CHECK = "check"
    HARNESS = "harness"


class AnswerWord(StrEnum):
    ACCEPT = "accept"
    REVISE = "revise"
    ABANDON = "abandon"
    APPLY = "apply"
    RETRY = "retry"
    RAISE = "raise"


class PrincipalKind(StrEnum):
    PERSON = "person"
    POLICY = "policy"
    WORKER = "worker"
    SYSTEM = "system"


class ParkCode(StrEnum):
    """Why a task waits for a person outside the gates of its flow."""

    SPAWN_FAILED = "spawn_failed"
    STALL = "stall"
    ROUNDS = "rounds"
    ATTEMPTS = "attempts"
    COST = "cost"
    TOKENS = "tokens"
    WALL = "wall"
    ASKED = "asked"
    MISSING = "missing"
    OBJECTION = "objection"
    UNANSWERED = "unanswered"


REVIEW = "review."
"""Evidence that a judging agent's word leaves is of the kind `review.<agent>`."""
WAIVED = "waived"
"""The outcome of a review that a person accepted as it is, or did without."""
SIGNED = "A2"
"""The assurance of a principal whose own key signed exactly this command."""
SIGNED_ROLES = "signed_roles"
"""The setting that names, with commas between, the roles whose decisions a person has to sign."""
TROUBLE = "trouble"
"""The role of the gate that every parked task has open."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text: inline (at most INLINE_TEXT_BYTES of UTF-8) or by the id of a salted blob; `size` in bytes."""

    value: str = ""
    blob: str = ""
    size: int = 0


NO_TEXT = Text()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acted, and through which surface. assurance: A0 a policy · A1 the surface vouches · A2 the person's own key."""

    id: str
    kind: PrincipalKind
    via: str
    acting_for: str = ""
    assurance: str = "A1"


@dataclass(frozen=True, slots=True)
class Approval:
    """An optional cryptographic approval beside a decision."""

    payload: str
    type: str
    scheme: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgentBinding:
    """The chain of bindings of one agent ("*": every agent that has no chain of its own)."""

    agent: str
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Caps:
    """What a task may consume; 0 = no cap."""

    attempts: int = 40
    rounds: int = 4
    tokens: int = 0
    cost: int = 0
    wall_ms: int = 7 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a task consumed, and what its running attempts have reserved. `rounds`: since a person last decided."""

    attempts: int = 0
    rounds: int = 0
    tokens: int = 0
    cost: int = 0
    reserved: int = 0
    unpriced: int = 0
    largest: int = 0
    """The cost of the dearest attempt so far."""
    reserved_tokens: int = 0
    largest_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one attempt consumed; cost None: unknown, never zero for unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cost: int | None = None
    price: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """Where and how an attempt really ran: what the worker says of it."""

    worker: str = ""
    boot: str = ""
    host: str = ""
    executor: str = ""
    binding: int = 0
    served_by: str = ""
    sandbox: str = ""
    network: str = ""
    credentials: str = ""
    wall_ms: int = 0
    notes: Text = NO_TEXT
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding points: a path as text (C-quoted when it is not UTF-8), a line (0: none) and a side (old, new)."""

    path: str = ""
    line: int = 0
    side: str = ""


@dataclass(frozen=True, slots=True)
class FindingReport:
    """What a reviewer (or a check) says, as admitted: identity and stall key were computed from the full text."""

    severity: Severity
    category: str
    place: Place
    message: Text
    evidence: Text
    suggestion: Text
    identity: str
    stall_key: str
    origin: Origin = Origin.AGENT


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding on the record. `id` is short (f1, f2 …) and unique in its task."""

    id: str
    agent: str
    spawn: str
    round: int
    subject: str
    report: FindingReport
    status: FindingStatus = FindingStatus.OPEN
    reason: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class Statement:
    """Measured evidence inside a report: kind, outcome, one-line summary, and the whole output."""

    kind: str
    outcome: str
    summary: Text
    output: Text


@dataclass(frozen=True, slots=True)
class Evidence:
    """(kind, subject, outcome, by): a check, a review or an approval about one subject."""

    kind: str
    subject: str
    outcome: str
    by: Principal


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named, versioned document: who made it, and its text."""

    name: str
    version: int
    spawn: str
    text: Text


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A blocker that a person accepts by name, with a reason."""

    finding: str
    reason: Text


@dataclass(frozen=True, slots=True)
class CarriedMessage:
    """A person's words on their way to the next agents."""

    by: str
    gate: str
    round: int
    text: Text


quicken(
    Text, Principal, AgentBinding, Caps, Spent, Usage, Execution, Place, FindingReport, Finding, Statement, Evidence, Artifact, Acceptance,
    CarriedMessage,
)  # fmt: skip


def put(pairs: tuple[tuple[str, V], ...], key: str, value: V) -> tuple[tuple[str, V], ...]:
    """The pairs with `key` set, sorted by key, as they were before."""
    place = bisect_left(pairs, (key,))
    after = place + 1 if place < len(pairs) and pairs[place][0] == key else place
    return (*pairs[:place], (key, value), *pairs[after:])


def find(pairs: tuple[tuple[str, V], ...], key: str, default: V) -> V:
    """The value of `key` among pairs that `put` keeps in order, or `default`."""
    place = bisect_left(pairs, (key,))
    return pairs[place][1] if place < len(pairs) and pairs[place][0] == key else default


def drop(pairs: tuple[tuple[str, V], ...], key: str) -> tuple[tuple[str, V], ...]:
    """The pairs without `key`."""
    return tuple(pair for pair in pairs if pair[0] != key)


def get(pairs: Iterable[tuple[str, V]], key: str, default: V) -> V:
    """The value of `key`, or `default`; the pairs may stand in any order."""
    for name, value in pairs:
        if name == key:
            return value
    return default
