"""Acts: what a person asks to be done outside with work that was accepted.

    Act ─▶ TaskReopened, SpawnOpened ─Grant (the intent)▶ … ─▶ SpawnSettled, TaskClosed

The verdict stands; the task is open again until the act has ended. An act whose attempt ended without a certain word is *in
doubt* (`Doubt`, which outlives the spawn), and its next attempt is a reconcile: it looks first. What an act is to do is
opaque here.
"""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.effects import SetWake
from loom.kernel.gates import park
from loom.kernel.limits import ACT_WAIT_MS, MAX_DOUBTS, MAX_EFFECT_BYTES, MAX_INTEGER
from loom.kernel.stages import LOCAL_CHAIN, offer
from loom.kernel.state import doubt_about
from loom.kernel.values import AnswerWord, Capability, ParkCode, SpawnStatus, Status, Verdict, find
from loom.kernel.work import Refused, Work

WAKE = "act"


def act(work: Work, command: c.Act) -> None:
    """Open the task again for one act. Raises Refused."""
    _check(work, command)
    draft = work.draft
    iteration = find(draft.iterations, draft.stage, 1) + 1
    spawn = f"{work.task}/{draft.stage}.{iteration}/{command.agent}"
    work.emit(e.TaskReopened(stage=draft.stage, iteration=iteration, by=work.principal, reason=command.reason))
    work.emit(
        e.SpawnOpened(
            spawn=spawn,
            agent=command.agent,
            stage=draft.stage,
            iteration=iteration,
            chain=LOCAL_CHAIN,
            effect=command.effect,
        )
    )
    arm_act(work)
    offer(work, spawn)


def arm_act(work: Work) -> None:
    """The deadline of what a person asked for after the end: then the person is asked again."""
    due_ms = min(work.now_ms + ACT_WAIT_MS, MAX_INTEGER)
    work.emit(e.WakeSet(name=WAKE, due_ms=due_ms))
    work.effects.append(SetWake(work.task, WAKE, due_ms))


def overdue(work: Work) -> None:
    """It took too long; nothing else is wrong. A person says whether it is waited for again."""
    draft = work.draft
    if draft.parked is None:
        waiting = tuple(s.id for s in draft.spawns if s.status is SpawnStatus.READY)
        reason = "what is to be done outside has not been done in time"
        park(work, ParkCode.WALL, reason, waiting, offers=(AnswerWord.RETRY, AnswerWord.ABANDON))


def _check(work: Work, command: c.Act) -> None:
    draft, agents = work.draft, work.rules.agents
    if draft.verdict is not Verdict.ACCEPTED:
        stands = f"is {draft.verdict}" if draft.verdict else "has no verdict yet"
        raise Refused("not_accepted", f"task {work.task} {stands}; only accepted work has effects outside")
    if draft.status is not Status.DONE:
        raise Refused("busy", f"task {work.task} still has something to do outside; ask again when that has ended")
    agent = agents.get(command.agent)
    if agent is None or agent.capability is not Capability.ACT:
        known = ", ".join(a.name for a in agents.values() if a.capability is Capability.ACT) or "none"
        name = work.rules.bundle.name
        raise Refused("no_such_act", f"bundle {name} has no act {command.agent}; its acts: {known}")
    if sum(len(name.encode()) + len(value.encode()) for name, value in command.effect) > MAX_EFFECT_BYTES:
        raise Refused("too_large", f"what the act is to do takes more than {MAX_EFFECT_BYTES} bytes to say")
    if len(draft.doubts) >= MAX_DOUBTS and not doubt_about(draft.doubts, command.agent, command.effect):
        raise Refused(
            "too_many_doubts", f"{len(draft.doubts)} acts of task {work.task} are in doubt; ask for those again"
        )
