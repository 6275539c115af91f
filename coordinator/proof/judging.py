"""A judgement on recorded entries: who signed what, in the order of the log. Used on evidence files and on homes alike.

V1 integrity   the bytes are those under the head, nothing is missing between them
V2 authority   the head is signed by the key that you name; people and workers signed what the record says they did
V3 replay      every decision derived again comes out the same
V4 witnessed   a second party that you name has signed the head, too
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from loom.coordinator.entry import Entry, decode_entry
from loom.coordinator.errors import CodecError
from loom.coordinator.proof import approvals, batches
from loom.kernel.commands import AttemptEnded, RotateLogKey, Signable
from loom.kernel.events import DecisionRecorded
from loom.kernel.home import evolve_home
from loom.kernel.state import HomeState
from loom.kernel.values import SIGNED, find


class Level(StrEnum):
    INTEGRITY = "V1"
    AUTHORITY = "V2"
    REPLAY = "V3"
    WITNESSED = "V4"


class State(StrEnum):
    GOOD = "good"
    OPEN = "open"
    """Not judged: what it needs was not given."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    level: Level
    state: State
    part: str
    said: str


@dataclass
class Judgement:
    """Everything that was looked at, in order."""

    lines: list[Line] = field(default_factory=list)

    def good(self, level: Level, part: str, said: str) -> None:
        self.lines.append(Line(level, State.GOOD, part, said))

    def bad(self, level: Level, part: str, said: str) -> None:
        self.lines.append(Line(level, State.BAD, part, said))

    def open(self, level: Level, part: str, said: str) -> None:
        self.lines.append(Line(level, State.OPEN, part, said))

    def state(self, level: Level) -> State:
        """The worst of a level's lines; of none: not judged."""
        states = {line.state for line in self.lines if line.level is level}
        return State.BAD if State.BAD in states else State.OPEN if State.OPEN in states or not states else State.GOOD

    @property
    def failed(self) -> bool:
        return any(line.state is State.BAD for line in self.lines)


Approvers = Mapping[str, frozenset[str]]
"""Person → public keys that sign for them, by the word of whoever judges."""


@dataclass
class Signatures:
    """Goes through entries in the order of the log, and judges every signature in them."""

    judgement: Judgement
    approvers: Approvers | None = None
    home: HomeState = HomeState()
    rotations: list[tuple[int, str]] = field(default_factory=list)
    """(entry, note)"""
    approved: int = 0
    reports: int = 0
    signed_reports: int = 0
    _batches: dict[bytes, bool] = field(default_factory=dict)

    def look(self, seq: int, entry: Entry) -> None:
        """One entry. Its approval and its report's signature count as enrolled before it."""
        command = entry.command
        if isinstance(command, Signable) and (command.approval is not None or entry.principal.assurance == SIGNED):
            self._approval(seq, entry)
        elif entry.principal.assurance == SIGNED:
            self.judgement.bad(Level.AUTHORITY, f"entry {seq}", "says that it was signed, and there is no signature")
        for event in entry.events:
            if isinstance(event, DecisionRecorded) and event.by.assurance == SIGNED and event.by != entry.principal:
                self.judgement.bad(
                    Level.AUTHORITY, f"entry {seq}", f"a decision in the name of {event.by.id} is not theirs"
                )
        if isinstance(command, AttemptEnded):
            self._report(seq, entry, command)
        if isinstance(command, RotateLogKey):
            self.rotations.append((seq, command.note))
        if not entry.task:
            self.home = evolve_home(self.home, entry.events)

    def _approval(self, seq: int, entry: Entry) -> None:
        person = entry.principal.acting_for or entry.principal.id
        trusted = None if self.approvers is None else self.approvers.get(person, frozenset())

        def may_sign(key: str) -> bool:
            return find(self.home.signers, key, "") == person and (trusted is None or key in trusted)

        try:
            approvals.check(
                entry.command,
                origin=self.home.origin,
                task=entry.task,
                principal=person,
                key=entry.key,
                now_ms=entry.now_ms,
                may_sign=may_sign,
            )
        except approvals.ApprovalRefused as refusal:
            self.judgement.bad(Level.AUTHORITY, f"entry {seq}", f"the approval of {person}: {refusal}")
        else:
            self.approved += 1

    def _report(self, seq: int, entry: Entry, command: AttemptEnded) -> None:
        if entry.principal.kind.value != "worker":
            return
        self.reports += 1
        if not command.execution.signature:
            return
        worker = entry.principal.id
        keys = [key for key, name in self.home.hands if name == worker]
        if batches.signed_by_one_of(command, worker, keys, self._batches):
            self.signed_reports += 1
        else:
            self.judgement.bad(Level.AUTHORITY, f"entry {seq}", f"the report's signature is not of {worker} over this")

    def close(self) -> None:
        """What it came to, in words."""
        say, judged = self.judgement, self.approvers is not None
        if self.approved and not judged:
            said = "the log itself says whose keys they are; name yours with --approvers"
            say.open(Level.AUTHORITY, "approvals", f"{self.approved} signatures of people are right; {said}")
        elif self.approved:
            say.good(Level.AUTHORITY, "approvals", f"{self.approved} commands signed by people whom you named")
        if self.reports:
            said = f"{self.signed_reports} of {self.reports} reports are signed by the worker's enrolled key"
            say.good(Level.AUTHORITY, "reports", said)


def decoded(bodies: Iterable[tuple[int, bytes]], judgement: Judgement) -> list[tuple[int, Entry]]:
    """The entries of stored bytes; those that are none are named."""
    found = []
    for seq, body in bodies:
        try:
            found.append((seq, decode_entry(body)))
        except (CodecError, ValueError) as error:
            judgement.bad(Level.INTEGRITY, f"entry {seq}", f"cannot be read: {error}")
    return found


def check_numbers(entries: Iterable[tuple[int, Entry]], judgement: Judgement) -> dict[str, int]:
    """Each task's entries are numbered from 1 without a gap, and time does not run back. Returns task → how many."""
    counts: dict[str, int] = {}
    now_ms = 0
    for seq, entry in entries:
        if entry.now_ms < now_ms:
            judgement.bad(Level.INTEGRITY, f"entry {seq}", "its time is before that of an earlier entry")
        now_ms = max(now_ms, entry.now_ms)
        if entry.task:
            counts[entry.task] = counts.get(entry.task, 0) + 1
            if entry.n != counts[entry.task]:
                judgement.bad(
                    Level.INTEGRITY,
                    f"entry {seq}",
                    f"is number {entry.n} of {entry.task}; {counts[entry.task]} is missing",
                )
                counts[entry.task] = entry.n
    return counts


Replayer = Callable[[list[tuple[int, Entry]]], Iterable[tuple[State, str, str]]]
"""Takes the entries' commands again: (state, part, what it found)."""
