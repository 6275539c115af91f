"""Attempts: granting them, taking their ends, and deciding by class what comes next.

Only the kernel creates attempts; only the coordinator ends leases. Loss, failure, decline and report all arrive as
AttemptEnded; the answer is the next attempt (not before a time), a settled spawn, or a failed one.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.admission import elsewhere, malformed, take_change, take_measures, take_report, unfit
from loom.kernel.budgets import UNCOUNTED, budget_gone, check_grant, note_budgets
from loom.kernel.closing import end_of, finished
from loom.kernel.draft import Draft
from loom.kernel.gates import park
from loom.kernel.limits import (
    BACKOFF_BASE_MS,
    BACKOFF_MAX_MS,
    LOSSES_PER_SPAWN,
    RATE_WAIT_MAX_MS,
    RATE_WAIT_SWITCH_MS,
    RATE_WAITS_PER_SPAWN,
    REPAIRS_PER_SPAWN,
    TRANSIENT_TRIES,
    UNDELIVERED_PER_SPAWN,
)
from loom.kernel.stages import leave, offer, run, stage_settled
from loom.kernel.state import SpawnState, doubt_about
from loom.kernel.values import (
    NO_TEXT,
    End,
    ErrorClass,
    Finding,
    FindingReport,
    Origin,
    ParkCode,
    Place,
    PrincipalKind,
    Severity,
    SpawnStatus,
    Text,
    Verdict,
)
from loom.kernel.work import Refused, Work, say

UNCOUNTED_ENDS = (End.UNDELIVERED, End.STOPPED)
UNCOUNTED_CLASSES = (ErrorClass.RATE_LIMIT,)
NOTHING_DONE = (ErrorClass.PERMANENT, ErrorClass.WORKSPACE)
"""Failures of an act that its worker reports only when it did nothing outside."""
AFTER_RATE_LIMIT = "rate limit"
"""Why an attempt became ready that waits for its provider."""


def grant(work: Work, command: c.Grant) -> None:
    """Check that the scheduler's choice is admissible, and record it."""
    draft = work.draft
    state = draft.spawn(command.spawn)
    if state is None or state.status is not SpawnStatus.READY or state.attempt != command.attempt:
        raise Refused("not_ready", f"attempt {command.attempt} of {command.spawn} is not ready to be granted")
    if draft.paused or draft.parked is not None:
        raise Refused("held", f"task {work.task} is paused or parked; nothing is granted")
    if work.now_ms < state.not_before_ms:
        raise Refused("too_early", f"{command.spawn} may not start before {state.not_before_ms}")
    if command.fence != draft.fence + 1 or command.binding != state.binding:
        raise Refused("inadmissible", f"grant of {command.spawn} names another fence or binding than the task's next")
    check_grant(work, state, command)
    work.emit(
        e.AttemptGranted(
            spawn=command.spawn,
            attempt=command.attempt,
            fence=command.fence,
            worker=command.worker,
            boot=command.boot,
            binding=command.binding,
            price=command.price,
            reserved=command.reserved,
            bound=command.bound,
            reconciles=doubt_about(draft.doubts, state.agent, state.effect) if draft.doubts else "",
            tokens=command.tokens,
        )
    )


def ended(work: Work, command: c.AttemptEnded) -> None:
    """Take the end of an attempt: settle the spawn, ready its next attempt, or let it fail."""
    state = work.draft.spawn(command.spawn)
    if (
        state is None
        or state.status is not SpawnStatus.GRANTED
        or (state.attempt, state.fence) != (command.attempt, command.fence)
    ):
        raise Refused(
            "stale", f"attempt {command.attempt} of {command.spawn} is not running under fence {command.fence}"
        )
    if work.principal.kind is PrincipalKind.WORKER and work.principal.id != state.worker:
        raise Refused("stale", f"{command.spawn} was given to {state.worker}; {work.principal.id} cannot end it")
    if fault := malformed(command):
        raise Refused("malformed", f"the end of attempt {command.attempt} of {command.spawn} {fault}")
    certain = _nothing_done(work, command)
    command = _judged(work, state, command)
    closed = close(work, state, command, certain=certain)
    if command.end is End.REPORTED:
        take_report(work, state, command)
    else:
        _follow_up(work, state, command)
    note_budgets(work, closed.usage, counted=closed.counted)
    go_on(work)


def _nothing_done(work: Work, command: c.AttemptEnded) -> bool:
    """Whether the worker itself says that it failed for good, with nothing done outside."""
    return (
        command.end is End.FAILED
        and command.error_class in NOTHING_DONE
        and work.principal.kind is PrincipalKind.WORKER
    )


def _judged(work: Work, state: SpawnState, command: c.AttemptEnded) -> c.AttemptEnded:
    """The end as the kernel sees it: a report that cannot be taken is a failure, with its class and the reason."""
    if command.end is not End.REPORTED:
        unnamed = command.end is End.FAILED and command.error_class is ErrorClass.NONE
        return replace(command, error_class=ErrorClass.PERMANENT) if unnamed else command
    if fault := elsewhere(work, state, command):
        return replace(command, end=End.FAILED, error_class=ErrorClass.WORKSPACE, message=say(fault))
    if fault := unfit(work, state, command):
        return replace(command, end=End.FAILED, error_class=ErrorClass.UNPARSEABLE, message=say(fault))
    if work.draft.verdict is not Verdict.NONE and command.outcome != work.agent(state).outcomes[0]:
        fault = f"the delivery ended {command.outcome}: {command.summary.value}"
        return replace(command, end=End.FAILED, error_class=ErrorClass.PERMANENT, message=say(fault))
    return command if command.error_class is ErrorClass.NONE else replace(command, error_class=ErrorClass.NONE)


def close(work: Work, state: SpawnState, command: c.AttemptEnded, *, certain: bool = False) -> e.AttemptClosed:
    """The attempt is over: its reservation is released, its usage is spent. certain: an act that surely did nothing."""
    counted = (
        work.agent(state).capability not in UNCOUNTED
        and command.end not in UNCOUNTED_ENDS
        and not (command.end is End.FAILED and command.error_class in UNCOUNTED_CLASSES)
    )
    closed = e.AttemptClosed(
        spawn=state.id,
        attempt=state.attempt,
        fence=state.fence,
        end=end_of(work, state, command.end, certain=certain),
        error_class=command.error_class,
        message=command.message,
        usage=command.usage,
        execution=command.execution,
        prompt=command.prompt,
        transcript=command.transcript,
        output=command.output,
        counted=counted,
        released=state.reserved,
        repaired=command.repaired,
        released_tokens=state.reserved_tokens,
    )
    work.emit(closed)
    return closed


def go_on(work: Work) -> None:
    """After an end: leave the stage when all of it is settled; park when something of it failed and nothing runs."""
    draft = work.draft
    if draft.parked is not None or not draft.spawns:
        return
    if stage_settled(work):
        failed = tuple(s.id for s in draft.spawns if s.status is SpawnStatus.FAILED)
        if failed and _given_back(draft):
            work.emit(finished(work))
        elif failed:
            names = ", ".join(spawn.rsplit("/", 1)[-1] for spawn in failed)
            park(work, ParkCode.SPAWN_FAILED, f"{names} failed: {_last_failure(work, failed)}", failed)
        elif draft.verdict is not Verdict.NONE:
            work.emit(finished(work))
        else:
            leave(work)
            run(work)
        return
    budget_gone(work)


def _given_back(draft: Draft) -> bool:
    """Whether all that failed is what a person asked to be done outside, and it surely was not done: the person who asked
    is told, and nothing waits. What is in doubt waits for a person's word."""
    last = draft.spawns[-1]
    return bool(last.effect) and not doubt_about(draft.doubts, last.agent, last.effect)


def _last_failure(work: Work, failed: tuple[str, ...]) -> str:
    """Why the last of these has no result; it may have failed long before its siblings ended."""
    for finding in reversed(work.draft.findings):
        if finding.spawn in failed and finding.report.origin is Origin.HARNESS:
            return finding.report.message.value or "see its attempts"
    return "see its attempts"


# ----------------------------------------------------------------------------------------------- what comes next


def _follow_up(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    """The next attempt by class, or failure."""
    match command.end:
        case End.LOST if command.error_class is ErrorClass.TRANSIENT:  # its worker died with others in hand, too
            _again(work, state, "lost", 0)
        case End.LOST:
            _after_loss(work, state)
        case End.UNDELIVERED:
            _again(work, state, "undelivered", backoff_ms(state, state.undelivered + 1))
        case End.STOPPED:
            _again(work, state, "stopped", 0)
        case _:
            _after_failure(work, state, command)


def _after_loss(work: Work, state: SpawnState) -> None:
    if state.losses + 1 >= LOSSES_PER_SPAWN:
        reason = f"quarantined: {state.losses + 1} workers were lost while executing it"
        fail(work, state, ErrorClass.PERMANENT, say(reason))
        return
    _ready(work, state, "lost", work.now_ms, losses=state.losses + 1)


def _again(work: Work, state: SpawnState, reason: str, wait_ms: int) -> None:
    """Nobody took it, or it was stopped before its end: nothing is known against it. Bounded all the same."""
    undelivered = state.undelivered + 1
    if undelivered >= UNDELIVERED_PER_SPAWN:
        fail(work, state, ErrorClass.TRANSIENT, say(f"{reason}: no worker carried it through, {undelivered} times"))
        return
    _ready(work, state, reason, work.now_ms + wait_ms, undelivered=undelivered)


def _after_failure(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    match command.error_class:
        case ErrorClass.TRANSIENT:
            tries = state.transients + 1
            if tries < TRANSIENT_TRIES:
                _ready(work, state, "transient", work.now_ms + backoff_ms(state, tries), transients=tries)
            else:
                _next_binding(work, state, command)
        case ErrorClass.RATE_LIMIT:
            _after_rate_limit(work, state, command)
        case ErrorClass.UNPARSEABLE if _repairable(work, state):
            take_measures(work, state, command)
            take_change(work, state, command)
            _ready(
                work, state, "repair", work.now_ms,
                repairs=state.repairs + 1, repair_output=command.output, repair_error=command.message,
            )  # fmt: skip
        case ErrorClass.UNPARSEABLE | ErrorClass.WORKSPACE:
            fail(work, state, command.error_class, command.message)
        case _:
            _next_binding(work, state, command)


def _repairable(work: Work, state: SpawnState) -> bool:
    """A repair is a plain model call; what runs no model has nothing to repair."""
    return state.repairs < REPAIRS_PER_SPAWN and work.agent(state).capability not in UNCOUNTED


def _after_rate_limit(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    waits = state.waits + 1
    wait_until = max(command.not_before_ms, work.now_ms + backoff_ms(state, waits))
    far = RATE_WAIT_SWITCH_MS if state.binding + 1 < len(state.chain) else RATE_WAIT_MAX_MS
    if waits >= RATE_WAITS_PER_SPAWN or wait_until - work.now_ms > far:
        _next_binding(work, state, command)
        return
    _ready(work, state, AFTER_RATE_LIMIT, wait_until, waits=waits)


def _next_binding(work: Work, state: SpawnState, command: c.AttemptEnded) -> None:
    if state.binding + 1 < len(state.chain):
        _ready(work, state, f"next binding after {command.error_class}", work.now_ms, binding=state.binding + 1)
        return
    fail(work, state, command.error_class or ErrorClass.PERMANENT, command.message)


def _ready(
    work: Work,
    state: SpawnState,
    reason: str,
    not_before_ms: int,
    *,
    binding: int | None = None,
    transients: int | None = None,
    waits: int | None = None,
    losses: int | None = None,
    undelivered: int | None = None,
    repairs: int | None = None,
    repair_output: Text | None = None,
    repair_error: Text | None = None,
) -> None:
    """The next attempt; a new binding starts with fresh counts of its own tries. What is to be repaired stays so."""
    moved = binding is not None
    reason = _reconciling(work, state, reason)
    work.emit(
        e.AttemptReadied(
            spawn=state.id,
            attempt=state.attempt + 1,
            not_before_ms=not_before_ms,
            binding=state.binding if binding is None else binding,
            reason=reason,
            transients=(0 if moved else state.transients) if transients is None else transients,
            waits=(0 if moved else state.waits) if waits is None else waits,
            losses=state.losses if losses is None else losses,
            undelivered=state.undelivered if undelivered is None else undelivered,
            repairs=state.repairs if repairs is None else repairs,
            repair_output=state.repair_output if repair_output is None else repair_output,
            repair_error=state.repair_error if repair_error is None else repair_error,
        )
    )
    offer(work, state.id)


def _reconciling(work: Work, state: SpawnState, reason: str) -> str:
    """Why there is another attempt; after one in doubt it looks first."""
    doubted = doubt_about(work.draft.doubts, state.agent, state.effect)
    return f"reconcile after {reason}" if doubted else reason


def ready_afresh(work: Work, state: SpawnState, reason: str) -> None:
    """Another try after a person's word: all counters and the chain start again. The caller offers it."""
    reason = _reconciling(work, state, reason)
    work.emit(
        e.AttemptReadied(spawn=state.id, attempt=state.attempt + 1, not_before_ms=work.now_ms, binding=0, reason=reason)
    )


def fail(work: Work, state: SpawnState, error_class: ErrorClass, reason: Text) -> None:
    """The spawn stays without result: a blocker of harness origin, which a person sees by name. After the verdict (the
    delivery failed) it blocks nothing any more."""
    work.emit(e.SpawnFailed(spawn=state.id, agent=state.agent, error_class=error_class, reason=reason))
    key = hashlib.sha256(f"{state.id}|{state.attempt}|{error_class}".encode()).hexdigest()[:16]
    report = FindingReport(
        severity=Severity.BLOCKING if work.draft.verdict is Verdict.NONE else Severity.WARN,
        category=f"harness.{error_class or 'failed'}",
        place=Place(),
        message=reason,
        evidence=NO_TEXT,
        suggestion=NO_TEXT,
        identity=key,
        stall_key=key,
        origin=Origin.HARNESS,
    )
    draft = work.draft
    work.emit(
        e.FindingRecorded(
            Finding(
                id=f"f{draft.finding_count + 1}",
                agent=state.agent,
                spawn=state.id,
                round=draft.round,
                subject=draft.subject,
                report=report,
            )
        )
    )


def backoff_ms(state: SpawnState, tries: int) -> int:
    """Exponential, with jitter from a hash of the attempt's id: no randomness in the kernel."""
    base = min(BACKOFF_MAX_MS, BACKOFF_BASE_MS << min(tries, 10))
    digest = hashlib.sha256(f"{state.id}#{state.attempt}".encode()).digest()
    return base // 2 + int.from_bytes(digest[:4], "big") % (base // 2 + 1)
