"""A task's state in the making: what a tick works on, and what events are folded into (see fold.py)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from loom.kernel import events as e
from loom.kernel.copying import copier, filler, freezer
from loom.kernel.state import Doubt, GateState, Parked, SpawnState, TaskSpec, TaskState
from loom.kernel.values import (
    Artifact,
    Caps,
    CarriedMessage,
    Counts,
    Evidence,
    Finding,
    Pairs,
    Spent,
    Status,
    Verdict,
)

_fill = filler(TaskState)
_freeze = freezer(TaskState)
_spawn_with = copier(SpawnState)


class Draft:
    """A task's state in the making: the fields of TaskState, writable."""

    __slots__ = tuple(field.name for field in fields(TaskState))

    spec: TaskSpec
    n: int
    now_ms: int
    status: Status
    verdict: Verdict
    paused: bool
    flow: str
    stage: str
    round: int
    iterations: Counts
    subject: str
    work: str
    previous: str
    change: str
    author: str
    spawns: tuple[SpawnState, ...]
    outcomes: Pairs
    facts: Pairs
    findings: tuple[Finding, ...]
    finding_count: int
    carried: tuple[Finding, ...]
    messages: tuple[CarriedMessage, ...]
    stalls: Counts
    evidence: tuple[Evidence, ...]
    artifacts: tuple[Artifact, ...]
    gate: GateState | None
    gate_count: int
    parked: Parked | None
    caps: Caps
    spent: Spent
    fence: int
    wakes: Counts
    subject_fence: int
    doubts: tuple[Doubt, ...]
    owner: str

    def __init__(self, task: TaskState) -> None:
        _fill(self, task)

    def spawn(self, spawn: str) -> SpawnState | None:
        """The spawn of the present stage with this id."""
        for state in self.spawns:
            if state.id == spawn:
                return state
        return None

    def change_spawn(self, spawn: str, **changes: Any) -> None:
        """Replace fields of one spawn; an unknown id changes nothing."""
        for place, state in enumerate(self.spawns):
            if state.id == spawn:
                self.spawns = (*self.spawns[:place], _spawn_with(state, **changes), *self.spawns[place + 1 :])
                return

    def freeze(self, now_ms: int) -> TaskState:
        """The next state: one entry later. The draft itself becomes it, and can no longer be written."""
        self.n += 1
        self.now_ms = now_ms
        return _freeze(self)


def newborn(event: e.TaskSubmitted) -> TaskState:
    """The state of a task before its first entry is folded: n = 0."""
    spec = event.spec
    return TaskState(
        spec=spec,
        n=0,
        now_ms=event.now_ms,
        status=Status.OPEN,
        verdict=Verdict.NONE,
        paused=False,
        flow=spec.flow,
        stage="",
        round=1,
        iterations=(),
        subject=event.subject,
        work=spec.base,
        previous="",
        change="",
        author="",
        spawns=(),
        outcomes=(),
        facts=(),
        findings=(),
        finding_count=0,
        carried=(),
        messages=(),
        stalls=(),
        evidence=(),
        artifacts=(),
        gate=None,
        gate_count=0,
        parked=None,
        caps=spec.caps,
        spent=Spent(),
        fence=0,
        wakes=(),
        subject_fence=0,
        doubts=(),
    )
