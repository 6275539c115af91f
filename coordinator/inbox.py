"""What goes into a turn and what comes out: plain frozen records, no socket, no clock.

The fabric (volatile: sessions, leases, credits) turns frames into `Request`s and `Slot`s; `Core.turn` takes them through the
kernel in one transaction; what it returns is sent only after COMMIT. Requests and replies are msgspec structs, which
are made in a third of the time that a frozen dataclass takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from loom.kernel.commands import Command
from loom.kernel.copying import quicken
from loom.kernel.state import TaskState
from loom.kernel.values import Principal


@dataclass(frozen=True, slots=True)
class SaltedText:
    """A text that a command names by blob id: id = hex SHA-256(salt ‖ data). data None: already stored as a blob file."""

    id: str
    salt: bytes
    size: int
    data: bytes | None


class Request(msgspec.Struct, frozen=True):
    """One command with its idempotency key. `task` "" : a command about the home. `nonce`: entropy for the entry."""

    key: str
    principal: Principal
    task: str
    command: Command
    texts: tuple[SaltedText, ...] = ()
    nonce: str = ""


class Outcome(StrEnum):
    APPLIED = "applied"
    OBJECTED = "objected"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"


class Reply(msgspec.Struct, frozen=True):
    """What became of a request. seq: its entry (-1: none). `was`: for a duplicate, the recorded outcome."""

    key: str
    outcome: Outcome
    seq: int = -1
    code: str = ""
    sentence: str = ""
    was: str = ""
    task: str = ""


HOME_LABEL = "home"
"""The label of every worker on the home's own machine, and of no other: it sees the home's files and those beside it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Free capacity of one worker session, as the scheduler may use it in this turn."""

    worker: str
    boot: str
    free: int
    labels: tuple[str, ...] = ()
    sandboxes: tuple[str, ...] = ()
    harnesses: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    local: bool = False
    """Whether it works on the coordinator's own machine."""


@dataclass(frozen=True, slots=True)
class Granted:
    """An attempt that was granted in this turn, with the state after its grant: all that an assignment needs."""

    task: TaskState
    spawn: str
    attempt: int
    fence: int
    worker: str


@dataclass(frozen=True, slots=True)
class Halt:
    """A running attempt that must be stopped."""

    task: str
    spawn: str
    attempt: int
    fence: int
    worker: str


@dataclass(frozen=True, slots=True)
class Turned:
    """The outbound of one committed turn."""

    replies: tuple[Reply, ...]
    granted: tuple[Granted, ...]
    halts: tuple[Halt, ...]
    first_seq: int
    next_seq: int
    """Entries first_seq … next_seq − 1 were written."""
    tasks: tuple[str, ...]
    """Tasks that changed."""
    due_ms: int
    """When the next wake or delayed attempt is due (0: none)."""
    ready: int
    """Attempts that are ready and found no slot."""
    read_only: str = ""
    """Why nothing can be written ("" : all is well)."""
    unplaced: bool = False
    """The disk failed and ready attempts were not offered to the slots: another turn has to."""


quicken(SaltedText, Slot, Granted, Halt)
