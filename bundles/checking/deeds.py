"""Deeds: what the world can do to a task, in finite words, and the commands that do it.

The same deed is done to a place of the abstract graph and, when a trace is played, to a real task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from loom.bundles.checking.places import HANDS, OTHER_SUBJECT, PERSON, blocker
from loom.bundles.checking.residues import atoms
from loom.bundles.checking.voices import CHECK, Ear, Heard
from loom.bundles.checking.ways import Node, Sight
from loom.kernel import commands as c
from loom.kernel.admission import BLOCK
from loom.kernel.facts import Guard, Shown, live_blockers
from loom.kernel.flow import Agent, Bundle, Spawn
from loom.kernel.state import SpawnState, TaskState
from loom.kernel.values import (
    Acceptance,
    AnswerWord,
    Bound,
    Capability,
    End,
    ErrorClass,
    Execution,
    FindingReport,
    Origin,
    Pairs,
    Principal,
    PrincipalKind,
    SpawnStatus,
    Statement,
    Text,
    Verdict,
    find,
)

SCHEDULER = Principal("loom", PrincipalKind.SYSTEM, "check", assurance="A0")
CHECK_OUTCOMES = ("passed", "failed", "skipped", "not_applicable")
MAX_WORDS = 20_000
"""Combinations of outcome, facts and statements of one agent that are looked at."""


def text(value: str) -> Text:
    """A short text inline."""
    return Text(value, size=len(value.encode()))


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent and the hands say at the end of an attempt. fresh: there is a new subject; blocks: with a blocker."""

    outcome: str
    facts: Pairs = ()
    shown: Pairs = ()
    fresh: bool = False
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Reports:
    """An attempt of the agent reports."""

    agent: str
    report: Report


@dataclass(frozen=True, slots=True)
class Garbles:
    """An attempt reports what cannot be read, and is repaired; what the hands measured holds."""

    agent: str
    report: Report


@dataclass(frozen=True, slots=True)
class Fails:
    """The agent's spawn ends without a result: its tries are used up."""

    agent: str


@dataclass(frozen=True, slots=True)
class Answers:
    """A person answers the open gate. own: with work of the person's own."""

    word: AnswerWord
    own: bool = False


@dataclass(frozen=True, slots=True)
class RunsOut:
    """A budget of the task is used up."""


@dataclass(frozen=True, slots=True)
class Cancels:
    """A person cancels the task."""


Deed = Reports | Garbles | Fails | Answers | RunsOut | Cancels


@dataclass
class World:
    """Everything that may happen to tasks of a bundle."""

    bundle: Bundle
    ear: Ear
    agents: Mapping[str, Agent] = field(init=False)
    _said: dict[tuple[str, Node], tuple[tuple[Report, ...], tuple[Report, ...]]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        self.agents = {agent.name: agent for agent in self.bundle.agents}
        self._kinds = _checks_asked(guard for sight in self.ear.sights.values() for guard in sight.guards)
        self._choosing = {
            stage.agent: stage.chooses
            for flow in self.bundle.flows
            for stage in flow.stages
            if isinstance(stage, Spawn) and stage.chooses
        }

    def deeds(self, task: TaskState, *, everything: bool = False) -> Iterator[Deed]:
        """What may happen to a task that is open. Left out is what leads nowhere else, unless everything is asked for: giving
        up, reports while a person is asked, a budget that runs out while agents are at work (see places.py)."""
        running = [state for state in task.spawns if state.status is SpawnStatus.GRANTED]
        if everything:
            for state in running:
                yield from self._ends(task, state)
        elif running and task.parked is None:
            yield from self._ends(task, running[0])
        if task.gate is not None:
            for word in task.gate.answers:
                if word is not AnswerWord.ABANDON or everything:
                    yield Answers(word)
                if word is AnswerWord.REVISE and task.gate.rework:
                    yield Answers(word, own=True)
        if task.verdict is Verdict.NONE:
            if find(task.wakes, "wall", 0) and (everything or (task.gate is not None and task.parked is None)):
                yield RunsOut()
            if everything:
                yield Cancels()

    def _ends(self, task: TaskState, state: SpawnState) -> Iterator[Deed]:
        reports, garbled = self._words_at(state.agent, (task.flow, task.stage))
        yield from (Reports(state.agent, report) for report in reports)
        yield Fails(state.agent)
        if task.verdict is Verdict.NONE:
            yield from (Garbles(state.agent, report) for report in garbled)

    def _words_at(self, name: str, node: Node) -> tuple[tuple[Report, ...], tuple[Report, ...]]:
        """What an agent may report at a stage, and what may be left of a report that cannot be read."""
        found = self._said.get((name, node))
        if found is None:
            agent, sight = self.agents[name], self.ear.sights[node]
            found = self._said[name, node] = (
                tuple(self._apart(agent, sight, _all_words(agent, self._kinds))),
                tuple(self._apart(agent, sight, _measured(agent))),
            )
        return found

    def _apart(self, agent: Agent, sight: Sight, reports: Iterable[Report]) -> Iterator[Report]:
        """The reports that differ in anything that can still be asked."""
        chooses = self._choosing.get(agent.name, "")
        weighs = agent.judges or agent.capability is Capability.ACT
        seen = set()
        for report in reports:
            shown = tuple((kind, outcome, False) for kind, outcome in report.shown)
            words = ((agent.name, report.outcome),) if report.outcome else ()
            key = (
                self.ear.tells(sight, agent.name, Heard(words, report.facts, shown)),
                report.outcome if weighs else "",
                dict(report.facts).get(chooses, ""),
                report.fresh,
                report.blocks,
            )
            if key not in seen:
                seen.add(key)
                yield report


def _all_words(agent: Agent, kinds: tuple[str, ...]) -> Iterator[Report]:
    """Every combination of what an agent declares and the hands may measure."""
    alphabets = [*agent.facts, *((measure.fact, measure.values) for measure in agent.measures)]
    names = [name for name, _ in alphabets]
    checks = agent.capability is Capability.CHECKS
    outcomes = [CHECK_OUTCOMES] * len(kinds) if checks else []
    count = 0
    for outcome in agent.outcomes:
        for values in product(*(values for _, values in alphabets)):
            for said in product(*outcomes):
                facts = tuple(sorted(zip(names, values, strict=True)))
                shown = tuple(zip(kinds, said, strict=True)) if checks else ()
                for fresh in (True, False) if agent.capability is Capability.EDIT else (False,):
                    for blocks in _blocking(agent, outcome):
                        count += 1
                        if count > MAX_WORDS:
                            raise ValueError(f"agent {agent.name} can say more than {MAX_WORDS} different things")
                        yield Report(outcome, facts, shown, fresh, blocks)


def _blocking(agent: Agent, outcome: str) -> tuple[bool, ...]:
    """A judge blocks with a blocker. Checks that did not all pass may bring one. Nobody else does."""
    if agent.judges:
        return (outcome == BLOCK,)
    return (False, True) if agent.capability is Capability.CHECKS and outcome != agent.outcomes[0] else (False,)


def _measured(agent: Agent) -> Iterator[Report]:
    """What an unreadable report leaves: what was measured, and the work. Of all others nothing: that is no deed."""
    if agent.capability is Capability.EDIT:
        names = sorted(measure.fact for measure in agent.measures)
        alphabets = {measure.fact: measure.values for measure in agent.measures}
        for values in product(*(alphabets[name] for name in names)):
            yield from (Report("", tuple(zip(names, values, strict=True)), fresh=fresh) for fresh in (True, False))


def _checks_asked(guards: Iterable[Guard]) -> tuple[str, ...]:
    kinds = {atom.kind for guard in guards for atom in atoms(guard) if isinstance(atom, Shown)}
    return tuple(sorted(kind for kind in kinds if kind.startswith(CHECK)))


# ----------------------------------------------------------------------------------------------------------- commands


def command(
    deed: Deed, task: TaskState, agents: Mapping[str, Agent], mark: str = ""
) -> tuple[Principal, c.TaskCommand]:
    """The command that does the deed to this task, and who gives it. An attempt that is to end runs. mark: makes what is
    new in it another one than what was new before."""
    match deed:
        case Reports(agent, report) | Garbles(agent, report):
            return HANDS, _reported(task, agents[agent], report, mark)
        case Fails(agent):
            state = running(task, agent)
            return HANDS, c.AttemptEnded(
                state.id, state.attempt, state.fence, End.FAILED, ErrorClass.WORKSPACE, text("its tries are used up")
            )
        case Answers(word, own):
            return PERSON, _answer(task, word, own, mark)
        case RunsOut():
            return SCHEDULER, c.Wake("wall")
        case Cancels():
            return PERSON, c.Cancel()


def running(task: TaskState, agent: str) -> SpawnState:
    """The agent's spawn at the present stage."""
    return next(state for state in task.spawns if state.agent == agent)


def grant(task: TaskState, state: SpawnState) -> tuple[Principal, c.TaskCommand]:
    """What lets a ready attempt run."""
    return SCHEDULER, c.Grant(
        state.id, state.attempt, task.fence + 1, HANDS.id, "boot", state.binding, "", 0, Bound.NONE
    )


def _reported(task: TaskState, agent: Agent, report: Report, mark: str) -> c.AttemptEnded:
    state = running(task, agent.name)
    subject, work = (OTHER_SUBJECT + mark, "work" + mark) if report.fresh else (task.subject, task.work)
    edits, checks = agent.capability is Capability.EDIT, agent.capability is Capability.CHECKS
    return c.AttemptEnded(
        state.id,
        state.attempt,
        state.fence,
        End.REPORTED,
        outcome=report.outcome,
        facts=report.facts,
        findings=(_found(agent, mark),) if report.blocks else (),
        artifacts=tuple((name, text(name)) for name in agent.makes) if report.outcome else (),
        statements=tuple(Statement(kind, outcome, text(""), text("")) for kind, outcome in report.shown),
        subject=subject if edits or checks else "",
        work=work if edits else "",
        change=subject if edits else "",
        summary=text(f"{agent.name}: {report.outcome or 'unreadable'}"),
        execution=Execution(worker=state.worker, boot=state.boot, binding=state.binding),
    )


def _found(agent: Agent, mark: str) -> FindingReport:
    return blocker(agent.name, Origin.CHECK if agent.capability is Capability.CHECKS else Origin.AGENT, mark)


def _answer(task: TaskState, word: AnswerWord, own: bool, mark: str) -> c.Answer:
    assert task.gate is not None
    blockers = live_blockers(task.findings) if word is AnswerWord.ACCEPT else ()
    return c.Answer(
        gate=task.gate.id,
        word=word,
        accepts=tuple(Acceptance(finding.id, text("known")) for finding in blockers),
        work="own work" + mark if own else "",
        new_subject=OTHER_SUBJECT + " own" + mark if own else "",
        new_change="own" if own else "",
    )
