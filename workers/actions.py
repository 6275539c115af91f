"""What the worker's logic wants done, as data carried out by the loop (or the simulator), and what it keeps in mind."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from loom.workers.protocol import Assign, Report, Welcome

HELD_LEASES = 10
"""Leases for which a finished attempt is still renewed while its report cannot go out (a full disk, a long upload)."""

Key = tuple[str, int]
"""(attempt, fence)."""
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Start:
    """Execute this attempt; then `ended` with its report, or `vanished`."""

    assign: Assign


@dataclass(frozen=True, slots=True)
class Kill:
    """End it and everything it started; politely, unless `hard`; then `vanished` (or `ended`, when it was quicker)."""

    key: Key
    hard: bool


@dataclass(frozen=True, slots=True)
class Keep:
    """Write the report to the spool, durably; then `kept`."""

    report: Report


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring the report's large texts over the blob socket; then `uploaded`."""

    report: Report


@dataclass(frozen=True, slots=True)
class Forget:
    """The report was answered: it may leave the spool."""

    report: Report


@dataclass(frozen=True, slots=True)
class Welcomed:
    """There is a session: heartbeats and blobs go to the endpoints that it names."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker ends. `code` "" : in order."""

    reason: str
    code: str = ""


Action = Start | Kill | Keep | Upload | Forget | Welcomed | Leave


@dataclass(slots=True)
class Run:
    """A running attempt. `deadline_ms`: past it, it must not live any more."""

    deadline_ms: int
    killed: bool = False
    stopping: bool = False


@dataclass(slots=True)
class Waiting:
    """A report that waits for its answer."""

    report: Report
    kept: bool
    uploaded: bool
    uploading: bool = False
    again_ms: int = 0
    held_until_ms: int | None = None

    def held(self, mono_ms: int, lease_ms: int) -> bool:
        """Whether its lease is to be renewed: what was paid for is not done again while it is on its way, but not for ever."""
        if self.held_until_ms is None:
            self.held_until_ms = mono_ms + HELD_LEASES * lease_ms
        return mono_ms < self.held_until_ms


def large(report: Report) -> bool:
    """Whether it names texts that do not travel inside it."""
    return any(text.data is None for text in report.texts)


class Latest(OrderedDict[K, V]):
    """A map that keeps what was put last, at most so much."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        self[key] = value
        if len(self) > self._most:
            self.popitem(last=False)
