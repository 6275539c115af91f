"""Play a bundle through the kernel by hand-made commands: scripted agents, no worker, no clock, no store.

    play = Play(bundle, {"correctness": [block("f(0) fails"), APPROVE]}, preset="autonomous")
    play.run()                      # grants and reports until the task waits for a person or is done
    play.answer("accept")

A script has a list of replies for an agent, used in order, the last one for ever; an agent without a list says its first
outcome. Editing makes a new subject each time. Time goes on by one second a command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.findings import identity, stall_key
from loom.kernel.flow import Agent, Bundle
from loom.kernel.machine import Rejection, Tick, tick
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
    FindingReport,
    Place,
    Principal,
    PrincipalKind,
    Severity,
    SpawnStatus,
    Statement,
    Status,
    Text,
)
from loom.kernel.work import rules_for

PERSON = Principal("ada", PrincipalKind.PERSON, "test")
WORKER = Principal("w1", PrincipalKind.WORKER, "fabric")
SCHEDULER = Principal("scheduler", PrincipalKind.SYSTEM, "core", assurance="A0")
CHECKS = ("test", "lint", "typecheck")
MAX_COMMANDS = 5_000
"""Commands of one play; a script that needs more goes in circles."""


def text(value: str) -> Text:
    """A short inline text."""
    return Text(value, size=len(value.encode()))


@dataclass(frozen=True)
class Said:
    """What an agent reports. outcome "" : the first it declares. checks: name → outcome, over `passed` for each."""

    outcome: str = ""
    facts: Mapping[str, str] | None = None
    findings: tuple[FindingReport, ...] = ()
    checks: Mapping[str, str] | None = None
    unchanged: bool = False
    fails: ErrorClass = ErrorClass.NONE


APPROVE = Said("approve")


def finding(message: str, severity: Severity = Severity.BLOCKING, path: str = "a.py", line: int = 1) -> FindingReport:
    """A finding as admission makes it."""
    return FindingReport(
        severity=severity,
        category="wrong",
        place=Place(path, line),
        message=text(message),
        evidence=text("f(0)"),
        suggestion=NO_TEXT,
        identity=identity("reviewer", path, line, "wrong", message),
        stall_key=stall_key(path, "wrong", message),
    )


def block(message: str, **facts: str) -> Said:
    """A judge that blocks with one finding."""
    return Said("block", facts=facts, findings=(finding(message),))


class NoHome:
    """A home with nothing in it."""

    def read(self, name: str) -> str:
        return ""


class Play:
    """One task of a bundle, from its submit on. `events`: all of them, in order."""

    def __init__(
        self,
        bundle: Bundle,
        script: Mapping[str, Sequence[Said]] | None = None,
        *,
        flow: str = "",
        preset: str = "",
        caps: Caps | None = None,
    ) -> None:
        self.rules = rules_for(bundle)
        self.events: list[e.TaskEvent] = []
        self.violations: list[str] = []
        self._script = {name: list(replies) for name, replies in (script or {}).items()}
        self._now = 1_000
        self._made = 0
        self._task: TaskState | None = None
        self.take(
            PERSON,
            c.Submit(
                task="t000000001",
                project="p1",
                bundle=bundle.name,
                rules_digest=bundle.digest,
                semantics=self.rules.semantics,
                text=text("mend f"),
                flow=flow,
                preset=preset or bundle.default_preset,
                policies=(),
                base="commit0",
                subject="tree0",
                bindings=(AgentBinding("*", ("recorded:x", "recorded:y")),),
                caps=caps or bundle.caps,
            ),
        )

    @property
    def task(self) -> TaskState:
        assert self._task is not None
        return self._task

    def take(self, principal: Principal, command: c.TaskCommand) -> Tick:
        """Take one command; a rejection is a failure of the test."""
        taken = self.attempt(principal, command)
        assert not isinstance(taken, Rejection), taken
        return taken

    def attempt(self, principal: Principal, command: c.TaskCommand) -> Tick | Rejection:
        """Take one command, or see it rejected."""
        self._now += 1_000
        taken = tick(self.rules, self._task, NoHome(), principal, command, self._now)
        if isinstance(taken, Tick):
            self._task = taken.task
            self.events += taken.events
            self.violations += [violation.rule for violation in taken.violations]
        return taken

    def run(self) -> Play:
        """Grant and report until nothing is ready."""
        for _ in range(MAX_COMMANDS):
            ready = [spawn for spawn in self.task.spawns if spawn.status is SpawnStatus.READY]
            if not ready or self.task.parked is not None or self.task.status is Status.DONE:
                return self
            self.step(ready[0])
        raise AssertionError("the play goes in circles: " + " ".join(self.stages[-20:]))

    def step(self, spawn: SpawnState) -> None:
        """One attempt: granted, and ended by what the script says."""
        self._now = max(self._now, spawn.not_before_ms)
        fence = self.task.fence + 1
        self.take(
            SCHEDULER,
            c.Grant(spawn.id, spawn.attempt, fence, "w1", "boot", spawn.binding, "", 0, Bound.NONE),
        )
        agent = self.rules.agents[spawn.agent]
        self.take(WORKER, self._end(agent, spawn, fence, self._reply(agent)))

    def answer(self, word: str, message: str = "", accepts: Mapping[str, str] | None = None) -> Play:
        """A person's answer at the open gate; then on as far as it goes."""
        reasons = tuple(Acceptance(name, text(reason)) for name, reason in (accepts or {}).items())
        said = text(message) if message else NO_TEXT
        self.take(PERSON, c.Answer(self.gate.id, AnswerWord(word), message=said, accepts=reasons))
        return self.run()

    @property
    def gate(self) -> GateState:
        assert self.task.gate is not None, "no gate is open"
        return self.task.gate

    @property
    def stages(self) -> list[str]:
        """The stages entered, in order."""
        return [event.stage for event in self.events if isinstance(event, e.StageEntered)]

    @property
    def agents(self) -> list[str]:
        """The agents that settled, in order."""
        return [event.agent for event in self.events if isinstance(event, e.SpawnSettled)]

    @property
    def deciders(self) -> list[tuple[str, str, str]]:
        """(role, word, kind of principal) of each decision."""
        found = [event for event in self.events if isinstance(event, e.DecisionRecorded)]
        return [(event.role, event.word.value, event.by.kind.value) for event in found]

    def _reply(self, agent: Agent) -> Said:
        replies = self._script.get(agent.name, [])
        return (replies.pop(0) if len(replies) > 1 else replies[0]) if replies else Said()

    def _end(self, agent: Agent, spawn: SpawnState, fence: int, said: Said) -> c.AttemptEnded:
        if said.fails is not ErrorClass.NONE:
            return c.AttemptEnded(spawn.id, spawn.attempt, fence, End.FAILED, said.fails, message=text("it failed"))
        facts = {name: values[-1] for name, values in agent.facts}
        facts.update({measure.fact: "no" for measure in agent.measures if "no" in measure.values})
        subject, work, change = self._subject(agent, said)
        return c.AttemptEnded(
            spawn.id,
            spawn.attempt,
            fence,
            End.REPORTED,
            outcome=said.outcome or agent.outcomes[0],
            facts=tuple(sorted({**facts, **(said.facts or {})}.items())),
            findings=said.findings,
            artifacts=tuple((name, text(f"{name} by {agent.name}")) for name in agent.makes),
            statements=_statements(said) if agent.capability is Capability.CHECKS else (),
            subject=subject,
            work=work,
            change=change,
            summary=text("so it is"),
        )

    def _subject(self, agent: Agent, said: Said) -> tuple[str, str, str]:
        if agent.capability is Capability.CHECKS:
            return self.task.subject, "", ""
        if agent.capability is not Capability.EDIT:
            return "", "", ""
        if said.unchanged:
            return self.task.subject, self.task.work, self.task.change
        self._made += 1
        return f"tree{self._made}", f"commit{self._made}", f"change{self._made}"


def _statements(said: Said) -> tuple[Statement, ...]:
    outcomes = dict.fromkeys(CHECKS, "passed") | dict(said.checks or {})
    return tuple(Statement(f"check.{name}", outcome, NO_TEXT, NO_TEXT) for name, outcome in outcomes.items())
