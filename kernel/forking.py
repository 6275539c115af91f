"""Forks: a new task that takes over what another one came to, and goes on from there.

    inherit(state, events, n, stage)      the other task's state after its entry n → what is taken over
    begin(work, command)                  the first tick of the new task

Nothing that was taken over is paid for again: the spawns before the stage are not opened, siblings of it that had settled stay
so. Budgets begin anew. What the new task's bundle does not declare is left behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.duties import OWNER, owner_of
from loom.kernel.flow import Bundle, Step
from loom.kernel.heritage import Inherited
from loom.kernel.stages import enter, run
from loom.kernel.state import TaskState
from loom.kernel.values import (
    NO_TEXT,
    REVIEW,
    Evidence,
    Finding,
    FindingStatus,
    Origin,
    PrincipalKind,
    SpawnStatus,
    Verdict,
    find,
    get,
    put,
)
from loom.kernel.work import Refused, Work

BY = "fork"
"""Who recorded a fact that was taken over."""


def inherit(state: TaskState, events: Iterable[e.Event], asked: Inherited) -> Inherited:
    """What a fork takes over of this state, which is the one after entry `asked.n`; `events`: the task's up to there.

    Raises Refused for a place from which nothing can go on.
    """
    if state.verdict is not Verdict.NONE:
        raise Refused("verdict_final", f"after entry {asked.n} the verdict was given; name an entry before it")
    if not find(state.iterations, asked.stage, 0):
        raise Refused("no_such_stage", f"up to entry {asked.n} the stage {asked.stage} was not entered")
    happened = tuple(events)
    changed = next((ev for ev in reversed(happened) if isinstance(ev, e.SubjectChanged)), None)
    here = asked.stage == state.stage
    return replace(
        asked,
        flow=state.flow,
        base=state.spec.base,
        round=state.round,
        iterations=_before(state, happened, asked.stage),
        subject=state.subject,
        work=state.work,
        previous=state.previous,
        change=state.change,
        change_text=changed.change_text if changed else NO_TEXT,
        change_list=changed.change_list if changed else NO_TEXT,
        author=state.author,
        owner=state.owner,
        outcomes=state.outcomes,
        settled=tuple(s.agent for s in state.spawns if here and s.status is SpawnStatus.SETTLED),
        facts=state.facts,
        findings=_open_again(state.findings),
        finding_count=state.finding_count,
        carried=_open_again(state.carried),
        messages=state.messages,
        stalls=state.stalls,
        evidence=tuple(each for each in state.evidence if each.by.kind is PrincipalKind.WORKER),
        artifacts=state.artifacts,
    )


def _before(state: TaskState, events: tuple[e.Event, ...], stage: str) -> tuple[tuple[str, int], ...]:
    """How often each stage was entered before the entering of `stage` that is done again."""
    iterations = state.iterations
    for event in reversed(events):
        if isinstance(event, e.StageEntered):
            iterations = put(iterations, event.stage, event.iteration - 1)
            if event.stage == stage:
                break
    return tuple(pair for pair in iterations if pair[1])


def _open_again(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Without the trouble of attempts that are made anew; what a person accepted there is open here."""
    return tuple(
        replace(finding, status=FindingStatus.OPEN, reason=NO_TEXT)
        if finding.status is FindingStatus.ACCEPTED
        else finding
        for finding in findings
        if finding.report.origin is not Origin.HARNESS
    )


def begin(work: Work, command: c.Submit, taken: Inherited) -> None:
    """The first tick of a fork: what is taken over, event by event, then the stage."""
    if not command.origin_task or not taken.subject or taken.base != command.base:
        raise Refused("no_origin", "a fork begins with what its origin's record says; nothing was read from it")
    if taken.flow not in work.rules.flows or (taken.flow, taken.stage) not in work.rules.stages:
        bundle = work.rules.bundle
        raise Refused("no_such_stage", f"bundle {bundle.name} has no stage {taken.stage} in a flow {taken.flow}")
    outcomes = tuple((agent, word) for agent, word in taken.outcomes if _says(work, agent, word))
    work.emit(
        e.TaskForked(
            origin=command.origin_task,
            n=taken.n,
            stage=taken.stage,
            round=taken.round,
            iterations=taken.iterations,
            outcomes=outcomes,
            previous=taken.previous,
            finding_count=taken.finding_count - len(taken.findings),
            carried=taken.carried,
            messages=taken.messages,
            stalls=taken.stalls,
        )
    )
    work.emit(e.FlowChosen(flow=taken.flow, because=(f"forked from {command.origin_task} at its entry {taken.n}",)))
    _results(work, command, taken)
    if taken.message != NO_TEXT:
        work.emit(e.MessageCarried(by=work.principal.id, gate="", text=taken.message))
    settled = tuple(agent for agent in taken.settled if get(outcomes, agent, ""))
    enter(work, taken.stage, (f"forked from {command.origin_task} at its entry {taken.n}",), settled)
    run(work)


def _results(work: Work, command: c.Submit, taken: Inherited) -> None:
    """Facts, the subject, artifacts, evidence and findings, as far as this bundle knows such."""
    known = _facts_of(work.rules.bundle)
    for name, value in taken.facts:
        if value in known.get(name, ()):
            work.emit(e.FactRecorded(name=name, value=value, by=BY))
    if taken.work != command.base:
        work.emit(
            e.SubjectChanged(
                subject=taken.subject,
                work=taken.work,
                change=taken.change,
                change_text=taken.change_text,
                change_list=taken.change_list,
                author=taken.author,
                owner=taken.owner or _owner(work, taken.author),
            )
        )
    made = {name for agent in work.rules.bundle.agents for name in agent.makes}
    for artifact in taken.artifacts:
        if artifact.name in made:
            work.emit(e.ArtifactMade(artifact))
    for evidence in taken.evidence:
        if _shows(work, evidence):
            work.emit(e.EvidenceRecorded(evidence))
    for finding in taken.findings:
        work.emit(e.FindingRecorded(finding))


def _owner(work: Work, author: str) -> str:
    """Who let the worker in, where this task asks for it and the origin did not."""
    return work.home.read(owner_of(author)) if author and OWNER in work.draft.spec.separate else ""


def _says(work: Work, agent: str, word: str) -> bool:
    known = work.rules.agents.get(agent)
    return known is not None and word in known.outcomes


def _shows(work: Work, evidence: Evidence) -> bool:
    """A review counts where its reviewer judges; anything else was measured."""
    if not evidence.kind.startswith(REVIEW):
        return True
    judge = work.rules.agents.get(evidence.kind.removeprefix(REVIEW))
    return judge is not None and judge.judges


def _facts_of(bundle: Bundle) -> dict[str, tuple[str, ...]]:
    """Fact → values, of everybody who records one."""
    facts: dict[str, tuple[str, ...]] = {"flow_pinned": ("yes", "no")}
    for agent in bundle.agents:
        facts.update(agent.facts)
        facts.update((measure.fact, measure.values) for measure in agent.measures)
    steps = (stage for flow in bundle.flows for stage in flow.stages if isinstance(stage, Step))
    for step in steps:
        facts.update(step.writes)
    return facts
