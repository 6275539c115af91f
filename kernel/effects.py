"""Effects: what must be done next, as data. The durable ones can be read off the state again after a crash."""

from __future__ import annotations

from dataclasses import dataclass

from loom.kernel.copying import quicken


@dataclass(frozen=True, slots=True)
class Offer:
    """An attempt is ready to be granted, not before a time."""

    task: str
    spawn: str
    attempt: int
    not_before_ms: int


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """A running attempt must end; whatever it still reports is stale."""

    task: str
    spawn: str
    attempt: int
    fence: int
    worker: str


@dataclass(frozen=True, slots=True)
class SetWake:
    task: str
    name: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Something that people wait for: a gate opened, a task ended."""

    task: str
    what: str


Effect = Offer | StopAttempt | SetWake | Announce

quicken(Offer, StopAttempt, SetWake, Announce)
