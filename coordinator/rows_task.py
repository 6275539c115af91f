"""Events of a task → rows: one function an event. They see the event and the rows as they are, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loom.coordinator.codec import encode_value
from loom.coordinator.columns import list_column, map_column, principal_column, text_column
from loom.coordinator.errors import StoreConflict
from loom.coordinator.rows_tick import TaskRows
from loom.kernel import events as e

ATTEMPTS_PER_SPAWN = 100_000
"""The row of an attempt has the id spawn.id * ATTEMPTS_PER_SPAWN + its number."""

# ------------------------------------------------------------------------------------------------- the task's course


def _submitted(t: TaskRows, v: e.TaskSubmitted, row: int) -> None:
    spec = v.spec
    t.put(
        "insert_task",
        (t.task, spec.task, spec.project, spec.flow, v.now_ms, t.now_ms, spec.priority, spec.weight),
    )
    caps = encode_value(spec.caps).decode()
    t.put("insert_submission", (t.task, encode_value(spec).decode(), v.subject, caps))


def _forked(t: TaskRows, v: e.TaskForked, row: int) -> None:
    t.changes["round"] = v.round


def _flow_chosen(t: TaskRows, v: e.FlowChosen, row: int) -> None:
    t.changes["flow"] = v.flow


def _stage_entered(t: TaskRows, v: e.StageEntered, row: int) -> None:
    t.changes["stage"] = v.stage
    t.changes["iteration"] = v.iteration
    t.enter(row)


def _reworked(t: TaskRows, v: e.Reworked, row: int) -> None:
    t.changes["round"] = v.round
    t.put("supersede_findings", (t.task,))


def _parked(t: TaskRows, v: e.TaskParked, row: int) -> None:
    t.changes["parked"] = v.code._value_


def _unparked(t: TaskRows, v: e.TaskUnparked, row: int) -> None:
    t.changes["parked"] = ""


def _paused(t: TaskRows, v: e.TaskPaused, row: int) -> None:
    t.changes["paused"] = 1


def _resumed(t: TaskRows, v: e.TaskResumed, row: int) -> None:
    t.changes["paused"] = 0


def _budget_raised(t: TaskRows, v: e.BudgetRaised, row: int) -> None:
    t.put("update_caps", (map_column(dict(v.caps)), t.task))


def _verdict(t: TaskRows, v: e.VerdictReached, row: int) -> None:
    t.decide(v.verdict._value_)


def _closed(t: TaskRows, v: e.TaskClosed, row: int) -> None:
    t.changes.update(status="done", parked="")
    if v.delivered:  # an act that was asked for later is not the delivery
        t.changes["delivered"] = v.delivered
    t.drop_live_spawns()
    t.put("clear_wakes", (t.task,))


def _reopened(t: TaskRows, v: e.TaskReopened, row: int) -> None:
    t.changes.update(status="open", paused=0, iteration=v.iteration)
    t.enter(row)


def _taken(t: TaskRows, v: e.ResultTaken, row: int) -> None:
    usage = v.usage
    t.add("tokens", usage.input_tokens + usage.output_tokens)
    t.add("cost", usage.cost or 0)
    t.add("unpriced", usage.calls > 0 and usage.cost is None)
    t.put(
        "take_attempt",
        (
            usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.calls, usage.cost, usage.price,
            v.repaired, encode_value(v.execution).decode(), text_column(v.prompt), text_column(v.transcript),
            text_column(v.output), t.find(v.spawn).id * ATTEMPTS_PER_SPAWN + v.attempt,
        ),
    )  # fmt: skip


def _wake_set(t: TaskRows, v: e.WakeSet, row: int) -> None:
    t.put("set_wake", (t.task, v.name, v.due_ms))


def _wake_cleared(t: TaskRows, v: e.WakeCleared, row: int) -> None:
    t.put("clear_wake", (t.task, v.name))


def _fact(t: TaskRows, v: e.FactRecorded, row: int) -> None:
    t.facts[v.name] = v.value


# ---------------------------------------------------------------------------------------------- spawns and attempts


def _opened(t: TaskRows, v: e.SpawnOpened, row: int) -> None:
    chain = list_column(v.chain)
    t.open(row, v.spawn, agent=v.agent, stage=v.stage, iteration=v.iteration, status="ready", chain=chain)


def _skipped(t: TaskRows, v: e.SpawnSkipped, row: int) -> None:
    place = v.spawn.rsplit("/", 2)[-2]
    stage, _, iteration = place.rpartition(".")
    why = "; ".join(v.because)
    t.open(row, v.spawn, agent=v.agent, stage=stage, iteration=int(iteration), status="skipped", why=why)


def _granted(t: TaskRows, v: e.AttemptGranted, row: int) -> None:
    spawn = t.find(v.spawn)
    if v.fence <= spawn.fence:
        raise StoreConflict(f"Spawn {v.spawn} had the fence {spawn.fence} before; {v.fence} does not grow.")
    bound = v.bound._value_
    spawn.fence, spawn.attempt = v.fence, v.attempt
    spawn.grant = (v.binding, bound, v.worker, v.boot, t.now_ms, v.reserved)
    if v.reserved or v.tokens:
        t.add("reserved", v.reserved)
        t.add("reserved_tokens", v.tokens)
    t.change(
        spawn,
        {
            "status": "granted",
            "fence": v.fence,
            "worker": v.worker,
            "boot": v.boot,
            "binding": v.binding,
            "price": v.price,
            "reserved": v.reserved,
            "bound": bound,
            "granted_ms": t.now_ms,
        },
    )


def _attempt_closed(t: TaskRows, v: e.AttemptClosed, row: int) -> None:
    usage, spawn, number = v.usage, t.find(v.spawn), v.attempt
    grant = spawn.grant
    if grant is None or spawn.status != "granted" or spawn.fence != v.fence or spawn.attempt != number:
        raise StoreConflict(f"Attempt {number} of {v.spawn} does not run under fence {v.fence}.")
    binding, bound, worker, boot, granted_ms, reserved = grant
    t.add("attempts", v.counted)
    t.add("tokens", usage.input_tokens + usage.output_tokens)
    t.add("cost", usage.cost or 0)
    t.add("unpriced", usage.calls > 0 and usage.cost is None)
    if v.released or v.released_tokens:
        t.add("reserved", -v.released)
        t.add("reserved_tokens", -v.released_tokens)
    t.put(
        "insert_attempt",
        (
            spawn.id * ATTEMPTS_PER_SPAWN + number, spawn.id, number, v.fence,
            v.end._value_, v.error_class._value_, text_column(v.message),
            binding, bound, worker, boot, granted_ms, t.now_ms,
            usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.calls, usage.cost, usage.price,
            reserved, v.counted, v.repaired, encode_value(v.execution).decode(),
            text_column(v.prompt), text_column(v.transcript), text_column(v.output),
        ),
    )  # fmt: skip
    spawn.grant = None
    t.change(spawn, {"status": "stopped", "worker": "", "boot": "", "reserved": 0})


def _readied(t: TaskRows, v: e.AttemptReadied, row: int) -> None:
    spawn = t.find(v.spawn)
    spawn.attempt = v.attempt
    t.change(
        spawn,
        {
            "status": "ready",
            "attempt": v.attempt,
            "not_before_ms": v.not_before_ms,
            "binding": v.binding,
            "why": v.reason,
            "worker": "",
            "boot": "",
            "reserved": 0,
        },
    )


def _settled(t: TaskRows, v: e.SpawnSettled, row: int) -> None:
    t.change(t.find(v.spawn), {"status": "settled", "outcome": v.outcome, "summary": text_column(v.summary)})


def _failed(t: TaskRows, v: e.SpawnFailed, row: int) -> None:
    changes = {"status": "failed", "why": v.error_class._value_, "summary": text_column(v.reason)}
    t.change(t.find(v.spawn), changes)


def _waived(t: TaskRows, v: e.SpawnWaived, row: int) -> None:
    t.change(t.find(v.spawn), {"status": "waived"})


# ------------------------------------------------------------------------------------------- what was found and made


def _finding(t: TaskRows, v: e.FindingRecorded, row: int) -> None:
    f, said = v.finding, v.finding.report
    t.put(
        "insert_finding",
        (
            row, t.task, f.id, f.agent, f.spawn, f.round, f.subject, said.severity._value_, said.category,
            said.place.path, said.place.line, said.place.side, text_column(said.message), text_column(said.evidence),
            text_column(said.suggestion), said.identity, said.stall_key, said.origin._value_, f.status._value_,
            text_column(f.reason),
        ),
    )  # fmt: skip


def _finding_accepted(t: TaskRows, v: e.FindingAccepted, row: int) -> None:
    t.put("accept_finding", (principal_column(v.by), text_column(v.reason), t.task, v.finding))


def _evidence(t: TaskRows, v: e.EvidenceRecorded, row: int) -> None:
    it = v.evidence
    by, summary, output = principal_column(it.by), text_column(v.summary), text_column(v.output)
    t.put("insert_evidence", (row, t.task, it.kind, it.subject, it.outcome, by, v.spawn, summary, output))


def _artifact(t: TaskRows, v: e.ArtifactMade, row: int) -> None:
    it = v.artifact
    t.put("insert_artifact", (row, t.task, it.name, it.version, it.spawn, text_column(it.text)))


def _subject_changed(t: TaskRows, v: e.SubjectChanged, row: int) -> None:
    texts = (text_column(v.change_text), text_column(v.change_list))
    t.put("insert_subject", (row, t.task, v.subject, v.work, v.change, *texts, v.author, v.spawn))


# ------------------------------------------------------------------------------------------------ gates and decisions


def _gate_opened(t: TaskRows, v: e.GateOpened, row: int) -> None:
    t.put(
        "insert_gate",
        (
            row, t.task, v.gate, v.role, v.stage, list_column(v.answers), v.base, v.subject, v.change, v.policy_digest,
            v.root, text_column(v.reason), v.rework, list_column(v.shows), list_column(v.because), list_column(v.barred),
            t.now_ms, v.due_ms,
        ),
    )  # fmt: skip


def _gate_overdue(t: TaskRows, v: e.GateOverdue, row: int) -> None:
    t.put("move_gate", (v.due_ms, v.gate))


def _gate_withdrawn(t: TaskRows, v: e.GateWithdrawn, row: int) -> None:
    t.put("close_gate", ("withdrawn", t.now_ms, v.gate))


def _decision(t: TaskRows, v: e.DecisionRecorded, row: int) -> None:
    accepts = "[" + ",".join(encode_value(each).decode() for each in v.accepts) + "]"
    t.put(
        "insert_decision",
        (
            row, t.task, v.gate, v.role, v.stage, v.word._value_, principal_column(v.by), text_column(v.message), v.base,
            v.subject, v.change, v.policy_digest, v.root, accepts, list_column(v.because), t.now_ms,
        ),
    )  # fmt: skip
    if v.gate:
        t.put("close_gate", ("decided", t.now_ms, v.gate))
    if v.approval is not None:
        it = v.approval
        t.put("insert_approval", (row, t.task, it.payload, it.type, it.scheme, list_column(it.parts)))


def _objection(t: TaskRows, v: e.ObjectionRaised, row: int) -> None:
    columns = (row, t.task, v.rule, v.sentence, list_column(v.remedies), list_column(v.because), t.now_ms)
    t.put("insert_objection", columns)


def _nothing(t: TaskRows, v: e.Event, row: int) -> None:
    """The entry alone has it."""


TASK_ROWS: dict[type, Callable[[TaskRows, Any, int], None]] = {
    e.TaskSubmitted: _submitted,
    e.TaskForked: _forked,
    e.FlowChosen: _flow_chosen,
    e.StageEntered: _stage_entered,
    e.Reworked: _reworked,
    e.TaskParked: _parked,
    e.TaskUnparked: _unparked,
    e.TaskPaused: _paused,
    e.TaskResumed: _resumed,
    e.BudgetRaised: _budget_raised,
    e.VerdictReached: _verdict,
    e.TaskClosed: _closed,
    e.TaskReopened: _reopened,
    e.ResultTaken: _taken,
    e.WakeSet: _wake_set,
    e.WakeCleared: _wake_cleared,
    e.FactRecorded: _fact,
    e.SpawnOpened: _opened,
    e.SpawnSkipped: _skipped,
    e.AttemptGranted: _granted,
    e.AttemptClosed: _attempt_closed,
    e.AttemptReadied: _readied,
    e.SpawnSettled: _settled,
    e.SpawnFailed: _failed,
    e.SpawnWaived: _waived,
    e.FindingRecorded: _finding,
    e.FindingAccepted: _finding_accepted,
    e.EvidenceRecorded: _evidence,
    e.ArtifactMade: _artifact,
    e.SubjectChanged: _subject_changed,
    e.GateOpened: _gate_opened,
    e.GateOverdue: _gate_overdue,
    e.GateWithdrawn: _gate_withdrawn,
    e.DecisionRecorded: _decision,
    e.ObjectionRaised: _objection,
}
NO_ROWS = (e.StageSkipped, e.MessageCarried, e.BudgetReached)
"""Events of a task that stand in its entries only."""
TASK_ROWS.update(dict.fromkeys(NO_ROWS, _nothing))
