"""A player: drives one task through `tick` in words, and checks after every step that the fold and the rules agree.

    player = Player(REVIEW)
    player.report("worker", subject="t1")
    player.block("reviewer", "it leaks")
    player.answer("revise", "look at the edge")

Every step that was taken is kept as a `Record`; `replayed()` takes all of them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from loom.coordinator.codec import encode_events
from loom.kernel import commands as c
from loom.kernel.budgets import UNCOUNTED, reservation
from loom.kernel.findings import identity, stall_key
from loom.kernel.flow import Agent, Bundle
from loom.kernel.fold import evolve
from loom.kernel.invariants import objections
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import Record, Replay, replay
from loom.kernel.state import GateState, SpawnState, TaskState
from loom.kernel.values import (
    NO_TEXT,
    Acceptance,
    AgentBinding,
    AnswerWord,
    Bound,
    Capability,
    Caps,
    End,
    ErrorClass,
    Execution,
    FindingReport,
    Place,
    Principal,
    PrincipalKind,
    Severity,
    SpawnStatus,
    Statement,
    Text,
    Usage,
)
from loom.kernel.work import Asking, Rules, ask_directly, rules_for

ALLOWANCE = 100
"""What a grant reserves before the task has shown what its attempts take."""
T = TypeVar("T")

T0 = 1_750_000_000_000
ANNA = Principal("anna", PrincipalKind.PERSON, "cli")
CORE = Principal("core", PrincipalKind.SYSTEM, "core", assurance="A0")
HANDS = Principal("w1", PrincipalKind.WORKER, "fabric", assurance="A0")

BY_COMMAND = {c.Grant: CORE, c.Wake: CORE, c.AttemptEnded: HANDS}
"""Who gives a command, when nobody else is named."""


def text(value: str) -> Text:
    return Text(value, size=len(value.encode()))


def finding(
    message: str, severity: str = "blocking", *, agent: str = "reviewer", path: str = "a", **more: object
) -> FindingReport:
    """A finding as admission would make it."""
    report = FindingReport(
        severity=Severity(severity),
        category="logic",
        place=Place(path, 1),
        message=text(message),
        evidence=NO_TEXT,
        suggestion=NO_TEXT,
        identity=identity(agent, path, 1, "logic", message),
        stall_key=stall_key(path, "logic", message),
    )
    return replace(report, **more)  # type: ignore[arg-type]


def submission(bundle: Bundle, **changes: object) -> c.Submit:
    """The Submit of a task of this bundle; its task is t, its base subject s0."""
    asked = c.Submit(
        task="t",
        project="p",
        bundle=bundle.name,
        rules_digest=bundle.digest,
        semantics=1,
        text=text("do it"),
        flow="",
        preset=bundle.default_preset,
        policies=(),
        base="c0",
        subject="s0",
        bindings=(AgentBinding("*", ("first", "second")),),
        caps=bundle.caps,
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


class Refusal(AssertionError):
    """A step that had to be taken was rejected."""


class HomeOfOne:
    """What a tick reads about the home: a root that changes with every entry; the roles that sign; what is left of budgets."""

    def __init__(self, signed: str = "", more: Mapping[str, str] | None = None) -> None:
        self.root = 0
        self.values = {"signed_roles": signed, "separate_duties": "", **(more or {})}

    def read(self, name: str) -> str:
        if name == "root":
            return f"root{self.root}"
        assert name in self.values or " left " in name, name
        return self.values.get(name, "")


@dataclass
class Player:
    """One task of a bundle. `now_ms` moves by one with every step; `preset`, `caps` and other fields of Submit by name."""

    bundle: Bundle
    submit: Mapping[str, object] = field(default_factory=dict)
    ask: Asking = ask_directly
    signed: str = ""
    read: Mapping[str, str] = field(default_factory=dict)
    """What is read about the home, by name."""
    by: Principal = ANNA
    """Who submits."""
    task: TaskState = field(init=False)
    last: Tick = field(init=False)
    records: list[Record] = field(init=False, default_factory=list)
    now_ms: int = T0

    def __post_init__(self) -> None:
        self.rules: Rules = rules_for(self.bundle)
        self.home = HomeOfOne(self.signed, self.read)
        self._state: TaskState | None = None
        self.do(submission(self.bundle, **self.submit), by=self.by)

    # ------------------------------------------------------------------------------------------------------ one step

    def try_(self, command: c.TaskCommand, by: Principal | None = None) -> Tick | Rejection:
        """Take a command. Applied or objected: it is checked and recorded. Rejected: nothing changed."""
        before = self._state
        self.now_ms += 1
        by = by or BY_COMMAND.get(type(command), ANNA)
        taken = tick(self.rules, before, self.home, by, command, self.now_ms, self.ask)
        assert self._state is before
        if isinstance(taken, Rejection):
            return taken
        assert evolve(before, taken.events, self.now_ms) == taken.task, "the fold is another than the tick's"
        found = objections(self.rules, before, taken.task, taken.events, silent)
        assert [] == [v for v in found if not taken.violations or v.rule.startswith("kernel.")], found
        self._record(command, by, taken)
        self._state = self.task = taken.task
        self.last = taken
        self.home.root += 1
        return taken

    def do(self, command: c.TaskCommand, by: Principal | None = None) -> Tick:
        """Take a command that must not be rejected."""
        taken = self.try_(command, by)
        if isinstance(taken, Rejection):
            raise Refusal(f"{taken.code}: {taken.sentence}")
        return taken

    def refused(self, command: c.TaskCommand, by: Principal | None = None) -> str:
        """The code with which a command is rejected."""
        taken = self.try_(command, by)
        assert isinstance(taken, Rejection), f"taken: {command}"
        return taken.code

    def _record(self, command: c.TaskCommand, by: Principal, taken: Tick) -> None:
        self.records.append(
            Record(
                seq=len(self.records),
                task=taken.task.spec.task,
                n=taken.task.n,
                now_ms=self.now_ms,
                principal=by,
                command=command,
                events=taken.events,
                outcome=taken.outcome,
                unanswered=taken.unanswered,
                home_reads=taken.home_reads,
                rules_digest=self.bundle.digest,
            )
        )

    def replayed(self) -> Replay:
        """Everything once more."""
        return replay(self.records, lambda _: self.rules, encode_events)

    # ------------------------------------------------------------------------------------------------------ attempts

    def spawn(self, agent: str) -> SpawnState:
        for state in self.task.spawns:
            if state.agent == agent:
                return state
        raise AssertionError(f"{agent} has no spawn at stage {self.task.stage}; there: {self.agents()}")

    def agents(self, *statuses: str) -> list[str]:
        """The agents that have a spawn at this stage (in one of these statuses)."""
        return [s.agent for s in self.task.spawns if not statuses or s.status in statuses]

    def grant(self, agent: str, *, reserved: int | None = None, **changes: object) -> c.Grant:
        """Grant the agent's ready attempt, waiting for its time; returns the command."""
        state = self.spawn(agent)
        self.now_ms = max(self.now_ms, state.not_before_ms)
        command = self.granting(state, reserved=reserved)
        self.do(replace(command, **changes))  # type: ignore[arg-type]
        return command

    def granting(self, state: SpawnState, *, reserved: int | None = None) -> c.Grant:
        """The grant of a ready attempt. reserved None: what a scheduler would reserve."""
        caps, spent = self.task.caps, self.task.spent
        free = self.rules.agents[state.agent].capability in UNCOUNTED
        left = caps.cost - spent.cost - spent.reserved
        cost = reservation(left, spent.largest, ALLOWANCE, first=True)
        left = caps.tokens - spent.tokens - spent.reserved_tokens
        tokens = reservation(left, spent.largest_tokens, ALLOWANCE, first=True)
        if reserved is None:
            reserved = cost or 0 if caps.cost and not free else 0
        return c.Grant(
            spawn=state.id,
            attempt=state.attempt,
            fence=self.task.fence + 1,
            worker="w1",
            boot="b1",
            binding=state.binding,
            price="",
            reserved=reserved,
            bound=Bound.METERED,
            tokens=tokens or 0 if caps.tokens and not free else 0,
        )

    def grant_all(self) -> None:
        for agent in self.agents("ready"):
            self.grant(agent)

    def ending(self, agent: str, end: str, **fields: object) -> c.AttemptEnded:
        """The end of the agent's running attempt, not yet taken."""
        state = self.spawn(agent)
        return c.AttemptEnded(
            spawn=state.id,
            attempt=state.attempt,
            fence=state.fence,
            end=End(end),
            execution=Execution(worker=state.worker, boot=state.boot, binding=state.binding),
            **fields,  # type: ignore[arg-type]
        )

    def end(self, agent: str, end: str, **fields: object) -> Tick:
        """End the agent's attempt; a ready one is granted first."""
        if self.spawn(agent).status is SpawnStatus.READY:
            self.grant(agent)
        return self.do(self.ending(agent, end, **fields))

    def report(
        self,
        agent: str,
        outcome: str = "",
        *,
        subject: str = "",
        findings: Iterable[FindingReport] = (),
        facts: Mapping[str, str] | None = None,
        checks: Mapping[str, str] | None = None,
        cost: int | None = None,
        tokens: int = 0,
        **fields: object,
    ) -> Tick:
        """The agent's attempt reports: its first outcome word unless another is given. subject: what an editing agent made.
        checks: kind → outcome."""
        if self.spawn(agent).status is SpawnStatus.READY:
            self.grant(agent)
        return self.do(
            self.reporting(
                self.rules.agents[agent],
                outcome,
                subject=subject,
                findings=tuple(findings),
                facts=tuple(sorted((facts or {}).items())),
                statements=tuple(Statement(k, v, NO_TEXT, NO_TEXT) for k, v in (checks or {}).items()),
                usage=Usage(input_tokens=tokens, calls=1, cost=cost),
                **fields,
            )
        )

    def reporting(self, agent: Agent, outcome: str = "", *, subject: str = "", **fields: object) -> c.AttemptEnded:
        """A report that fits the agent, unless the fields say otherwise."""
        work = ""
        if agent.capability is Capability.EDIT:
            work = f"c-{subject}" if subject else ""
        elif agent.capability is not Capability.ANSWER and not subject:
            subject = self.task.subject
        fields.setdefault("artifacts", tuple((name, text(name)) for name in agent.makes))
        return self.ending(
            agent.name,
            "reported",
            outcome=outcome or agent.outcomes[0],
            subject=subject,
            work=work,
            change=subject,
            **fields,
        )

    def block(self, agent: str, message: str = "it leaks") -> Tick:
        return self.report(agent, "block", findings=[finding(message, agent=agent)])

    def fail(self, agent: str, error_class: str, message: str = "", **fields: object) -> Tick:
        return self.end(agent, "failed", error_class=ErrorClass(error_class), message=text(message), **fields)

    # --------------------------------------------------------------------------------------------------------- people

    @property
    def gate(self) -> GateState:
        assert self.task.gate is not None, f"no gate is open at stage {self.task.stage}"
        return self.task.gate

    @property
    def offers(self) -> set[str]:
        return {word.value for word in self.gate.answers}

    @property
    def parked(self) -> str:
        """Why the task is parked ("" : it is not)."""
        return self.task.parked.code.value if self.task.parked else ""

    def answering(
        self, word: str, message: str = "", accept: Mapping[str, str] | None = None, **fields: object
    ) -> c.Answer:
        return c.Answer(
            gate=self.gate.id,
            word=AnswerWord(word),
            message=text(message) if message else NO_TEXT,
            accepts=tuple(Acceptance(name, text(reason)) for name, reason in (accept or {}).items()),
            **fields,  # type: ignore[arg-type]
        )

    def answer(
        self,
        word: str,
        message: str = "",
        accept: Mapping[str, str] | None = None,
        by: Principal | None = None,
        **fields: object,
    ) -> Tick:
        """Answer the open gate. accept: finding → reason."""
        return self.do(self.answering(word, message, accept, **fields), by)

    def accept_all(self, reason: str = "known") -> Tick:
        """Accept over every open blocker, each by name."""
        return self.answer("accept", accept=dict.fromkeys(self.blockers(), reason))

    def blockers(self) -> list[str]:
        return [f.id for f in self.task.findings if f.status == "open" and f.report.severity == "blocking"]

    # ------------------------------------------------------------------------------------------------- what happened

    def happened(self, kind: type[T]) -> list[T]:
        """The events of this kind in the last step."""
        return [event for event in self.last.events if isinstance(event, kind)]

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.last.events]

    def effects(self, kind: type[T]) -> list[T]:
        return [effect for effect in self.last.effects if isinstance(effect, kind)]


def silent(name: str, function: object, *arguments: object) -> None:
    """Rules that are functions were asked by the tick already."""


def caps(**changes: int) -> Caps:
    return replace(Caps(), **changes)
