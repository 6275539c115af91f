"""Taking a report: what an agent and the worker's hands said becomes facts, findings, artifacts, evidence.

Nothing undeclared reaches the state. Author, spawn and subject come from the assignment, never from the agent's text.
"""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.flow import Agent
from loom.kernel.limits import MAX_FINDINGS_PER_ATTEMPT, MAX_LIVE_FINDINGS
from loom.kernel.state import SpawnState
from loom.kernel.values import (
    Artifact,
    Capability,
    Evidence,
    Finding,
    Principal,
    PrincipalKind,
    Severity,
)
from loom.kernel.work import Work

APPROVE, BLOCK = "approve", "block"


def elsewhere(work: Work, state: SpawnState, command: c.AttemptEnded) -> str:
    """Why a report is about something else than the present subject ("" : it is not). Only editing makes a new one."""
    agent, subject = work.agent(state), work.draft.subject
    if agent.capability is Capability.EDIT or (not command.subject and agent.capability is not Capability.CHECKS):
        return ""
    return "" if command.subject == subject else f"{state.id} reported about {command.subject or '?'}, not {subject}"


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
    hands = Principal(
        id=command.execution.worker or state.worker, kind=PrincipalKind.WORKER, via="fabric", acting_for=agent.name
    )
    _facts(work, agent, command)
    take_change(work, state, command)
    for name, text in command.artifacts:
        if name in agent.makes:
            version = 1 + max((a.version for a in work.draft.artifacts if a.name == name), default=0)
            work.emit(e.ArtifactMade(Artifact(name=name, version=version, spawn=state.id, text=text)))
    _statements(work, state, agent, command, hands)
    _findings(work, state, command)
    if agent.judges:
        evidence = Evidence(kind=f"review.{agent.name}", subject=work.draft.subject, outcome=command.outcome, by=hands)
        work.emit(e.EvidenceRecorded(evidence=evidence, spawn=state.id, summary=command.summary))
    work.emit(e.SpawnSettled(spawn=state.id, agent=agent.name, outcome=command.outcome, summary=command.summary))


def _facts(work: Work, agent: Agent, command: c.AttemptEnded) -> None:
    alphabet = dict(agent.facts) | {measure.fact: measure.values for measure in agent.measures}
    for name, value in command.facts:
        if value in alphabet.get(name, ()):
            work.emit(e.FactRecorded(name=name, value=value, by=agent.name))


def take_change(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    """An editing agent's work is the new subject; nobody else's report makes one."""
    if not command.subject or work.agent(state).capability is not Capability.EDIT or command.work == work.draft.work:
        return
    work.emit(
        e.SubjectChanged(
            subject=command.subject,
            work=command.work,
            change=command.change,
            change_text=command.change_text,
            change_list=command.change_list,
            author=command.execution.worker or state.worker,
            spawn=state.id,
        )
    )


def _statements(work: Work, state: SpawnState, agent: Agent, command: c.AttemptEnded, hands: Principal) -> None:
    """Measured evidence is taken from agents of capability checks only, about the subject that the worker saw."""
    if agent.capability is not Capability.CHECKS:
        return
    for said in command.statements:
        evidence = Evidence(kind=said.kind, subject=work.draft.subject, outcome=said.outcome, by=hands)
        work.emit(e.EvidenceRecorded(evidence=evidence, spawn=state.id, summary=said.summary, output=said.output))


def _findings(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    draft = work.draft
    known = {f.report.identity for f in draft.findings}
    for report in command.findings:
        if report.identity in known or len(draft.findings) >= MAX_LIVE_FINDINGS:
            continue
        known.add(report.identity)
        finding = Finding(
            id=f"f{draft.finding_count + 1}",
            agent=state.agent,
            spawn=state.id,
            round=draft.round,
            subject=draft.subject,
            report=report,
        )
        work.emit(e.FindingRecorded(finding))
