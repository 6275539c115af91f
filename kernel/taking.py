"""Results that came too late: a person may take one, instead of having the work done again.

It goes the way of a report, through the same admission and under the same rules. It is not taken where it would be about
something else than what is to be judged now, or where there is a result already.
"""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.admission import elsewhere, malformed, take_report, unfit
from loom.kernel.attempts import go_on
from loom.kernel.budgets import note_budgets
from loom.kernel.closing import stop_attempt
from loom.kernel.state import SpawnState
from loom.kernel.values import End, Origin, ParkCode, PrincipalKind, SpawnStatus, Verdict
from loom.kernel.work import Refused, Work

MENDED = (ParkCode.SPAWN_FAILED, ParkCode.ATTEMPTS, ParkCode.COST, ParkCode.TOKENS)
"""Troubles that are over when every spawn they are about has a result."""
LACKING = (SpawnStatus.READY, SpawnStatus.FAILED)


def take(work: Work, command: c.Take) -> None:
    """Settle a spawn with a late result. Raises Refused."""
    if work.principal.kind is not PrincipalKind.PERSON:
        raise Refused("not_a_person", f"a late result is taken by a person; {work.principal.id} is not one")
    report = command.report
    if report is None:
        raise Refused("no_such_orphan", f"no late result is kept under number {command.orphan}")
    state = _waiting_for(work, report)
    _fitting(work, state, report)
    if state.status is SpawnStatus.GRANTED:  # it is being tried again: that is not needed any more
        stop_attempt(work, state)
    for finding in work.draft.findings:
        if finding.spawn == state.id and finding.report.origin is Origin.HARNESS:
            work.emit(e.FindingAccepted(finding=finding.id, by=work.principal, reason=command.reason))
    work.emit(
        e.ResultTaken(
            spawn=state.id,
            attempt=report.attempt,
            fence=report.fence,
            by=work.principal,
            reason=command.reason,
            usage=report.usage,
            execution=report.execution,
            prompt=report.prompt,
            transcript=report.transcript,
            output=report.output,
            repaired=report.repaired,
        )
    )
    take_report(work, state, report)
    _unpark(work)
    note_budgets(work, report.usage, counted=False)
    go_on(work)


def _waiting_for(work: Work, report: c.AttemptEnded) -> SpawnState:
    """The spawn that has no result yet. Raises Refused."""
    state = work.draft.spawn(report.spawn)
    if state is None:
        raise Refused("gone_on", f"task {work.task} has gone on since; {report.spawn} is nobody's work any more")
    if state.status not in (*LACKING, SpawnStatus.GRANTED):
        raise Refused("settled", f"{state.id} is {state.status}; it needs no other result")
    if report.attempt > state.attempt or report.fence > work.draft.fence:
        raise Refused("no_such_attempt", f"attempt {report.attempt} of {state.id} was never given to anybody")
    if state.status is SpawnStatus.GRANTED and report.fence == state.fence:
        raise Refused("still_running", f"attempt {report.attempt} of {state.id} still runs; it reports by itself")
    return state


def _fitting(work: Work, state: SpawnState, report: c.AttemptEnded) -> None:
    """What is asked of every report, and that it is about the present subject. Raises Refused."""
    draft = work.draft
    if report.end is not End.REPORTED:
        raise Refused(
            "no_result", f"attempt {report.attempt} of {state.id} ended {report.end}; there is no result to take"
        )
    if report.fence <= draft.subject_fence:
        raise Refused(
            "other_subject", f"attempt {report.attempt} of {state.id} worked on what was there before {draft.subject}"
        )
    fault = malformed(report) or elsewhere(work, state, report) or unfit(work, state, report)
    if not fault and draft.verdict is not Verdict.NONE and report.outcome != work.agent(state).outcomes[0]:
        fault = f"it ended {report.outcome}"
    if fault:
        raise Refused("unfit", f"attempt {report.attempt} of {state.id} cannot be taken: {fault}")
    others = draft.spent.reserved - state.reserved
    if draft.caps.cost and others and draft.spent.cost + (report.usage.cost or 0) + others > draft.caps.cost:
        raise Refused(
            "over_budget", f"what runs now may cost the rest of the budget; take {state.id} when it has ended"
        )


def _unpark(work: Work) -> None:
    """The trouble is over when nothing that it was about lacks a result."""
    draft = work.draft
    parked = draft.parked
    if parked is None or parked.code not in MENDED:
        return
    if any(state.id in parked.spawns and state.status in LACKING for state in draft.spawns):
        return
    if draft.gate is not None:
        work.emit(e.GateWithdrawn(gate=draft.gate.id))
        work.emit(e.WakeCleared(name="gate"))
    work.emit(e.TaskUnparked(code=parked.code))
