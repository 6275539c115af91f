"""Taking a report: what an agent and the worker's hands said becomes facts, findings, artifacts, evidence.

Nothing undeclared reaches the state. Author, spawn and subject come from the assignment, never from the agent's text.
"""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.duties import OWNER, owner_of
from loom.kernel.flow import Agent
from loom.kernel.limits import MAX_FINDINGS_PER_ATTEMPT, MAX_LIVE_FINDINGS, MAX_STATEMENTS_PER_ATTEMPT
from loom.kernel.state import SpawnState
from loom.kernel.values import (
    REVIEW,
    Artifact,
    Capability,
    End,
    Evidence,
    Finding,
    FindingReport,
    FindingStatus,
    Principal,
    PrincipalKind,
    Severity,
    get,
)
from loom.kernel.work import Work

APPROVE, BLOCK = "approve", "block"


def malformed(command: c.AttemptEnded) -> str:
    """Why no worker can have meant this ("" : it can)."""
    usage = command.usage
    if min(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.calls, usage.cost or 0) < 0:
        return "names a negative usage"
    if command.end in (End.OBJECTED, End.IN_DOUBT):
        return f"says {command.end}, which only the kernel can"
    return ""


def elsewhere(work: Work, state: SpawnState, command: c.AttemptEnded) -> str:
    """Why a report is about something else than the present subject ("" : it is not). Only editing makes a new one; who
    checks says what was checked; who does not say is taken to have seen what the attempt was granted on."""
    agent, subject = work.agent(state), work.draft.subject
    if agent.capability is Capability.EDIT:
        lost = command.subject and command.subject != subject and not command.work
        return f"{state.id} made {command.subject} and does not say where it is" if lost else ""
    seen = command.subject or ("" if agent.capability is Capability.CHECKS else state.subject)
    return "" if seen == subject else f"{state.id} reported about {seen or '?'}, not {subject}"


def unfit(work: Work, state: SpawnState, command: c.AttemptEnded) -> str:
    """Why a report cannot be taken for this agent's output ("" : it can). The spawn gets one repair attempt."""
    agent = work.agent(state)
    if command.outcome not in agent.outcomes:
        return f"outcome {command.outcome!r} is not one of {', '.join(agent.outcomes)}"
    said = dict(command.facts)
    for name, values in agent.facts:
        if name in said and said[name] not in values:
            return f"fact {name}={said[name]} is not one of {', '.join(values)}"
    if len(command.findings) > MAX_FINDINGS_PER_ATTEMPT:
        return f"{len(command.findings)} findings are more than {MAX_FINDINGS_PER_ATTEMPT}; report the ones that matter"
    if len(command.statements) > MAX_STATEMENTS_PER_ATTEMPT:
        return f"{len(command.statements)} statements are more than {MAX_STATEMENTS_PER_ATTEMPT}"
    made = {name for name, _ in command.artifacts}
    lacking = [name for name in agent.makes if name not in made]
    if lacking and command.outcome == agent.outcomes[0]:
        return f"the output lacks {', '.join(lacking)}"
    if agent.judges:
        blocking = any(f.severity is Severity.BLOCKING for f in command.findings)
        if command.outcome == BLOCK and not blocking:
            return "block without a blocking finding: name what blocks, or approve"
        if command.outcome == APPROVE and blocking:
            return "approve with a blocking finding in the list: block, or lower its severity"
    return ""


def take_report(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    """Record everything the report brings, and settle the spawn."""
    agent = work.agent(state)
    _facts(work, agent, command)
    take_measures(work, state, command)
    take_change(work, state, command)
    for name, text in command.artifacts:
        if name in agent.makes:
            version = 1 + max((a.version for a in work.draft.artifacts if a.name == name), default=0)
            work.emit(e.ArtifactMade(Artifact(name=name, version=version, spawn=state.id, text=text)))
    _statements(work, state, agent, command)
    if command.findings:
        _findings(work, state, command)
    if agent.judges:
        by = _hands(state, agent, command)
        evidence = Evidence(kind=REVIEW + agent.name, subject=work.draft.subject, outcome=command.outcome, by=by)
        work.emit(e.EvidenceRecorded(evidence=evidence, spawn=state.id, summary=command.summary))
    work.emit(e.SpawnSettled(spawn=state.id, agent=agent.name, outcome=command.outcome, summary=command.summary))


def _facts(work: Work, agent: Agent, command: c.AttemptEnded) -> None:
    """What the agent says now, of what it may say; what it does not say any more is unknown again."""
    if not agent.facts:
        return
    said = dict(command.facts)
    for name, values in agent.facts:
        if said.get(name) in values:
            work.emit(e.FactRecorded(name=name, value=said[name], by=agent.name))
        elif get(work.draft.facts, name, ""):
            work.emit(e.FactRecorded(name=name, value="", by=agent.name))


def take_measures(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    """What the worker's hands measured holds whether or not the agent's own output can be read."""
    agent = work.agent(state)
    if not agent.measures:
        return
    measured = dict(command.facts)
    for measure in agent.measures:
        if measured.get(measure.fact) in measure.values:
            work.emit(e.FactRecorded(name=measure.fact, value=measured[measure.fact], by=agent.name))


def take_change(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    """An editing agent's work is the new subject; nobody else's report makes one."""
    if not command.subject or command.work in ("", work.draft.work):
        return
    if work.agent(state).capability is not Capability.EDIT:
        return
    worker = command.execution.worker or state.worker
    work.emit(
        e.SubjectChanged(
            subject=command.subject,
            work=command.work,
            change=command.change,
            change_text=command.change_text,
            change_list=command.change_list,
            author=worker,
            spawn=state.id,
            owner=work.home.read(owner_of(worker)) if OWNER in work.draft.spec.separate else "",
        )
    )


def _hands(state: SpawnState, agent: Agent, command: c.AttemptEnded) -> Principal:
    """The worker that carried the attempt out, for the agent."""
    worker = command.execution.worker or state.worker
    return Principal(id=worker, kind=PrincipalKind.WORKER, via="fabric", acting_for=agent.name)


def _statements(work: Work, state: SpawnState, agent: Agent, command: c.AttemptEnded) -> None:
    """Measured evidence is taken from agents of capability checks only, about the subject that the worker saw."""
    if agent.capability is not Capability.CHECKS:
        return
    hands = _hands(state, agent, command)
    for said in command.statements:
        evidence = Evidence(kind=said.kind, subject=work.draft.subject, outcome=said.outcome, by=hands)
        work.emit(e.EvidenceRecorded(evidence=evidence, spawn=state.id, summary=said.summary, output=said.output))


def _findings(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    """Each finding once. What was accepted about another subject comes back; a blocker is neither taken for its milder
    twin nor lost for want of room."""
    draft = work.draft
    known: dict[str, bool] = {}
    for finding in draft.findings:
        if finding.status is FindingStatus.OPEN or finding.subject == draft.subject:
            known[finding.report.identity] = known.get(finding.report.identity, False) or _blocks(finding.report)
    for report in command.findings:
        blocks = _blocks(report)
        if known.get(report.identity, False) or (not blocks and report.identity in known):
            continue
        if not blocks and len(draft.findings) >= MAX_LIVE_FINDINGS:
            continue
        known[report.identity] = blocks
        finding = Finding(
            id=f"f{draft.finding_count + 1}",
            agent=state.agent,
            spawn=state.id,
            round=draft.round,
            subject=draft.subject,
            report=report,
        )
        work.emit(e.FindingRecorded(finding))


def _blocks(report: FindingReport) -> bool:
    return report.severity is Severity.BLOCKING
