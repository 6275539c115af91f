"""Opening gates: of the flow, and of role trouble for a task that is parked. "In nobody's queue" cannot happen."""

from __future__ import annotations

from loom.kernel import events as e
from loom.kernel.duties import barred
from loom.kernel.effects import Announce, SetWake
from loom.kernel.evidence import missing
from loom.kernel.flow import Finalize
from loom.kernel.limits import GATE_WAIT_MS
from loom.kernel.values import TROUBLE, AnswerWord, Capability, ParkCode, Verdict, find
from loom.kernel.work import Work, say

ACCEPT, REVISE, ABANDON = AnswerWord.ACCEPT, AnswerWord.REVISE, AnswerWord.ABANDON
RETRY, RAISE = AnswerWord.RETRY, AnswerWord.RAISE

OFFERS: dict[ParkCode, tuple[AnswerWord, ...]] = {
    ParkCode.SPAWN_FAILED: (RETRY, ACCEPT, REVISE, ABANDON),
    ParkCode.STALL: (ACCEPT, REVISE, RETRY, ABANDON),
    ParkCode.ROUNDS: (ACCEPT, REVISE, RAISE, ABANDON),
    ParkCode.ATTEMPTS: (RAISE, ABANDON),
    ParkCode.COST: (RAISE, ABANDON),
    ParkCode.TOKENS: (RAISE, ABANDON),
    ParkCode.WALL: (RAISE, ABANDON),
    ParkCode.ASKED: (RETRY, ACCEPT, REVISE, ABANDON),
    ParkCode.MISSING: (ACCEPT, REVISE, ABANDON),
    ParkCode.OBJECTION: (RETRY, REVISE, ABANDON),
    ParkCode.UNANSWERED: (RETRY, ABANDON),
}
"""What a parked task offers, by why it is parked; narrowed by `_possible` to what can be done at this place."""


def open_gate(
    work: Work,
    *,
    role: str,
    answers: tuple[AnswerWord, ...],
    reason: str,
    rework: str,
    shows: tuple[str, ...] = (),
    because: tuple[str, ...] = (),
) -> None:
    """Open a gate about the present subject; a wake reminds when nobody answers."""
    draft = work.draft
    gate = f"{work.task}-{draft.gate_count + 1}"
    due_ms = work.now_ms + GATE_WAIT_MS
    work.emit(
        e.GateOpened(
            gate=gate,
            role=role,
            stage=draft.stage,
            answers=answers,
            base=draft.spec.base,
            subject=draft.subject,
            change=draft.change,
            policy_digest=draft.spec.policy_digest,
            root=work.home.read("root"),
            reason=say(reason),
            due_ms=due_ms,
            rework=rework,
            shows=shows,
            because=because,
            barred=barred(draft),
        )
    )
    work.emit(e.WakeSet(name="gate", due_ms=due_ms))
    work.effects.append(SetWake(work.task, "gate", due_ms))
    work.effects.append(Announce(work.task, f"gate {gate}"))


def park(
    work: Work,
    code: ParkCode,
    reason: str,
    spawns: tuple[str, ...] = (),
    *,
    offers: tuple[AnswerWord, ...] = (),
) -> None:
    """The task waits for a person, who is offered what leads on from here."""
    draft = work.draft
    if draft.gate is not None:
        work.emit(e.GateWithdrawn(gate=draft.gate.id))
    work.emit(e.TaskParked(code=code, reason=say(reason), stage=draft.stage, spawns=spawns))
    because = work.because()
    answers = tuple(word for word in (offers or OFFERS[code]) if _possible(work, word, code, spawns))
    open_gate(work, role=TROUBLE, answers=answers, reason=reason, rework=work.flow.rework, because=because)


def _possible(work: Work, word: AnswerWord, code: ParkCode, spawns: tuple[str, ...]) -> bool:
    """Whether an answer leads on from here."""
    draft = work.draft
    if draft.verdict is not Verdict.NONE:
        return word in (RETRY, ABANDON)
    if word is REVISE:
        return bool(work.flow.rework) and find(draft.iterations, work.flow.rework, 0) > 0
    if word is ACCEPT:
        stage = work.stage
        if isinstance(stage, Finalize):  # blockers can be accepted by name; evidence that is missing cannot
            return not missing(stage.needs, draft.subject, draft.evidence)
        return code is not ParkCode.SPAWN_FAILED or all(_dispensable(work, spawn) for spawn in spawns)
    return True


def _dispensable(work: Work, spawn: str) -> bool:
    """A failed spawn that nothing later builds on can be accepted as it is: a reviewer, a check. Not a maker."""
    state = work.draft.spawn(spawn)
    if state is None:
        return False
    agent = work.agent(state)
    return agent.capability is not Capability.EDIT and not agent.makes
