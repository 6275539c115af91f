"""Answers: a person's decision at the open gate, and where it leads.

accept goes on · revise sends the flow back with a message, or on with the person's own work · abandon ends the task ·
retry and raise are remedies of a parked task. A person who accepts over an open blocker accepts each by name, with a reason.
"""

from __future__ import annotations

from typing import assert_never

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.acting import arm_act
from loom.kernel.admission import BLOCK
from loom.kernel.attempts import ready_afresh
from loom.kernel.closing import finished, stop_running
from loom.kernel.duties import APPROVING, conflict, person_of
from loom.kernel.effects import SetWake
from loom.kernel.facts import live_blockers
from loom.kernel.flow import Finalize, Gate
from loom.kernel.limits import ATTEMPTS_PER_TASK, MAX_INTEGER, ROUNDS_PER_TASK, TASK_WALL_MS
from loom.kernel.stages import (
    conclude,
    go_back,
    go_next,
    leave,
    offer_all,
    record_approval,
    rework_again,
    run,
    stage_settled,
)
from loom.kernel.state import GateState, Parked
from loom.kernel.values import (
    NO_TEXT,
    REVIEW,
    SIGNED,
    TROUBLE,
    WAIVED,
    AnswerWord,
    Counts,
    Evidence,
    Origin,
    ParkCode,
    PrincipalKind,
    SpawnStatus,
    Status,
    Verdict,
    find,
)
from loom.kernel.work import Refused, Work

RAISABLE = ("attempts", "rounds", "tokens", "cost", "wall_ms")


def answer(work: Work, command: c.Answer) -> None:
    """Check the answer against what the gate offers and what the person saw; record it; follow it."""
    gate = _open_gate(work, command)
    _fitting(command)
    parked = work.draft.parked
    accepted = _accept_blockers(work, command) if command.word is AnswerWord.ACCEPT else ()
    work.emit(
        e.DecisionRecorded(
            gate=gate.id,
            role=gate.role,
            stage=gate.stage,
            word=command.word,
            by=work.principal,
            message=command.message,
            base=gate.base,
            subject=gate.subject,
            change=gate.change,
            policy_digest=gate.policy_digest,
            root=command.root or gate.root,
            accepts=command.accepts,
            approval=command.approval,
        )
    )
    work.emit(e.WakeCleared(name="gate"))
    if parked is not None:
        work.emit(e.TaskUnparked(code=parked.code))
    if command.message != NO_TEXT and command.word is not AnswerWord.ABANDON:
        work.emit(e.MessageCarried(by=work.principal.id, gate=gate.id, text=command.message))
    for agent in accepted:
        _waive_review(work, agent)
    _follow(work, command, gate, parked)
    run(work)
    _keep_deadline(work)


def _open_gate(work: Work, command: c.Answer) -> GateState:
    gate = work.draft.gate
    if gate is None or gate.id != command.gate:
        raise Refused("gate_closed", f"gate {command.gate} is not open; it was answered or withdrawn")
    if work.principal.kind is not PrincipalKind.PERSON:
        raise Refused("not_a_person", f"gate {gate.id} is open for a person; {work.principal.id} is not one")
    if command.word not in gate.answers:
        offered = ", ".join(gate.answers)
        raise Refused("not_offered", f"gate {gate.id} does not offer {command.word}; it offers {offered}")
    _separate(work, command, gate)
    signed = _signed(work, command, gate)
    for what, seen, now in (
        ("base", command.base, gate.base),
        ("subject", command.subject, gate.subject),
        ("change", command.change, gate.change),
        ("policy digest", command.policy_digest, gate.policy_digest),
        ("root", command.root if signed else "", gate.root),
    ):
        if (seen or signed) and seen != now:
            raise Refused("stale_answer", f"the answer is about {what} {seen}; the gate is about {now}: look again")
    return gate


def _separate(work: Work, command: c.Answer, gate: GateState) -> None:
    """Where duties are separate, nobody accepts what they had a hand in; the gate stays open for the others."""
    if command.word in APPROVING and (hand := conflict(work.draft, work.principal)):
        others = [word for word in gate.answers if word not in APPROVING]
        raise Refused(
            "own_work",
            f"duties are separate in this task, and {hand}: gate {gate.id} is for any other person who may approve to"
            f" {command.word}; {person_of(work.principal)} may still {' or '.join(others)}",
        )


def _signed(work: Work, command: c.Answer, gate: GateState) -> bool:
    """Whether the person signed. Where a role's decisions are signed, no other word counts; to give up needs none."""
    signed = work.principal.assurance == SIGNED and command.approval is not None
    if not signed and gate.role in work.draft.spec.signed and command.word is not AnswerWord.ABANDON:
        raise Refused("signature_needed", f"decisions of {gate.role} are signed in this task: answer with --sign")
    return signed


def _fitting(command: c.Answer) -> None:
    """What an answer brings along belongs to its word; silently dropped, it would be on record as if it had counted."""
    if command.accepts and command.word is not AnswerWord.ACCEPT:
        raise Refused("not_fitting", f"blockers are accepted with accept, not with {command.word}")
    if command.raises and command.word is not AnswerWord.RAISE:
        raise Refused("not_fitting", f"budgets are raised with raise, not with {command.word}")
    if (command.new_subject or command.work) and command.word is not AnswerWord.REVISE:
        raise Refused("not_fitting", f"a person's own work comes with revise, not with {command.word}")
    if bool(command.new_subject) is not bool(command.work):
        raise Refused("not_fitting", "a person's own work needs both: where it is, and what it is")


def _accept_blockers(work: Work, command: c.Answer) -> tuple[str, ...]:
    """Every open blocker is accepted by name, with a reason; returns the agents that reported them."""
    reasons = {accepted.finding: accepted.reason for accepted in command.accepts}
    blockers = live_blockers(work.draft.findings)
    unnamed = [f.id for f in blockers if reasons.get(f.id, NO_TEXT) == NO_TEXT]
    if unnamed:
        raise Refused("blockers_open", f"accept names each open blocker with a reason; missing: {', '.join(unnamed)}")
    unknown = sorted(set(reasons) - {f.id for f in blockers})
    if unknown:
        raise Refused("no_such_finding", f"{', '.join(unknown)}: not an open blocker of this task")
    for finding in blockers:
        work.emit(e.FindingAccepted(finding=finding.id, by=work.principal, reason=reasons[finding.id]))
    return tuple(dict.fromkeys(finding.agent for finding in blockers))


def _waive_review(work: Work, agent: str) -> None:
    """A review whose blockers a person accepted stands in nobody's way any more: nothing is missing then."""
    draft = work.draft
    kind = REVIEW + agent
    if any(one.kind == kind and one.subject == draft.subject and one.outcome == BLOCK for one in draft.evidence):
        work.emit(e.EvidenceRecorded(Evidence(kind, draft.subject, WAIVED, work.principal)))


def _follow(work: Work, command: c.Answer, gate: GateState, parked: Parked | None) -> None:
    match command.word:
        case AnswerWord.ACCEPT if parked is None:
            record_approval(work, gate.role, gate.subject, work.principal)
            go_next(work)
        case AnswerWord.ACCEPT:
            _accept_as_it_is(work, gate)
        case AnswerWord.REVISE | AnswerWord.APPLY:
            _revise(work, command, gate)
        case AnswerWord.ABANDON:
            _abandon(work)
        case AnswerWord.RETRY:
            _resume(work, parked)
        case AnswerWord.RAISE:
            _raise(work, command, parked)
            _resume(work, parked)
        case _:
            assert_never(command.word)


def _accept_as_it_is(work: Work, gate: GateState) -> None:
    """Go on from trouble: what failed stays without result, by the person's word. A stage goes where it leads when nothing of
    what was accepted stands in the way; a decision is taken again, now that nothing does."""
    draft = work.draft
    for state in draft.spawns:
        if state.status is SpawnStatus.FAILED:
            work.emit(e.SpawnWaived(spawn=state.id, agent=state.agent, by=work.principal))
            if work.agent(state).judges:
                waived = Evidence(REVIEW + state.agent, draft.subject, WAIVED, work.principal)
                work.emit(e.EvidenceRecorded(evidence=waived, spawn=state.id))
    record_approval(work, TROUBLE, gate.subject, work.principal)
    if isinstance(work.stage, Gate | Finalize):
        work.goto = (draft.stage, ())
    else:
        leave(work, as_it_is=True)


def _revise(work: Work, command: c.Answer, gate: GateState) -> None:
    """Back to the gate's rework stage; with the person's own work, on to the stage after it."""
    if not command.new_subject:
        go_back(work, gate.rework, counted=False)
        return
    work.emit(
        e.SubjectChanged(
            subject=command.new_subject,
            work=command.work,
            change=command.new_change,
            change_text=NO_TEXT,
            change_list=NO_TEXT,
            author=person_of(work.principal),
        )
    )
    flow = work.flow
    after = flow.stages[work.rules.stages[flow.name, gate.rework] + 1].name
    go_back(work, after, counted=False, since=gate.rework)


def _abandon(work: Work) -> None:
    if work.draft.verdict is not Verdict.NONE:  # only the delivery was in trouble; the verdict stands
        stop_running(work)
        work.emit(e.TaskClosed())
        return
    conclude(work, Verdict.ABANDONED, work.principal)


def _resume(work: Work, parked: Parked | None) -> None:
    """Another try at what stands still: what failed, what waits; else the decision that was held back, or the stage."""
    draft = work.draft
    if parked is None:
        raise Refused("not_parked", f"task {work.task} is not in trouble; there is nothing to retry")
    for state in draft.spawns:
        if state.status is SpawnStatus.FAILED:
            for finding in draft.findings:
                if finding.spawn == state.id and finding.report.origin is Origin.HARNESS:
                    work.emit(e.FindingAccepted(finding=finding.id, by=work.principal, reason=NO_TEXT))
            ready_afresh(work, state, "retry")
    if not stage_settled(work):
        if parked.code is ParkCode.WALL and draft.verdict is not Verdict.NONE:
            arm_act(work)
        offer_all(work)
    elif draft.verdict is not Verdict.NONE:  # it was delivered while a person was asked
        work.emit(finished(work))
    elif parked.code in (ParkCode.STALL, ParkCode.ROUNDS):
        rework_again(work)
    elif draft.spawns and parked.code is not ParkCode.ASKED:  # paid for and committed: only the decision is taken again
        leave(work)
    else:
        work.goto = (draft.stage, ())


def _raise(work: Work, command: c.Answer, parked: Parked | None) -> None:
    """Raise the budgets named, or the one that was reached by its default."""
    caps = work.draft.caps
    raises = command.raises or (_default_raise(work, parked) if parked else ())
    for name, amount in raises:
        cap = getattr(caps, name, 0) or (TASK_WALL_MS if name == "wall_ms" else 0)
        if name not in RAISABLE or not 0 < cap < amount:
            raise Refused("not_a_raise", f"{name}={amount} does not raise a budget of the task")
    work.emit(e.BudgetRaised(caps=raises, by=work.principal))
    for name, amount in raises:
        if name == "wall_ms":
            arm_wall(work, amount)


def _keep_deadline(work: Work) -> None:
    """Every wait has an end: a task that goes on after its time was used up gets that time once more."""
    draft = work.draft
    if draft.status is Status.OPEN and draft.verdict is Verdict.NONE and not find(draft.wakes, "wall", 0):
        arm_wall(work, draft.caps.wall_ms)


def arm_wall(work: Work, wall_ms: int) -> None:
    """The deadline of the whole task; 0: the longest that any task has."""
    due_ms = min(work.now_ms + (wall_ms or TASK_WALL_MS), MAX_INTEGER)
    work.emit(e.WakeSet(name="wall", due_ms=due_ms))
    work.effects.append(SetWake(work.task, "wall", due_ms))


def _default_raise(work: Work, parked: Parked) -> Counts:
    caps, spent = work.draft.caps, work.draft.spent
    match parked.code:
        case ParkCode.ATTEMPTS:
            return (("attempts", caps.attempts + ATTEMPTS_PER_TASK),)
        case ParkCode.ROUNDS:
            return (("rounds", caps.rounds + ROUNDS_PER_TASK),)
        case ParkCode.WALL:
            return (("wall_ms", (caps.wall_ms or TASK_WALL_MS) * 2),)
        case ParkCode.TOKENS:
            return (("tokens", max(caps.tokens, spent.tokens) * 2),)
        case ParkCode.COST:
            raise Refused("name_the_budget", "say how much the task may cost in all")
        case _:
            return ()
