"""Replay: every command of a history taken again, the derived events compared with the recorded ones, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.machine import Rejection, tick
from loom.kernel.state import HomeState, TaskState
from loom.kernel.values import Pairs, Principal
from loom.kernel.work import Refused, Rules, ask_directly, recorded_silence

HOME_COMMANDS = (
    c.CreateHome,
    c.Start,
    c.AddProject,
    c.RemoveProject,
    c.TrustProject,
    c.ChangeSetting,
    c.ReachBudget,
    c.KeepBundle,
    c.EnrolPrincipal,
    c.EnrolKey,
    c.RevokeKey,
    c.RotateLogKey,
    c.Restore,
    c.InviteWorker,
    c.EnrolWorker,
    c.RevokeWorker,
)


@dataclass(frozen=True, slots=True)
class Record:
    """One entry as replay reads it. task "" : about the home. `home_reads`, `unanswered`: the recorded inputs."""

    seq: int
    task: str
    n: int
    now_ms: int
    principal: Principal
    command: c.Command
    events: tuple[e.Event, ...]
    outcome: str
    unanswered: tuple[str, ...]
    home_reads: Pairs
    rules_digest: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a decision derived again is another one."""

    seq: int
    task: str
    expected: str
    got: str
    n: int = 0
    command: str = ""
    """Its kind."""


@dataclass(frozen=True, slots=True)
class Replay:
    """ticks: commands taken again. difference None: identical."""

    ticks: int
    difference: Difference | None


class RecordedHome:
    """Home reads as they were recorded; a name that was not read then has no value now."""

    def __init__(self, reads: Pairs) -> None:
        self._reads = dict(reads)

    def read(self, name: str) -> str:
        return self._reads.get(name, "")


def replay(
    records: Iterable[Record], rules: Callable[[str], Rules], encode: Callable[[tuple[e.Event, ...]], bytes]
) -> Replay:
    """Take the commands again in order. rules: bundle digest → rules. encode: the ledger's bytes of a tick's events.

    The home's entries may be missing (one exported task); if they are there, they are taken again too.
    """
    tasks: dict[str, TaskState] = {}
    home = HomeState()
    ticks = 0

    def other(record: Record, expected: bytes, got: str) -> Replay:
        kind = type(record.command).__name__
        return Replay(ticks, Difference(record.seq, record.task, expected.decode(), got, record.n, kind))

    for record in records:
        ticks += 1
        expected = encode(record.events)
        if isinstance(record.command, HOME_COMMANDS):
            try:
                events: tuple[e.Event, ...] = tick_home(home, record.principal, record.command, record.now_ms)
            except Refused as refusal:
                return other(record, expected, f"rejected: {refusal}")
            home = evolve_home(home, events)
        else:
            taken = _take(record, record.command, tasks.get(record.task), rules(record.rules_digest))
            if isinstance(taken, str):
                return other(record, expected, taken)
            events, tasks[record.task] = taken
        got = encode(events)
        if got != expected:
            return other(record, expected, got.decode())
    return Replay(ticks, None)


def _take(
    record: Record, command: c.TaskCommand, task: TaskState | None, rules: Rules
) -> tuple[tuple[e.Event, ...], TaskState] | str:
    def ask(name: str, function: Any, *arguments: Any) -> Any:
        if silence := recorded_silence(name, record.unanswered):
            raise silence
        return ask_directly(name, function, *arguments)

    taken = tick(rules, task, RecordedHome(record.home_reads), record.principal, command, record.now_ms, ask)
    if isinstance(taken, Rejection):
        return f"rejected: {taken.code}: {taken.sentence}"
    if taken.outcome != record.outcome:
        return f"outcome {taken.outcome}, recorded {record.outcome}"
    return taken.events, taken.task
