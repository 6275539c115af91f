"""Ending attempts by the kernel's own word: nothing was reported, the reservation is released."""

from __future__ import annotations

from loom.kernel import events as e
from loom.kernel.effects import StopAttempt
from loom.kernel.state import SpawnState
from loom.kernel.values import NO_TEXT, Capability, End, ErrorClass, Execution, SpawnStatus, Usage
from loom.kernel.work import Work

CERTAIN = (End.REPORTED, End.UNDELIVERED)
"""Ends of an act that leave no doubt: it was done and that was taken, or it was never begun."""


def stop_running(work: Work) -> None:
    """Stop every running attempt of the task; whatever it still reports is stale."""
    for state in work.draft.spawns:
        if state.status is SpawnStatus.GRANTED:
            stop_attempt(work, state)


def stop_attempt(work: Work, state: SpawnState) -> None:
    """Stop one granted attempt."""
    work.effects.append(StopAttempt(work.task, state.id, state.attempt, state.fence, state.worker))
    close_unreported(work, state, End.STOPPED)


def close_unreported(work: Work, state: SpawnState, end: End) -> None:
    """Close one granted attempt without a report."""
    work.emit(
        e.AttemptClosed(
            spawn=state.id,
            attempt=state.attempt,
            fence=state.fence,
            end=end_of(work, state, end),
            error_class=ErrorClass.NONE,
            message=NO_TEXT,
            usage=Usage(),
            execution=Execution(worker=state.worker, boot=state.boot),
            prompt=NO_TEXT,
            transcript=NO_TEXT,
            output=NO_TEXT,
            counted=False,
            released=state.reserved,
        )
    )


def finished(work: Work) -> e.TaskClosed:
    """The end of a task whose last act is done; it names the delivery, not what a person asked for later."""
    last = work.draft.spawns[-1]
    return e.TaskClosed(delivered="" if last.effect else last.id)


def end_of(work: Work, state: SpawnState, end: End, *, certain: bool = False) -> End:
    """How the end stands on record: what an act did outside cannot be taken back, and nobody can say that it did nothing,
    unless its worker said so (certain)."""
    if certain or end in CERTAIN or work.agent(state).capability is not Capability.ACT:
        return end
    return End.IN_DOUBT
