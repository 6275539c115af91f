"""One fold: how each event changes a task.

A tick works on a `Draft`, a mutable copy of the state; `emit` applies an event to it with the same table that `evolve` uses.
So what a tick saw while it decided is by construction what replay and rebuild see later. One new state per tick, not per event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, get_args

from loom.kernel import events as e
from loom.kernel.copying import quicken
from loom.kernel.draft import Draft, newborn
from loom.kernel.facts import bad_work
from loom.kernel.limits import MAX_LIVE_FINDINGS, MAX_MESSAGES, MAX_STALL_KEYS
from loom.kernel.state import Doubt, GateState, Parked, SpawnState, TaskState
from loom.kernel.values import (
    REVIEW,
    CarriedMessage,
    Counts,
    End,
    FindingStatus,
    Origin,
    SpawnStatus,
    Spent,
    Status,
    drop,
    put,
)

quicken(*get_args(e.TaskEvent))


def evolve(task: TaskState | None, events: Iterable[e.Event], now_ms: int) -> TaskState:
    """The state after one entry: all events of its tick at once. `task` None: the events start with TaskSubmitted."""
    happened = tuple(events)
    if task is None:
        first = happened[0]
        if not isinstance(first, e.TaskSubmitted):
            raise ValueError(f"a task starts with TaskSubmitted, not with {type(first).__name__}")
        task = newborn(first)
    draft = Draft(task)
    for event in happened:
        fold = FOLDS.get(type(event))
        if fold is not None:  # an event without a fold concerns only history and projections
            fold(draft, event)
    return draft.freeze(now_ms)


def _task_forked(d: Draft, v: e.TaskForked) -> None:
    d.round, d.iterations, d.outcomes, d.previous = v.round, v.iterations, v.outcomes, v.previous
    d.finding_count, d.carried, d.messages, d.stalls = v.finding_count, v.carried, v.messages, v.stalls


def _flow_chosen(d: Draft, v: e.FlowChosen) -> None:
    d.flow = v.flow


def _stage_entered(d: Draft, v: e.StageEntered) -> None:
    d.stage = v.stage
    d.iterations = put(d.iterations, v.stage, v.iteration)
    d.spawns = ()


def _spawn_opened(d: Draft, v: e.SpawnOpened) -> None:
    opened = SpawnState(id=v.spawn, agent=v.agent, status=SpawnStatus.READY, chain=v.chain, effect=v.effect)
    d.spawns = (*d.spawns, opened)


def _spawn_skipped(d: Draft, v: e.SpawnSkipped) -> None:
    d.outcomes = drop(d.outcomes, v.agent)


def _attempt_granted(d: Draft, v: e.AttemptGranted) -> None:
    d.fence = v.fence
    d.change_spawn(
        v.spawn,
        status=SpawnStatus.GRANTED,
        fence=v.fence,
        worker=v.worker,
        boot=v.boot,
        reserved=v.reserved,
        reserved_tokens=v.tokens,
        subject=d.subject,
    )
    if v.reserved or v.tokens:
        spent = d.spent
        d.spent = replace(spent, reserved=spent.reserved + v.reserved, reserved_tokens=spent.reserved_tokens + v.tokens)


def _attempt_closed(d: Draft, v: e.AttemptClosed) -> None:
    spent, usage = d.spent, v.usage
    cost, tokens = usage.cost or 0, usage.input_tokens + usage.output_tokens
    d.spent = Spent(
        attempts=spent.attempts + v.counted,
        rounds=spent.rounds,
        tokens=spent.tokens + tokens,
        cost=spent.cost + cost,
        reserved=spent.reserved - v.released,
        unpriced=spent.unpriced + (usage.calls > 0 and usage.cost is None),
        largest=max(spent.largest, cost),
        reserved_tokens=spent.reserved_tokens - v.released_tokens,
        largest_tokens=max(spent.largest_tokens, tokens),
    )
    if v.end is End.IN_DOUBT and (state := d.spawn(v.spawn)) is not None:
        left = _doubts_without(d.doubts, state)
        d.doubts = (*left, Doubt(agent=state.agent, effect=state.effect, attempt=f"{v.spawn}#{v.attempt}"))


def _doubts_without(doubts: tuple[Doubt, ...], state: SpawnState) -> tuple[Doubt, ...]:
    return tuple(d for d in doubts if (d.agent, d.effect) != (state.agent, state.effect))


def _result_taken(d: Draft, v: e.ResultTaken) -> None:
    spent, usage = d.spent, v.usage
    d.spent = replace(
        spent,
        tokens=spent.tokens + usage.input_tokens + usage.output_tokens,
        cost=spent.cost + (usage.cost or 0),
        unpriced=spent.unpriced + (usage.calls > 0 and usage.cost is None),
    )


def _attempt_readied(d: Draft, v: e.AttemptReadied) -> None:
    d.change_spawn(
        v.spawn,
        status=SpawnStatus.READY,
        attempt=v.attempt,
        not_before_ms=v.not_before_ms,
        binding=v.binding,
        worker="",
        boot="",
        reserved=0,
        reserved_tokens=0,
        transients=v.transients,
        waits=v.waits,
        losses=v.losses,
        undelivered=v.undelivered,
        repairs=v.repairs,
        repair_output=v.repair_output,
        repair_error=v.repair_error,
    )


def _spawn_settled(d: Draft, v: e.SpawnSettled) -> None:
    if d.doubts and (state := d.spawn(v.spawn)) is not None:
        d.doubts = _doubts_without(d.doubts, state)
    d.change_spawn(v.spawn, status=SpawnStatus.SETTLED, worker="", boot="", reserved=0, reserved_tokens=0)
    d.outcomes = put(d.outcomes, v.agent, v.outcome)


def _spawn_failed(d: Draft, v: e.SpawnFailed) -> None:
    d.change_spawn(v.spawn, status=SpawnStatus.FAILED, worker="", boot="", reserved=0, reserved_tokens=0)


def _spawn_waived(d: Draft, v: e.SpawnWaived) -> None:
    d.change_spawn(v.spawn, status=SpawnStatus.WAIVED)


def _fact_recorded(d: Draft, v: e.FactRecorded) -> None:
    d.facts = put(d.facts, v.name, v.value) if v.value else drop(d.facts, v.name)


def _finding_recorded(d: Draft, v: e.FindingRecorded) -> None:
    d.findings = (*d.findings, v.finding)
    d.finding_count += 1


def _finding_accepted(d: Draft, v: e.FindingAccepted) -> None:
    d.findings = tuple(
        replace(f, status=FindingStatus.ACCEPTED, reason=v.reason) if f.id == v.finding else f for f in d.findings
    )


def _evidence_recorded(d: Draft, v: e.EvidenceRecorded) -> None:
    new = v.evidence
    if new.subject == d.subject:
        d.evidence = (*(old for old in d.evidence if old.kind != new.kind), new)


def _artifact_made(d: Draft, v: e.ArtifactMade) -> None:
    d.artifacts = (*(a for a in d.artifacts if a.name != v.artifact.name), v.artifact)


def _subject_changed(d: Draft, v: e.SubjectChanged) -> None:
    if v.subject != d.subject:
        d.evidence = ()
    d.subject, d.work, d.change, d.author, d.owner = v.subject, v.work, v.change, v.author, v.owner
    d.subject_fence = d.fence


def _gate_opened(d: Draft, v: e.GateOpened) -> None:
    d.gate_count += 1
    d.gate = GateState(
        id=v.gate,
        role=v.role,
        stage=v.stage,
        answers=v.answers,
        base=v.base,
        subject=v.subject,
        change=v.change,
        policy_digest=v.policy_digest,
        root=v.root,
        due_ms=v.due_ms,
        rework=v.rework,
    )


def _gate_overdue(d: Draft, v: e.GateOverdue) -> None:
    if d.gate is not None and d.gate.id == v.gate:
        d.gate = replace(d.gate, due_ms=v.due_ms)


def _gate_withdrawn(d: Draft, v: e.GateWithdrawn) -> None:
    d.gate = None


def _decision_recorded(d: Draft, v: e.DecisionRecorded) -> None:
    if v.gate:
        d.gate = None
        d.spent = replace(d.spent, rounds=0)


def _message_carried(d: Draft, v: e.MessageCarried) -> None:
    message = CarriedMessage(by=v.by, gate=v.gate, round=d.round, text=v.text)
    d.messages = (*d.messages, message)[-MAX_MESSAGES:]


def _reworked(d: Draft, v: e.Reworked) -> None:
    d.stalls = _counted_again(d.stalls, {f.report.stall_key for f in bad_work(d.findings)})
    # What an agent found stays in sight until that agent has judged again: a round that ended earlier took nothing back.
    spoke = {name for name, _ in d.outcomes}
    unheard = tuple(f for f in d.carried if f.agent not in spoke)
    found = tuple(f for f in d.findings if f.status is FindingStatus.OPEN and f.report.origin is not Origin.HARNESS)
    d.carried = (*unheard, *found)[-MAX_LIVE_FINDINGS:]
    d.findings = ()
    d.outcomes = tuple(pair for pair in d.outcomes if pair[0] not in v.forgets)
    if any(shown.kind.startswith(REVIEW) for shown in d.evidence):
        d.previous = d.work
    d.round = v.round
    if v.counted:
        d.spent = replace(d.spent, rounds=d.spent.rounds + 1)


def _counted_again(stalls: Counts, keys: set[str]) -> Counts:
    """Each key once more. When there are too many, those that came back least go, the present ones last."""
    counts = dict(stalls)
    counts.update((key, counts.get(key, 0) + 1) for key in keys)
    if len(counts) > MAX_STALL_KEYS:
        kept = sorted(counts, key=lambda key: (key not in keys, -counts[key], key))[:MAX_STALL_KEYS]
        counts = {key: counts[key] for key in kept}
    return tuple(sorted(counts.items()))


def _task_parked(d: Draft, v: e.TaskParked) -> None:
    d.parked = Parked(code=v.code, stage=v.stage, spawns=v.spawns)


def _task_unparked(d: Draft, v: e.TaskUnparked) -> None:
    d.parked = None


def _task_paused(d: Draft, v: e.TaskPaused) -> None:
    d.paused = True


def _task_resumed(d: Draft, v: e.TaskResumed) -> None:
    d.paused = False


def _budget_raised(d: Draft, v: e.BudgetRaised) -> None:
    d.caps = replace(d.caps, **dict(v.caps))


def _wake_set(d: Draft, v: e.WakeSet) -> None:
    d.wakes = put(d.wakes, v.name, v.due_ms)


def _wake_cleared(d: Draft, v: e.WakeCleared) -> None:
    d.wakes = drop(d.wakes, v.name)


def _verdict_reached(d: Draft, v: e.VerdictReached) -> None:
    d.verdict = v.verdict


def _task_closed(d: Draft, v: e.TaskClosed) -> None:
    d.status = Status.DONE
    d.spawns = ()
    d.gate = None
    d.parked = None
    d.wakes = ()


def _task_reopened(d: Draft, v: e.TaskReopened) -> None:
    d.status = Status.OPEN
    d.paused = False
    d.iterations = put(d.iterations, v.stage, v.iteration)


FOLDS: dict[type, Callable[[Draft, Any], None]] = {
    e.TaskForked: _task_forked,
    e.FlowChosen: _flow_chosen,
    e.StageEntered: _stage_entered,
    e.SpawnOpened: _spawn_opened,
    e.SpawnSkipped: _spawn_skipped,
    e.AttemptGranted: _attempt_granted,
    e.AttemptClosed: _attempt_closed,
    e.AttemptReadied: _attempt_readied,
    e.SpawnSettled: _spawn_settled,
    e.SpawnFailed: _spawn_failed,
    e.SpawnWaived: _spawn_waived,
    e.FactRecorded: _fact_recorded,
    e.FindingRecorded: _finding_recorded,
    e.FindingAccepted: _finding_accepted,
    e.EvidenceRecorded: _evidence_recorded,
    e.ArtifactMade: _artifact_made,
    e.SubjectChanged: _subject_changed,
    e.GateOpened: _gate_opened,
    e.GateOverdue: _gate_overdue,
    e.GateWithdrawn: _gate_withdrawn,
    e.DecisionRecorded: _decision_recorded,
    e.MessageCarried: _message_carried,
    e.Reworked: _reworked,
    e.TaskParked: _task_parked,
    e.TaskUnparked: _task_unparked,
    e.TaskPaused: _task_paused,
    e.TaskResumed: _task_resumed,
    e.BudgetRaised: _budget_raised,
    e.WakeSet: _wake_set,
    e.WakeCleared: _wake_cleared,
    e.VerdictReached: _verdict_reached,
    e.TaskClosed: _task_closed,
    e.TaskReopened: _task_reopened,
    e.ResultTaken: _result_taken,
}
