"""Places: a task's state without what makes no difference to where it can go from there.

The abstraction is a map from states to states. What is left of a task is itself a task that the kernel can tick, so the
kernel's own rules are the only ones that are asked. Forgotten are names and numbers (identities, times, fences, versions,
texts), counters (the limits stand in their stead, see steps.py), and what has been said and can be asked no more (voices.py).
Three things are no places of their own. An attempt that waits is an attempt that runs, and a pause is nothing. A budget that
runs out while agents are at work holds the task where it is, until a person raises it or gives up. And what siblings of a
fan-out say counts in the order of the table, whatever came first: a result is withheld until all before it are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from loom.bundles.checking.voices import Ear, Exhibit, Heard
from loom.kernel import events as e
from loom.kernel.budgets import UNFINISHED
from loom.kernel.copying import copier
from loom.kernel.draft import newborn
from loom.kernel.facts import live_blockers
from loom.kernel.flow import Bundle, Fanout, Gate, Spawn, Stage
from loom.kernel.limits import GATE_WAIT_MS, SEMANTICS, TASK_WALL_MS
from loom.kernel.stages import LOCAL_CHAIN
from loom.kernel.state import GateState, Parked, SpawnState, TaskSpec, TaskState
from loom.kernel.values import (
    NO_TEXT,
    REVIEW,
    AnswerWord,
    Capability,
    Caps,
    Evidence,
    Finding,
    FindingReport,
    Origin,
    ParkCode,
    Place,
    Principal,
    PrincipalKind,
    Severity,
    SpawnStatus,
    Spent,
    Status,
    Verdict,
)

TASK, SUBJECT, OTHER_SUBJECT, WORK, WORKER = "t", "s", "other", "w", "worker"
NOW_MS = 1_000_000
UNCAPPED = Caps(attempts=0, rounds=0, wall_ms=TASK_WALL_MS)
HELD_BACK = Caps(attempts=0, rounds=1, wall_ms=TASK_WALL_MS)
"""Where the rounds are used up: a person can raise them."""
USED_UP = (ParkCode.ATTEMPTS, ParkCode.COST, ParkCode.TOKENS, ParkCode.WALL)
"""Budgets that lead to the same place: the same offers, and the same way on."""
PERSON = Principal("person", PrincipalKind.PERSON, "check")
HANDS = Principal(WORKER, PrincipalKind.WORKER, "check")
_TALKING = (Capability.ANSWER, Capability.READ)

_copy = copier(TaskState)


@dataclass(frozen=True, slots=True)
class Ghost:
    """What no rule reads, but a property asks: about the present subject, whether the checks ran (or a person did without),
    and which roles a person accepted at the gates that decide on it."""

    checked: bool = False
    signed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spot:
    """A place of the abstract graph: a task without what makes no difference, and the ghost."""

    task: TaskState
    ghost: Ghost

    def __hash__(self) -> int:
        """Over what differs from place to place."""
        task = self.task
        return hash(
            (task.flow, task.stage, task.spawns, task.outcomes, task.facts, task.findings, task.evidence, task.parked)
        )


@dataclass
class Map:
    """From states to places, for one bundle."""

    bundle: Bundle
    ear: Ear = field(init=False)

    def __post_init__(self) -> None:
        self.ear = Ear(self.bundle)
        self._blank = blank(self.bundle)
        self._backs = {flow.rework for flow in self.bundle.flows}
        self._capabilities = {agent.name: agent.capability for agent in self.bundle.agents}
        self._deciding = {flow.name: deciding(flow.stages, self._capabilities) for flow in self.bundle.flows}

    def spot(self, task: TaskState, ghost: Ghost) -> Spot:
        """The place of a state."""
        plain = self._plain(task)
        return Spot(plain, Ghost() if plain.status is Status.DONE else ghost)

    def ghost(self, before: TaskState, ghost: Ghost, events: Iterable[e.TaskEvent]) -> Ghost:
        """The ghost after these events."""
        checked, signed, subject, flow = ghost.checked, ghost.signed, before.subject, before.flow
        for event in events:
            match event:
                case e.FlowChosen():
                    flow = event.flow
                case e.SubjectChanged() if event.subject != subject:
                    checked, signed, subject = False, (), event.subject
                case e.SpawnSettled(agent=agent) | e.SpawnWaived(agent=agent):
                    checked = checked or self._capabilities[agent] is Capability.CHECKS
                case e.DecisionRecorded() if event.word is AnswerWord.ACCEPT and event.subject == subject:
                    if event.by.kind is PrincipalKind.PERSON and event.role in self._deciding[flow]:
                        signed = tuple(sorted({*signed, event.role}))
                case _:
                    continue
        return Ghost(checked, signed)

    def deciding(self, flow: str) -> tuple[str, ...]:
        """The roles whose gates decide on what may become accepted: those after the last stage that edits."""
        return self._deciding[flow]

    # -------------------------------------------------------------------------------------------- what makes no difference

    def _plain(self, task: TaskState) -> TaskState:
        if task.status is Status.DONE:
            return _copy(self._blank, status=Status.DONE, verdict=task.verdict)
        working = any(state.status in UNFINISHED for state in task.spawns)
        parked = None if task.parked is None else Parked(_code(task.parked.code), task.stage, ())
        gate = task.gate
        if parked is not None and parked.code is ParkCode.WALL and working:
            parked = gate = None
        told = any(state.status is SpawnStatus.SETTLED for state in task.spawns)
        withheld = self._withheld(task) if parked is None else frozenset()
        heard = self.ear.hear((task.flow, task.stage), _heard(task, withheld), told=told)
        findings = tuple(_findings(task, withheld))
        walled = task.verdict is Verdict.NONE and not (parked and parked.code is ParkCode.WALL)
        wakes = [("wall", NOW_MS + TASK_WALL_MS)] if walled else []
        held = parked is not None and parked.code is ParkCode.ROUNDS
        return _copy(
            self._blank,
            status=Status.OPEN,
            verdict=task.verdict,
            flow=task.flow,
            stage=task.stage,
            iterations=tuple((name, 1) for name, _ in task.iterations if name == task.stage or name in self._backs),
            spawns=tuple(_spawn(task, state, withheld) for state in task.spawns),
            outcomes=heard.words,
            facts=heard.facts,
            findings=findings,
            finding_count=len(findings),
            evidence=tuple(_evidence(one) for one in heard.shown),
            gate=None if gate is None else _gate(task, gate),
            gate_count=0 if gate is None else 1,
            parked=parked,
            caps=HELD_BACK if held else UNCAPPED,
            spent=Spent(rounds=1) if held else Spent(),
            fence=1,
            wakes=(*([("gate", NOW_MS + GATE_WAIT_MS)] if gate is not None else []), *wakes),
        )

    def _withheld(self, task: TaskState) -> frozenset[str]:
        """Siblings whose results do not count yet: an earlier one in the table has none. Who changes something, or runs
        checks, is never held back."""
        waiting = False
        found = []
        for state in task.spawns:
            if state.status in UNFINISHED:
                waiting = True
            elif waiting and self._capabilities[state.agent] in _TALKING:
                found.append(state.agent)
        return frozenset(found)


def deciding(stages: tuple[Stage, ...], capabilities: dict[str, Capability]) -> tuple[str, ...]:
    """The roles of the gates behind the last stage that edits, in order."""
    roles: list[str] = []
    for stage in stages:
        names = [stage.agent] if isinstance(stage, Spawn) else []
        if isinstance(stage, Fanout):
            names = [member.agent for member in stage.members]
        if any(capabilities.get(name) is Capability.EDIT for name in names):
            roles = []
        if isinstance(stage, Gate) and stage.role not in roles:
            roles.append(stage.role)
    return tuple(roles)


def _code(code: ParkCode) -> ParkCode:
    return ParkCode.WALL if code in USED_UP else code


def _heard(task: TaskState, withheld: frozenset[str]) -> Heard:
    kinds = {REVIEW + agent for agent in withheld}
    shown: list[Exhibit] = [
        (one.kind, one.outcome, one.by.kind is PrincipalKind.PERSON) for one in task.evidence if one.kind not in kinds
    ]
    words = tuple(pair for pair in task.outcomes if pair[0] not in withheld) if withheld else task.outcomes
    return Heard(words, task.facts, tuple(sorted(shown)))


def _evidence(shown: Exhibit) -> Evidence:
    kind, outcome, own = shown
    return Evidence(kind, SUBJECT, outcome, PERSON if own else HANDS)


def _spawn_id(stage: str, agent: str) -> str:
    return f"{TASK}/{stage}.1/{agent}"


def _spawn(task: TaskState, state: SpawnState, withheld: frozenset[str]) -> SpawnState:
    spawn = _spawn_id(task.stage, state.agent)
    if state.status not in UNFINISHED and state.agent not in withheld:
        return SpawnState(spawn, state.agent, state.status, LOCAL_CHAIN)
    same = state.status is not SpawnStatus.GRANTED or state.subject == task.subject
    return SpawnState(
        spawn, state.agent, SpawnStatus.GRANTED, LOCAL_CHAIN, fence=1, worker=WORKER,
        subject=SUBJECT if same else OTHER_SUBJECT,
    )  # fmt: skip


def _gate(task: TaskState, gate: GateState) -> GateState:
    return GateState(
        id=f"{TASK}-1",
        role=gate.role,
        stage=gate.stage,
        answers=gate.answers,
        base="",
        subject=SUBJECT if gate.subject == task.subject else OTHER_SUBJECT,
        change="",
        policy_digest="",
        root="",
        due_ms=NOW_MS + GATE_WAIT_MS,
        rework=gate.rework,
    )


def _findings(task: TaskState, withheld: frozenset[str]) -> list[Finding]:
    """One open blocker for each agent and origin that has any; of what failed, with the spawn that a retry takes it with."""
    spawns = {state.id: _spawn_id(task.stage, state.agent) for state in task.spawns}
    seen = sorted(
        {
            (f.agent, f.report.origin.value, spawns.get(f.spawn, ""))
            for f in live_blockers(task.findings)
            if f.agent not in withheld
        }
    )
    return [
        Finding(f"f{number}", agent, spawn, 1, SUBJECT, blocker(agent, Origin(origin)))
        for number, (agent, origin, spawn) in enumerate(seen, 1)
    ]


def blocker(agent: str, origin: Origin, mark: str = "") -> FindingReport:
    """A blocker of an agent. mark: tells one from another, so that a later one is no stall."""
    key = f"{agent}.{origin}{mark}"
    return FindingReport(Severity.BLOCKING, "model", Place(), NO_TEXT, NO_TEXT, NO_TEXT, key, key, origin)


def blank(bundle: Bundle) -> TaskState:
    """A task of the bundle at no stage yet: what all places have in common."""
    spec = TaskSpec(
        task=TASK, project="p", bundle=bundle.name, rules_digest="", semantics=SEMANTICS, text=NO_TEXT, flow="",
        preset="", policies=(), policy_digest="", base="b", base_subject=SUBJECT, bindings=(), caps=UNCAPPED,
        sandbox="", priority=0, weight=1, requires=(), options=(), landing="", origin_task="", submitter=PERSON,
    )  # fmt: skip
    submitted = e.TaskSubmitted(spec, SUBJECT, NOW_MS)
    return _copy(newborn(submitted), work=WORK)
