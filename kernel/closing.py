"""Ending attempts by the kernel's own word: nothing was reported, the reservation is released."""

from __future__ import annotations

from loom.kernel import events as e
from loom.kernel.effects import StopAttempt
from loom.kernel.state import SpawnState
from loom.kernel.values import NO_TEXT, End, ErrorClass, Execution, SpawnStatus, Usage
from loom.kernel.work import Work


def stop_running(work: Work) -> None:
    """Stop every running attempt of the task; whatever it still reports is stale."""
    for state in work.draft.spawns:
        if state.status is SpawnStatus.GRANTED:
            work.effects.append(StopAttempt(work.task, state.id, state.attempt, state.fence, state.worker))
            close_unreported(work, state, End.STOPPED)


def close_unreported(work: Work, state: SpawnState, end: End) -> None:
    """Close one granted attempt without a report."""
    work.emit(
        e.AttemptClosed(
            spawn=state.id,
            attempt=state.attempt,
            fence=state.fence,
            end=end,
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
