"""What the store answers with: plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass

from loom.coordinator import merkle
from loom.coordinator.inbox import Outcome


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a key: its entry, whether a rule objected (then its sentence), and the digest of the command's bytes."""

    seq: int
    outcome: Outcome
    task: str
    digest: bytes
    code: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class LiveSpawn:
    """A spawn that is ready, or granted, of an open task. held: the task is paused or parked, nothing of it is granted."""

    task: str
    project: str
    priority: int
    weight: int
    held: bool
    spawn: str
    agent: str
    attempt: int
    not_before_ms: int
    chain: tuple[str, ...]
    binding: int
    fence: int
    worker: str
    boot: str
    granted_ms: int
    why: str
    """What made this attempt ready ("" : the stage was entered)."""
    rules_digest: str
    requires: tuple[str, ...]
    """What the task demands of a worker."""


@dataclass(frozen=True, slots=True)
class LateRow:
    """A result that came too late. given_to: the worker that had the attempt, by the record ("" : none had)."""

    spawn: str
    attempt: int
    worker: str
    command: str
    given_to: str


@dataclass(frozen=True, slots=True)
class DueWake:
    task: str
    name: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where the log stands: the next entry has the number `seq`."""

    edge: merkle.Edge
    epoch: int
    now_ms: int

    @property
    def seq(self) -> int:
        return self.edge.size
